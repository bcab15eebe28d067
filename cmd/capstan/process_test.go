package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/devstack/devstacktest"
)

// asProgram makes the test binary behave as the program: each process of the
// end-to-end tests is one of these.
const asProgram = "CAPSTAN_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(devstacktest.Main(m))
}

// process is one running `capstan …`.
type process struct {
	*exec.Cmd
	mu  sync.Mutex
	log bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func (p *process) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// program prepares a process with exactly the given environment.
func program(ctx context.Context, t *testing.T, env map[string]string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = []string{
		asProgram + "=1", "PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + os.TempDir(),
		"GORACE=atexit_sleep_ms=0", // else the race detector holds each for a second before it ends
	}
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	return cmd
}

// start runs a process until the test ends, and then stops it with SIGTERM,
// which must end it with status 0.
func start(t *testing.T, env map[string]string, args ...string) *process {
	t.Helper()
	p := &process{Cmd: program(context.Background(), t, env, args...)}
	p.Stdout, p.Stderr = p, p
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Process.Signal(syscall.SIGTERM)
		if err := p.Wait(); err != nil {
			t.Errorf("%v ended with %v:\n%s", args, err, tail(p.logged()))
		}
	})
	return p
}

func tail(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}

// capstan runs a command to its end.
func capstan(t *testing.T, env map[string]string, args ...string) (stdout string, status int) {
	t.Helper()
	cmd := program(t.Context(), t, env, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		t.Fatal(err)
	}
	if cmd.ProcessState.ExitCode() != 0 {
		t.Logf("capstan %v: status %d\n%s", args, cmd.ProcessState.ExitCode(), tail(errs.String()))
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// address finds a free port for a process to listen on, below those from which
// the machine's clients connect: one of them would take it before the process does.
func address(t *testing.T) string {
	t.Helper()
	const low, high, tries = 15000, 32000, 100
	var err error
	for range tries {
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprint("127.0.0.1:", low+rand.IntN(high-low))); err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal(err)
	return ""
}

// eventually waits for a condition, and says what was waited for.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := until(ctx, what, func() (bool, error) { return ok(), nil }); err != nil {
		t.Fatal(err)
	}
}

func ready(t *testing.T, addr string) {
	t.Helper()
	answers(t, addr+"/readyz")
}

// answers waits until a call is answered with 200.
func answers(t *testing.T, url string) {
	t.Helper()
	eventually(t, url+" answers", func() bool {
		res, err := http.Get("http://" + url)
		if err != nil {
			return false
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

// production is a deployment in the shape of the compose file: each role a
// process of its own, on a Postgres and a Redis of the test's own.
type production struct {
	env     map[string]string
	sandbox string
	apis    []string
	worker  *process
	admin   string
}

const productionToken = "0123456789abcdef0123456789abcdef"

func newProduction(t *testing.T, apis int, extra map[string]string) *production {
	t.Helper()
	p := &production{sandbox: address(t)}
	p.env = map[string]string{
		"DATABASE_URL": devstacktest.NewDatabase(t, migrateAt), "REDIS_URL": devstacktest.NewRedis(t),
		"CAPSTAN_API_TOKEN": productionToken, "STRIPE_SECRET_KEY": "sk_test_production", "STRIPE_BASE_URL": "http://" + p.sandbox,
		"STRIPE_WEBHOOK_SECRET": "whsec_production", "CAPSTAN_TIME_SCALE": "20",
		"CAPSTAN_AUDIT_AT": "off", // whatever the hour is, the audits by hand have it to themselves
	}
	for k, v := range extra {
		p.env[k] = v
	}
	for range apis {
		addr := address(t)
		p.role(t, "api", map[string]string{"CAPSTAN_LISTEN": addr, "CAPSTAN_ADMIN_LISTEN": address(t)})
		p.apis = append(p.apis, addr)
	}
	start(t, map[string]string{
		"CAPSTAN_SANDBOX_LISTEN": p.sandbox, "STRIPE_WEBHOOK_SECRET": "whsec_production",
		"CAPSTAN_SANDBOX_WEBHOOK_URL": "http://" + p.apis[0] + "/webhooks/stripe",
	}, "sandbox")
	relay := address(t)
	p.role(t, "relay", map[string]string{"CAPSTAN_ADMIN_LISTEN": relay})
	p.admin = address(t)
	p.worker = p.role(t, "worker", map[string]string{"CAPSTAN_ADMIN_LISTEN": p.admin})
	for _, addr := range append(p.apis, relay, p.admin) {
		ready(t, addr)
	}
	answers(t, p.sandbox+"/_sandbox/book")
	return p
}

func (p *production) role(t *testing.T, name string, own map[string]string) *process {
	t.Helper()
	env := map[string]string{}
	for _, m := range []map[string]string{p.env, own} {
		for k, v := range m {
			env[k] = v
		}
	}
	return start(t, env, name)
}

func (p *production) shop(t *testing.T) *shop {
	t.Helper()
	s := &shop{api: config.Remote{URL: "http://" + p.apis[0], Token: productionToken}, gateway: "http://" + p.sandbox, methods: map[string]string{}}
	if err := s.setUp(t.Context(), onlyStripe); err != nil {
		t.Fatal(err)
	}
	return s
}

// book reads the gateway's own book of one hold.
func (p *production) book(t *testing.T, hold string) (captures []struct{ Amount int64 }, violations int) {
	t.Helper()
	res, err := http.Get("http://" + p.sandbox + "/_sandbox/book?hold=" + hold)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var book struct {
		Captures   []struct{ Amount int64 }
		Violations []any
	}
	if err := json.NewDecoder(res.Body).Decode(&book); err != nil {
		t.Fatal(err)
	}
	return book.Captures, len(book.Violations)
}

// onlyStripe are the sources of a shop that takes cards through Stripe only.
var onlyStripe = map[string]string{stripeAccount: "stripe_payments"}

// sale makes an order with a hold and returns it, not yet approved.
func (p *production) sale(t *testing.T, s *shop, method string, total, hold int64) *sale {
	t.Helper()
	o := &sale{story: &story{method: method}, gateway: stripeAccount, Reference: fmt.Sprintf("E2E-%d", time.Now().UnixNano()), Total: total, HoldCents: hold}
	if err := s.authorize(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if err := s.order(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return o
}
