// Package elasticpath answers as Elastic Path's payments API does: payments of an
// order, its transactions, and their capture, refund and cancel.
//
// A transaction is a hold with everything that was asked of it. It keeps its id,
// which is the authorization's, for ever: a capture turns its transaction_type
// from authorize to capture, a refund to refund. An order is found by its id, or
// by its reference, which is where a shop that has ids of its own keeps them.
//
// The package reads requests and writes answers. Whether money moves, and what a
// person's word counts for, is decided by [api.Engine] and the ledger, as for
// every other dialect.
package elasticpath
