// Package till is a gateway inside the process, for measuring: it answers at
// once or after a fixed latency, fails by a plan that depends on nothing but an
// operation's reference, and keeps a book in which a capture that was taken
// twice shows. A plan is the same for whoever is measured against it.
//
// It is no gateway for tests of behaviour: the sandbox is, over HTTP and with
// every fault mode.
package till
