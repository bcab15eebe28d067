package api_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/api/webhooks"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// several serves the webhooks of one made-up sender. Its message is a list of
// event ids; its answer is the one it wants to read.
func (w *world) several(t testing.TB) string {
	t.Helper()
	hooks, err := webhooks.New(webhooks.Config{
		Store: w.store, Enqueuer: w.enqueuer, Now: time.Now, Log: w.log, Registerer: prometheus.NewRegistry(),
		Sources: []webhooks.Source{{
			Slug: "several", Mode: models.Test, Reply: webhooks.Reply{ContentType: "text/plain", Body: []byte("[accepted]")},
			Parse: func(body []byte, _ http.Header, now time.Time) (notices []gateway.Notice, err error) {
				if strings.HasPrefix(string(body), "?") {
					return nil, errors.Join(gateway.ErrUnreadable, errors.New("a question"))
				}
				for id := range strings.FieldsSeq(string(body)) {
					notices = append(notices, gateway.Notice{EventID: id, Type: "CAPTURE", At: now})
				}
				return notices, nil
			},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	server, err := api.New(api.Config{Log: w.log, Registerer: prometheus.NewRegistry(), Now: time.Now}, hooks.Dialect())
	if err != nil {
		t.Fatal(err)
	}
	return listen(t, server)
}

// A message that says several things is stored whole before it is answered, or
// not at all, each thing under its own name and once; the sender reads the
// answer it asks for.
func TestMessageOfSeveralNotices(t *testing.T) {
	w := newWorld(t)
	url := w.several(t)
	long := strings.Repeat("x", 5000)
	for _, row := range []struct {
		name, body     string
		status, stored int
	}{
		{"three things", "b c a", 200, 3},
		{"one of them twice, and two known before", "d d a c", 200, 4},
		{"all known", "a b c d", 200, 4},
		{"one that cannot be stored among good ones", "e " + noise(8000) + " f", 422, 4},
		{"nothing, and genuine", " ", 200, 5},
		{"not understood, and genuine", "?", 200, 6},
		{"many", strings.Repeat("more ", 3) + long, 200, 8},
	} {
		r := send(t, url, "", http.MethodPost, "/webhooks/several", row.body)
		if r.status != row.status || r.status == 200 && (string(r.body) != "[accepted]" || r.header.Get("Content-Type") != "text/plain") {
			t.Errorf("%s: %d %q %s", row.name, r.status, r.body, r.header.Get("Content-Type"))
		}
		if n := w.count(t, `SELECT count(*) FROM inbox`); n != row.stored {
			t.Errorf("%s: %d stored, want %d", row.name, n, row.stored)
		}
	}
}

// noise is text that does not compress.
func noise(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%x", sha256.Sum256(fmt.Append(nil, i)))
	}
	return b.String()[:n]
}

func (w *world) count(t testing.TB, query string) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), w.databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// A chargeback names a hold, and none of its captures. Of two that stand a person
// looks at both, and nothing is refunded on top of it by itself; where only one
// does, after one that failed, it is that one.
func TestChargebackOfOneOfTwoCaptures(t *testing.T) {
	for name, tt := range map[string]struct {
		first models.Outcome
		cents [2]int64
		want  [2]models.State
		flags [2]any
	}{
		"both stand":       {models.OutcomeConfirmed, [2]int64{700, 800}, [2]models.State{models.Succeeded, models.Succeeded}, [2]any{models.FlagReversed, models.FlagReversed}},
		"the first failed": {models.OutcomeRefused, [2]int64{1500, 1500}, [2]models.State{models.Failed, models.Reversed}, [2]any{nil, models.FlagReversed}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.place(t, w.method(t, ""), 1500, 1500, "")
			w.sql(t, `UPDATE authorizations SET multi_capture = true`)
			first := w.capturedAs(t, p, tt.cents[0], models.Evidence{Outcome: tt.first, AmountCents: tt.cents[0], CurrencyCode: "EUR", GatewayTransactionID: "psp0"})
			second := w.capturedAs(t, p, tt.cents[1], models.Evidence{Outcome: models.OutcomeConfirmed, AmountCents: tt.cents[1], CurrencyCode: "EUR", GatewayTransactionID: "psp1"})
			w.notified(t, gateway.Notice{
				EventID: "charged back", Type: "CHARGEBACK", Hold: p.hold, Kind: models.Capture,
				Evidence: models.Evidence{Source: models.FromWebhook, Outcome: models.OutcomeTakenBack, AmountCents: tt.cents[1], CurrencyCode: "EUR"},
			})
			for i, id := range []string{first, second} {
				w.get(t, "/api/captures/"+id).want(t, 200, map[string]any{"data.attributes.state": string(tt.want[i]), "data.attributes.needs_attention": tt.flags[i]})
			}
			if outcome, reason := w.inbox(t, "stripe", "charged back"); outcome != "applied" {
				t.Errorf("%q: %s", outcome, reason)
			}
		})
	}
}

// capturedAs makes a capture of a hold by hand, and records what became of it.
func (w *world) capturedAs(t *testing.T, p purchase, cents int64, ev models.Evidence) string {
	t.Helper()
	var op models.Operation
	if err := w.store.InTx(t.Context(), func(ctx context.Context, tx store.Tx) (err error) {
		op, err = w.store.CaptureByHand(ctx, tx, models.Test, p.authorization, cents, "olga", models.Labels{})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	claims, err := w.store.ClaimAll(t.Context(), models.Capture, []string{op.ID}, "worker")
	if err != nil || len(claims) != 1 {
		t.Fatalf("%d claims: %v", len(claims), err)
	}
	ev.Source = models.FromAnswer
	decision := models.Judge(claims[0].Operation, ev, claims[0].Facts(w.store.Tempo(), 0, false))
	if err := w.store.Record(t.Context(), store.Outcome{Claim: claims[0], Evidence: ev, Decision: decision, Worker: "worker"}); err != nil {
		t.Fatal(err)
	}
	return op.ID
}

// notified has the account stripe told something.
func (w *world) notified(t *testing.T, n gateway.Notice) {
	t.Helper()
	hooks, err := webhooks.New(webhooks.Config{
		Store: w.store, Enqueuer: w.enqueuer, Now: time.Now, Log: w.log, Registerer: prometheus.NewRegistry(),
		Sources: []webhooks.Source{{Slug: "stripe", Mode: models.Test, Parse: func(_ []byte, _ http.Header, now time.Time) ([]gateway.Notice, error) {
			n.At = now
			return []gateway.Notice{n}, nil
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	server, err := api.New(api.Config{Log: w.log, Registerer: prometheus.NewRegistry(), Now: time.Now}, hooks.Dialect())
	if err != nil {
		t.Fatal(err)
	}
	if r := send(t, listen(t, server), "", http.MethodPost, "/webhooks/stripe", "{}"); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if _, err := hooks.RunOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// An event that carries the reference of a capture of one hold, and is about
// another, proves nothing of it: shops hand metadata on from payment to payment.
func TestNoticeAboutAnotherHold(t *testing.T) {
	w := newWorld(t)
	p := w.place(t, w.method(t, ""), 1500, 1500, "drop_before")
	id := w.approve(t, p)
	w.run(t, models.Capture, id)
	op, err := w.store.Operation(t.Context(), models.Test, models.Capture, id)
	if err != nil || op.State != models.Unknown {
		t.Fatalf("%s: %v", op.State, err)
	}
	for _, tt := range []struct {
		hold string
		want models.State
	}{{"pi_another", models.Unknown}, {p.hold, models.Succeeded}} {
		w.notified(t, gateway.Notice{
			EventID: tt.hold, Type: "captured", Hold: tt.hold, Kind: models.Capture, Reference: op.GatewayReference,
			Evidence: models.Evidence{Source: models.FromWebhook, Outcome: models.OutcomeConfirmed, AmountCents: 1500, CurrencyCode: "EUR", GatewayTransactionID: "ch_x"},
		})
		if op, err = w.store.Operation(t.Context(), models.Test, models.Capture, id); err != nil || op.State != tt.want {
			t.Errorf("told of %s it is %s, want %s: %v", tt.hold, op.State, tt.want, err)
		}
	}
}
