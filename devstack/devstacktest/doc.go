// Package devstacktest gives tests a real Postgres and a real Redis.
//
// A test binary shares one Postgres, started by the first test that asks for it.
// Each test gets a database of its own, cloned from a template that was migrated
// once per binary, and a Redis process of its own. Nothing has to be running and
// no environment variable is needed; where a server is not installed, the test
// fails with the line that installs it.
//
//	func TestMain(m *testing.M) { os.Exit(devstacktest.Main(m)) }
//
//	func TestApprove(t *testing.T) {
//		databaseURL := devstacktest.NewDatabase(t, migrate) // func(context.Context, string) error, or nil
//		redisURL := devstacktest.NewRedis(t)
//		…
//	}
//
// Without such a TestMain the servers still end with the test binary (on Linux),
// but their temporary directory is removed by a later run only. A package that
// looks for leaked goroutines does so after Main has returned:
//
//	code := devstacktest.Main(m)
//	if err := goleak.Find(); code == 0 && err != nil { … }
//
// A test that stops, pauses or kills a server takes one of its own with NewStack.
package devstacktest
