// Package gateway is the port to payment gateways: one interface, the words in
// which every provider must answer, and what all adapters share: the HTTP client,
// and a reader of reports.
//
// An adapter is a folder below this one. It knows one provider's wire and
// nothing of orders, queues or tables. What it must guarantee stands on
// [Gateway]; gatewaytest.Run checks it against the sandbox with every fault.
//
// The one thing to remember: an answer that is not proof is
// models.OutcomeLost, which is the zero value. Forgetting a case costs a
// look-up, never a second capture.
package gateway
