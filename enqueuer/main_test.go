package enqueuer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/store"
)

// TestMain runs the tests, or, in a process that a test started, one relay.
func TestMain(m *testing.M) {
	if config, ok := os.LookupEnv(relayVariable); ok {
		os.Exit(relayProcess(config))
	}
	code := devstacktest.Main(m)
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, "goroutines were left behind:", err)
		code = 1
	}
	os.Exit(code)
}

// relayVariable holds where a relay process that a test starts finds its servers.
const relayVariable = "CAPSTAN_RELAY_UNDER_TEST"

// servers are the addresses that a relay process is given.
type servers struct{ Database, Redis string }

// relayProcess is a relay in a process of its own. It ends with its parent,
// whose end of the pipe closes.
func relayProcess(config string) int {
	var s servers
	if err := json.Unmarshal([]byte(config), &s); err != nil {
		fmt.Fprintln(os.Stderr, "read the servers:", err)
		return 2
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	st, err := store.Open(ctx, s.Database, store.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, "relay process:", err)
		return 2
	}
	options, err := redis.ParseURL(s.Redis)
	if err != nil {
		fmt.Fprintln(os.Stderr, "relay process:", err)
		return 2
	}
	e := enqueuer.New(enqueuer.Config{Store: st, Redis: redis.NewClient(options), Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	enqueuer.NewRelay(e, 20*time.Millisecond).Run(ctx)
	return 0
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
