// Package tasks is the wire contract of the queue: which tasks exist, what
// their payload is, which queue they wait in and under which name.
//
// A task is a hint. Its payload names an operation and nothing else, so it can
// vanish, come twice or come years late and still be right: the worker reads
// what to do from Postgres. No amount, token or address ever stands in Redis.
//
// Two more hints are shared through Redis: the [Bell] that wakes idle workers,
// and the [Room] that tells publishers how large a batch may be.
package tasks
