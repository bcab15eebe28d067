// Package bench measures Capstan against the usual ways of doing the same work,
// on this machine: the parent's side of `capstan bench`.
//
// [Run] starts a private Postgres and Redis with durable settings, makes
// template databases with captures as they stand after their approval, and then,
// repetition by repetition, clones one for each case and has a child process
// work it off. The order of the cases rotates, and ratios are taken inside one
// repetition, since a machine's speed drifts. Each run is verified: every row of
// every capture, in SQL.
//
// What is measured, and how the cases are told apart, is in cases.go. The
// children are this program itself and, for the peers, the program that the
// module in bench/ builds; both speak the protocol of package meter.
package bench
