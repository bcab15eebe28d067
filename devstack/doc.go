// Package devstack starts the two servers Capstan needs, Postgres and Redis, as
// children of the calling process, for `capstan dev`, `capstan demo` and every
// test that wants the real thing.
//
// # What it promises
//
//   - Nothing is downloaded and no container engine is asked: the servers are
//     binaries that are on the machine already, or addresses that were given.
//     Where a binary is missing, Start says the one line that installs it.
//   - The children end with their parent. On Linux that holds even for SIGKILL:
//     the kernel then interrupts Postgres (a clean shutdown) and terminates Redis.
//   - Durability is real. fsync, full_page_writes and synchronous_commit are on in
//     every mode, and Redis writes its append-only file, so what a test learns
//     about crashes here is true in production as well.
//   - One data directory belongs to one stack at a time. The lock file is held by
//     this process and by its children together, so a directory is never reused
//     while a server of an earlier, killed run is still writing into it.
//
// # What it does not promise
//
// Both servers listen on 127.0.0.1 only, on a free port, and trust whoever can
// connect there: every local user of the machine. That is right for development
// and tests, and for nothing else.
//
// # Layout of a data directory
//
//	lock           held while anything of this stack is alive; holds the owner's pid
//	postgres/      the cluster (PGDATA)
//	postgres.log   what the server wrote since the last Start
//	run/           Postgres' socket, where the path is short enough for one
//	redis/         append-only file
//	redis.log
//
// Tests use the package devstacktest, which shares one stack per test binary.
package devstack
