// Package commercelayer speaks Commerce Layer's JSON:API, so that clients and
// SDKs written for it work here: captures, authorizations, refunds, voids,
// orders and payment methods with their trigger attributes (_approve, _capture,
// _forward, …), and Capstan's own verdicts, reconciliations, discrepancies and
// report in the same shape.
//
// It parses and renders; it decides nothing. Every change goes through package
// enqueuer, the ledger, or a function that asks a gateway (see [Config]); every
// refusal comes from there and is told with its rule as the code and the
// attribute as the pointer.
//
// What differs from Commerce Layer, on purpose:
//
//   - a trigger that is refused answers 422 with the rule, never a silent 200;
//   - an unknown attribute is an error that names it;
//   - POST /api/captures makes a manual capture for relationships.order;
//   - POST /api/orders/approve approves many orders, each answered by itself.
//
// Where to look:
//
//   - api.go: the table of routes, made from the resource types;
//   - negotiate.go, document.go, input.go, values.go: from a request to checked
//     values, every fault named;
//   - query.go: pages, sorting, filters and includes from allow-lists;
//   - resource.go: the shape of answers; relations.go: links, includes, nested paths;
//   - settle.go: the look at the gateway before what depends on an outcome;
//     describe.go: a hold is read there before it is registered;
//   - triggers.go: what a person asks of an operation; resolve.go: of a verdict;
//     words.go: what a person says became of one, and answers for;
//   - one file per resource.
package commercelayer
