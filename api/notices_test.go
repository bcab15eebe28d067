package api_test

import (
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
