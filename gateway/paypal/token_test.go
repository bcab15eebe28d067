package paypal_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/paypal"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/gateway/sandbox/sandboxtest"
	"github.com/capstan-pay/capstan/models"
)

// tokens counts the tokens that the sandbox was asked for.
func (w *world) tokens() int {
	n := 0
	for _, r := range w.sandbox.Book().Requests {
		if r.Call == "token" {
			n++
		}
	}
	return n
}

// TestTokenOnceUnderLoad: however many calls need a token, one is asked for,
// at the start, at its end, and when PayPal takes it back.
func TestTokenOnceUnderLoad(t *testing.T) {
	clock := sandboxtest.NewClock()
	w := newWorld(t, sandbox.Config{Now: clock.Now, PayPal: sandbox.PayPalConfig{TokenLife: time.Hour}})
	hold := w.hold(t, 1500, "")
	a := w.adapter(t, paypal.Config{Now: clock.Now})
	load := func() (none, unsent int) {
		var group sync.WaitGroup
		var mu sync.Mutex
		for range 64 {
			group.Go(func() {
				ev := a.LookUp(t.Context(), request(models.Capture, hold, 1500))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case ev.Outcome == models.OutcomeNone:
					none++
				case ev.Outcome == models.OutcomeNotSent && ev.Class == "":
					unsent++
				default:
					t.Errorf("got %s", ev.JSON())
				}
			})
		}
		group.Wait()
		return none, unsent
	}
	before := w.tokens()
	asked := func() int { return w.tokens() - before }
	if none, _ := load(); none != 64 || asked() != 1 {
		t.Fatalf("at first: %d of 64 answered, %d tokens", none, asked())
	}
	if none, _ := load(); none != 64 || asked() != 1 {
		t.Fatalf("with the token kept: %d of 64 answered, %d tokens", none, asked())
	}
	clock.Add(56 * time.Minute)
	if none, _ := load(); none != 64 || asked() != 2 {
		t.Fatalf("shortly before its end: %d of 64 answered, %d tokens", none, asked())
	}
	// A token that was taken back is found out by the calls that use it. Nothing
	// of theirs was done, and the account is not to blame.
	w.sandbox.RevokePayPalTokens()
	if none, unsent := load(); none+unsent != 64 || unsent == 0 || asked() > 3 {
		t.Fatalf("taken back: %d answered, %d not sent, %d tokens", none, unsent, asked())
	}
	if none, _ := load(); none != 64 || asked() != 3 {
		t.Fatalf("afterwards: %d of 64 answered, %d tokens", none, asked())
	}
}

// TestBadCredentials: nothing was sent, it is the account's fault, and a probe
// says so.
func TestBadCredentials(t *testing.T) {
	w := newWorld(t, sandbox.Config{PayPal: sandbox.PayPalConfig{Clients: map[string]gateway.Secret{"client": "hunter2"}}})
	hold := w.hold(t, 1500, "")
	bad := w.adapter(t, paypal.Config{Secret: "guessed"})
	if ev := bad.Capture(t.Context(), request(models.Capture, hold, 1500)); ev.Outcome != models.OutcomeNotSent || ev.Class != models.ClassConfig ||
		ev.Status != 401 || ev.Source != models.FromAnswer || ev.NextAction != "contact gateway" {
		t.Errorf("capture: %s", ev.JSON())
	}
	if ev := bad.LookUp(t.Context(), request(models.Capture, hold, 1500)); ev.Outcome != models.OutcomeNotSent || ev.Source != models.FromLookUp {
		t.Errorf("look-up: %s", ev.JSON())
	}
	err := bad.Probe(t.Context())
	if !errors.Is(err, gateway.ErrCredentials) || strings.Contains(err.Error(), "guessed") || !strings.Contains(err.Error(), `"paypal"`) {
		t.Errorf("probe: %v", err)
	}
	if n := len(w.sandbox.BookOf(hold).Captures); n != 0 {
		t.Errorf("%d captures booked", n)
	}
	if err := w.Probe(t.Context()); err != nil {
		t.Errorf("probe of the good account: %v", err)
	}
}

// TestFreshTokenRefused: a 401 to a token that has just come blames the account.
func TestFreshTokenRefused(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	hold := w.hold(t, 1500, "401:2")
	r := request(models.Capture, hold, 1500)
	if ev := w.Capture(t.Context(), r); ev.Outcome != models.OutcomeNotSent || ev.Class != models.ClassConfig {
		t.Fatalf("with a fresh token: %s", ev.JSON())
	}
	must(t, w.LookUp(t.Context(), r), models.OutcomeNone, 0)
	if ev := w.Capture(t.Context(), r); ev.Outcome != models.OutcomeNotSent || ev.Class != "" {
		t.Fatalf("with a kept one: %s", ev.JSON())
	}
	must(t, w.Capture(t.Context(), r), models.OutcomeConfirmed, 1500)
}

// TestTokenAnswers: whatever the token server does, nothing was sent.
func TestTokenAnswers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		class  models.Class
	}{
		{"401", reply(401, `{"error":"invalid_client"}`), models.ClassConfig},
		{"403", reply(403, `{"name":"NOT_AUTHORIZED"}`), models.ClassConfig},
		{"429", reply(429, `{"name":"RATE_LIMIT_REACHED"}`), models.ClassThrottled},
		{"500", reply(500, `oops`), ""},
		{"a page", reply(200, `<html>`), ""},
		{"an empty token", reply(200, `{"access_token":"","expires_in":100}`), ""},
		{"a token that breaks the header", reply(200, `{"access_token":"a\r\nX-Evil: 1","expires_in":100}`), ""},
		{"a token with a status that is no success", reply(201, `{"access_token":"abc","expires_in":100}`), ""},
		{"no answer", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var sent atomic.Int32
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/v1/oauth2/token" {
					sent.Add(1)
				}
				tt.answer(w, r)
			}))
			defer srv.Close()
			a := paypal.New(paypal.Config{ClientID: "client", Secret: "hunter2", BaseURL: srv.URL})
			defer a.Close()
			ev := a.Capture(t.Context(), request(models.Capture, "AUTH1", 1500))
			if ev.Outcome != models.OutcomeNotSent || ev.Class != tt.class || ev.Answered || sent.Load() != 0 || strings.Contains(string(ev.JSON()), "hunter2") {
				t.Errorf("%d calls sent: %s", sent.Load(), ev.JSON())
			}
			if err := a.Probe(t.Context()); err == nil || errors.Is(err, gateway.ErrCredentials) != (tt.class == models.ClassConfig) {
				t.Errorf("probe: %v", err)
			}
		})
	}
}

func reply(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// TestTokenWithinTheDeadline: who waits for a token waits no longer than its
// own context, and leaves the others their token.
func TestTokenWithinTheDeadline(t *testing.T) {
	release := make(chan struct{})
	arrived := make(chan struct{}, 8)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/oauth2/token" {
			reply(404, `{"name":"RESOURCE_NOT_FOUND"}`)(w, r)
			return
		}
		arrived <- struct{}{}
		<-release
		reply(200, `{"access_token":"abc","expires_in":100}`)(w, r)
	}))
	defer srv.Close()
	a := paypal.New(paypal.Config{ClientID: "client", Secret: "hunter2", BaseURL: srv.URL})
	defer a.Close()
	impatient, cancel := context.WithCancel(t.Context())
	first, second := make(chan models.Evidence, 1), make(chan models.Evidence, 1)
	go func() { first <- a.Capture(impatient, request(models.Capture, "AUTH1", 1500)) }()
	<-arrived
	go func() { second <- a.LookUp(t.Context(), request(models.Capture, "AUTH1", 1500)) }()
	cancel()
	if ev := <-first; ev.Outcome != models.OutcomeNotSent || ev.Class != "" {
		t.Errorf("the impatient: %s", ev.JSON())
	}
	close(release)
	if ev := <-second; ev.Outcome != models.OutcomeLost || ev.Status != 404 {
		t.Errorf("the patient: %s", ev.JSON())
	}
	if n := len(arrived); n != 0 {
		t.Errorf("%d more tokens were asked for", n)
	}
}
