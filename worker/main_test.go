package worker_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/uptrace/bun/schema"
	"go.uber.org/goleak"

	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/store"
)

// TestMain runs the tests, or, in a process that a test started, one worker.
func TestMain(m *testing.M) {
	if config, ok := os.LookupEnv(childVariable); ok {
		os.Exit(child(config))
	}
	schema.SetTableNameInflector(asItIs)
	flag.Parse()
	widen()
	code := devstacktest.Main(m)
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, "goroutines were left behind:", err)
		code = 1
	}
	os.Exit(code)
}

// asItIs spares every store that a test opens bun's search for the plurals of its
// models' names, which no statement uses: a tenth of the time of a short test.
func asItIs(name string) string { return name }

// widen runs more tests at once than there are processors: nearly all of their
// time passes waiting for a lease, a schedule or a server.
func widen() {
	const atOnce = "14"
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", atOnce)
	}
}

func migrate(ctx context.Context, url string) error {
	s, err := store.Open(ctx, url, store.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = s.Migrate(ctx)
	return err
}
