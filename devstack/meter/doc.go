// Package meter is how a benchmark's parent and its children talk, and how a
// child measures itself: one [Job] in JSON on standard input, one [Report] in
// JSON on standard output, and between them a [Window] in which wall time and
// the processor time of the child, of Redis and of Postgres are counted.
//
// It knows nothing of what is measured, so that programs outside this module's
// product can be measured by the same ruler.
package meter
