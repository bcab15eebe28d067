package sandbox_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/capstan-pay/capstan/gateway/sandbox"
)

// restart closes a sandbox and opens its book again.
func restart(t *testing.T, b *box, c sandbox.Config) *box {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return newBox(t, c)
}

func TestBookSurvivesARestart(t *testing.T) {
	c := sandbox.Config{Dir: t.TempDir()}
	b := newBox(t, c)
	taken, open, gone := b.hold(t, "metadata[order]", "A"), b.hold(t), b.hold(t)
	capture := []string{"POST", "/v1/payment_intents/" + taken + "/capture", "amount_to_capture", "1200", "metadata[capstan_reference]", "cap_1", "Idempotency-Key", "k_capture"}
	do := func(b *box, a []string) answer { return b.call(t, a[0], a[1], a[2:]...) }
	refund := []string{"POST", "/v1/refunds", "payment_intent", taken, "amount", "200", "metadata[capstan_reference]", "ref_1", "Idempotency-Key", "k_refund"}
	cancel := []string{"POST", "/v1/payment_intents/" + gone + "/cancel", "cancellation_reason", "abandoned", "Idempotency-Key", "k_cancel"}
	wrong := []string{"POST", "/v1/payment_intents/" + gone + "/capture", "amount_to_capture", "5", "Idempotency-Key", "k_wrong"}
	var before []answer
	for _, a := range [][]string{capture, refund, cancel, wrong} {
		before = append(before, do(b, a))
	}
	b.call(t, "POST", "/v1/payment_intents/"+open, "metadata[a]", "b")
	was := b.Book()

	b = restart(t, b, c)
	now := b.Book()
	if diff := cmp.Diff(was, now, cmpopts.IgnoreFields(sandbox.Snapshot{}, "Requests"), cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("the book changed (-before +after):\n%s", diff)
	}
	for i, a := range [][]string{capture, refund, cancel, wrong} {
		again := do(b, a)
		if again.status != before[i].status || again.raw != before[i].raw || again.header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("%s after the restart: %d %s\nbefore: %d %s", a[1], again.status, again.raw, before[i].status, before[i].raw)
		}
	}
	if a := b.call(t, "GET", "/v1/payment_intents/"+open); a.str("metadata", "a") != "b" || a.str("status") != "requires_capture" {
		t.Errorf("the open hold: %+v", a)
	}
	if n := len(b.Book().Captures); n != 1 {
		t.Errorf("%d captures after everything was repeated", n)
	}
}

func TestTornLastLineIsForgiven(t *testing.T) {
	for _, torn := range []string{`{"type":"capture","hold":"pi_`, `{"type":"capture"`, "\x00\x00\x00\x00", "half\n", `{"type":"capture","hold":"pi_unknown"}` + "\n"} {
		c := sandbox.Config{Dir: t.TempDir()}
		b := newBox(t, c)
		id := b.hold(t)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(c.Dir, "book.jsonl")
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(whole, torn...), 0o600); err != nil {
			t.Fatal(err)
		}
		b = newBox(t, c)
		if a := b.call(t, "POST", "/v1/payment_intents/"+id+"/capture"); a.status != 200 {
			t.Fatalf("after %q: %+v", torn, a)
		}
		b = restart(t, b, c)
		if n := len(b.Book().Captures); n != 1 {
			t.Errorf("after %q and a capture: %d captures", torn, n)
		}
	}
}

func TestDamagedBookIsRefused(t *testing.T) {
	c := sandbox.Config{Dir: t.TempDir()}
	b := newBox(t, c)
	b.hold(t)
	b.hold(t)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(c.Dir, "book.jsonl")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	whole[3] = '!'
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := sandbox.New(c); err == nil {
		_ = s.Close()
		t.Fatal("a book with a damaged line was opened")
	} else if !strings.Contains(err.Error(), "line 1") || !strings.Contains(err.Error(), path) {
		t.Errorf("the error does not say where: %v", err)
	}
}

func TestOneBookOneSandbox(t *testing.T) {
	c := sandbox.Config{Dir: t.TempDir()}
	newBox(t, c)
	if s, err := sandbox.New(c); err == nil {
		_ = s.Close()
		t.Fatal("two sandboxes opened one book")
	}
}

// TestKilled kills a sandbox with SIGKILL under load. Everything it had
// answered must stand in the book, and nothing twice.
func TestKilled(t *testing.T) {
	if os.Getenv("SANDBOX_CHILD") != "" {
		child()
		return
	}
	for round := range 3 {
		dir := t.TempDir()
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), "SANDBOX_CHILD="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		address, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		killed := load(t, &box{url: strings.TrimSpace(address)}, 40*(round+1), func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()

		b := newBox(t, sandbox.Config{Dir: dir})
		booked := map[string]int64{}
		for _, c := range b.Book().Captures {
			if booked[c.Reference] != 0 {
				t.Errorf("%s is booked twice", c.Reference)
			}
			booked[c.Reference] = c.Amount
		}
		for ref, amount := range killed {
			if booked[ref] != amount {
				t.Errorf("%s was answered with %d and is booked with %d", ref, amount, booked[ref])
			}
		}
		t.Logf("%d captures answered, %d booked", len(killed), len(booked))
	}
}

// child serves a sandbox until it is killed.
func child() {
	s, err := sandbox.New(sandbox.Config{Dir: os.Getenv("SANDBOX_CHILD")})
	if err != nil {
		panic(err)
	}
	fmt.Println(httptest.NewServer(s.Handler()).URL)
	select {}
}

// load captures holds from several goroutines, calls stop after n answers, and
// returns what was answered.
func load(t *testing.T, b *box, n int, stop func()) map[string]int64 {
	t.Helper()
	var mu sync.Mutex
	answered := map[string]int64{}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var group sync.WaitGroup
	for w := range 8 {
		group.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				made := b.callCtx(ctx, t, "POST", "/v1/payment_intents", "amount", "1500", "currency", "eur", "capture_method", "manual", "confirm", "true")
				if made.status != 200 {
					return
				}
				ref, amount := fmt.Sprintf("cap_%d_%d", w, i), int64(1000+i%500)
				a := b.callCtx(ctx, t, "POST", "/v1/payment_intents/"+made.str("id")+"/capture",
					"amount_to_capture", fmt.Sprint(amount), "metadata[capstan_reference]", ref, "Idempotency-Key", ref+"_e0")
				if a.err != nil || a.status != 200 || a.num("amount_received") != amount {
					return
				}
				mu.Lock()
				answered[ref] = amount
				if len(answered) == n {
					stop()
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return answered
}

func TestOverCaptureIsRefusedAndShouted(t *testing.T) {
	var logged bytes.Buffer
	b := newBox(t, sandbox.Config{Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&logged, nil))})
	id := b.hold(t)
	a := b.call(t, "POST", "/v1/payment_intents/"+id+"/capture", "amount_to_capture", "1501", "metadata[capstan_reference]", "cap_1", "Idempotency-Key", "k1")
	if a.status != 400 || a.str("error", "code") != "amount_too_large" {
		t.Fatalf("got %+v", a)
	}
	book := b.BookOf(id)
	if len(book.Violations) != 1 || book.Violations[0].Reference != "cap_1" || book.Violations[0].Key != "k1" || len(book.Captures) != 0 {
		t.Errorf("book: %+v", book)
	}
	if !strings.Contains(logged.String(), "level=ERROR") || !strings.Contains(logged.String(), id) {
		t.Errorf("it did not shout: %s", logged.String())
	}
	if a := b.call(t, "POST", "/v1/payment_intents/"+id+"/capture", "amount_to_capture", "1500", "metadata[capstan_reference]", "cap_1", "Idempotency-Key", "k1"); a.status != 200 {
		t.Errorf("a request that failed validation was kept for its key: %+v", a)
	}
}

func TestConcurrentCapturesBookOnce(t *testing.T) {
	b := newBox(t, sandbox.Config{})
	for _, sameKey := range []bool{true, false} {
		id := b.hold(t)
		var group sync.WaitGroup
		statuses := make([]int, 32)
		for i := range statuses {
			group.Go(func() {
				key := "same " + id
				if !sameKey {
					key = fmt.Sprintf("%s %d", id, i)
				}
				statuses[i] = b.call(t, "POST", "/v1/payment_intents/"+id+"/capture", "Idempotency-Key", key).status
			})
		}
		group.Wait()
		good := 0
		for _, s := range statuses {
			switch s {
			case 200:
				good++
			case 400, 409:
			default:
				t.Errorf("status %d", s)
			}
		}
		if n := len(b.BookOf(id).Captures); n != 1 || good == 0 || !sameKey && good != 1 {
			t.Errorf("same key %t: %d captures, %d answered 200", sameKey, n, good)
		}
	}
}

func TestKeysAreForgottenInTime(t *testing.T) {
	var mu sync.Mutex
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	b := newBox(t, sandbox.Config{KeyLife: time.Hour, Now: func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}})
	id := b.hold(t)
	refund := func() answer {
		return b.call(t, "POST", "/v1/refunds", "payment_intent", id, "amount", "100", "Idempotency-Key", "k")
	}
	b.call(t, "POST", "/v1/payment_intents/"+id+"/capture")
	first := refund()
	if again := refund(); again.str("id") != first.str("id") {
		t.Fatalf("within the life of the key: %+v", again)
	}
	mu.Lock()
	now = now.Add(time.Hour)
	mu.Unlock()
	if later := refund(); later.status != 200 || later.str("id") == first.str("id") {
		t.Fatalf("after it: %+v", later)
	}
}

func TestRequestLog(t *testing.T) {
	b := newBox(t, sandbox.Config{MaxRequests: 5})
	id := b.hold(t)
	for range 3 {
		b.call(t, "POST", "/v1/payment_intents/"+id+"/capture", "amount_to_capture", "700", "metadata[capstan_reference]", "cap_1", "Idempotency-Key", "k1")
	}
	b.call(t, "GET", "/v1/payment_intents/"+id)
	got := b.BookOf(id).Requests
	if len(got) != 4 {
		t.Fatalf("requests: %+v", got)
	}
	want := sandbox.Request{Call: "capture", Hold: id, Reference: "cap_1", Amount: "700", Key: "k1", Status: 200, Replayed: true}
	if diff := cmp.Diff(want, got[1], cmpopts.IgnoreFields(sandbox.Request{}, "ID", "At")); diff != "" {
		t.Errorf("second request (-want +got):\n%s", diff)
	}
	for range 9 {
		b.call(t, "GET", "/v1/payment_intents/"+id)
	}
	if n := len(b.Book().Requests); n != 5 {
		t.Errorf("%d requests kept, want 5", n)
	}
}

func BenchmarkCapture(b *testing.B) {
	for name, c := range map[string]sandbox.Config{"memory": {}, "disk": {Dir: b.TempDir()}} {
		b.Run(name, func(b *testing.B) {
			s, err := sandbox.New(c)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = s.Close() })
			h := s.Handler()
			call := func(path, body, key string) *httptest.ResponseRecorder {
				r := httptest.NewRequest("POST", path, strings.NewReader(body))
				r.Header.Set("Authorization", "Bearer sk_test")
				r.Header.Set("Idempotency-Key", key)
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				return w
			}
			ids := make([]string, b.N)
			var group sync.WaitGroup
			for w := range 64 {
				group.Go(func() {
					for i := w; i < b.N; i += 64 {
						w := call("/v1/payment_intents", "amount=1500&currency=eur&capture_method=manual&confirm=true", "")
						out, _ := io.ReadAll(w.Body)
						_, rest, _ := bytes.Cut(out, []byte(`"id":"`))
						id, _, _ := bytes.Cut(rest, []byte(`"`))
						ids[i] = string(id)
					}
				})
			}
			group.Wait()
			b.ResetTimer()
			for w := range 64 {
				group.Go(func() {
					for i := w; i < b.N; i += 64 {
						w := call("/v1/payment_intents/"+ids[i]+"/capture", "amount_to_capture=1500&metadata[capstan_reference]=cap_x", "k"+ids[i])
						if w.Code != 200 {
							b.Errorf("status %d: %s", w.Code, w.Body)
						}
					}
				})
			}
			group.Wait()
		})
	}
}
