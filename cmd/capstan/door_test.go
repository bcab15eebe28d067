package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// The secret of Commerce Layer's webhooks at the door.
const doorSecret = "a shared secret of a shop's"

// door is one installation with every provider that the sandbox can stand for,
// and without workers: whatever the sandbox sends is caught, and a test brings it
// to the door as it likes.
type door struct {
	*environment
	shop  *shop
	url   string
	slugs []string // of the senders
	conn  *pgx.Conn
	ran   error // what the last task said

	mu     sync.Mutex
	caught []message
}

// message is one webhook as it came over the wire.
type message struct {
	slug   string
	header http.Header
	body   []byte
}

func newDoor(t *testing.T) *door {
	t.Helper()
	d := &door{environment: &environment{}}
	databaseURL := devstacktest.NewDatabase(t, migrateAt)
	log := slog.New(slog.DiscardHandler)
	if err := d.startSandbox(config.Dev{Sandbox: "127.0.0.1:0", Ephemeral: true}, "", log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(d.environment.hooks.Close(), d.sandbox.Close()) })
	settings := config.Role{
		Ledger: config.Ledger{DatabaseURL: gateway.Secret(databaseURL), RedisURL: gateway.Secret(devstacktest.NewRedis(t)), MaxConns: 8},
		Access: config.Access{Token: "dev", Mode: models.Test},
	}
	settings.CommerceLayerSecrets = []gateway.Secret{doorSecret}
	endpoints, err := d.pretendAll(&settings.Gateways, "whsec_door")
	if err != nil {
		t.Fatal(err)
	}
	if d.system, err = open(t.Context(), settings, log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.system.close() })
	d.system.pretences = d.environment.pretences
	catcher := httptest.NewServer(http.HandlerFunc(d.catch))
	t.Cleanup(catcher.Close)
	for i, e := range endpoints {
		d.slugs = append(d.slugs, path.Base(e.URL))
		endpoints[i].URL = catcher.URL + e.URL
	}
	d.sandbox.SetWebhooks(endpoints)
	handler, err := d.api()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Config = api.HTTPServer("", handler, log)
	server.Start()
	t.Cleanup(server.Close)
	d.url = server.URL
	d.shop = &shop{api: config.Remote{URL: d.url, Token: "dev"}, gateway: d.sandboxURL, methods: map[string]string{}}
	if d.conn, err = pgx.Connect(t.Context(), databaseURL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.conn.Close(context.Background()) })
	sources := d.sources()
	for _, slug := range d.slugs {
		if err := d.shop.method(t.Context(), slug, onApproval, sources[slug], map[string]any{"auto_capture": true}); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func (d *door) catch(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "not whole", http.StatusBadRequest)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.caught = append(d.caught, message{slug: path.Base(r.URL.Path), header: r.Header, body: body})
}

// taken returns what was caught since it was asked last, once nothing more is
// under way.
func (d *door) taken(t *testing.T) []message {
	t.Helper()
	if err := d.sandbox.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	caught := d.caught
	d.caught = nil
	return caught
}

// captured is an approved order whose capture was sent once.
func (d *door) captured(t *testing.T, slug, reference, fault string) (*sale, string) {
	t.Helper()
	o := &sale{story: &story{method: onApproval, fault: fault}, gateway: slug, Reference: reference, Total: 1500, HoldCents: 1500}
	err := errors.Join(d.shop.authorize(t.Context(), o), d.shop.order(t.Context(), o), d.shop.patchOrder(t.Context(), o, map[string]any{"_approve": true}))
	if err != nil {
		t.Fatal(err)
	}
	captures, err := d.shop.captures(t.Context(), o)
	if err != nil || len(captures) != 1 {
		t.Fatalf("%d captures: %v", len(captures), err)
	}
	d.ran = d.runner.Run(t.Context(), models.Capture, captures[0].ID) // what became of it is read from the ledger
	return o, captures[0].ID
}

// behind does something in the gateway's dashboard.
func (d *door) behind(t *testing.T, action, hold string, cents int64) {
	t.Helper()
	res, err := http.Post(d.sandboxURL+"/_sandbox/dashboard", "application/json", strings.NewReader(fmt.Sprintf(`{"action":%q,"hold":%q,"amount":%d}`, action, hold, cents)))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(res.Body)
		t.Fatalf("%s in the dashboard: %d %s", action, res.StatusCode, body)
	}
}

// post brings a message to the door.
func (d *door) post(t *testing.T, m message) int {
	t.Helper()
	return d.postTo(t, d.url, m)
}

func (d *door) postTo(t *testing.T, url string, m message) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/webhooks/"+m.slug, strings.NewReader(string(m.body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = m.header.Clone()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

func (d *door) exec(t *testing.T, statement string, args ...any) {
	t.Helper()
	if _, err := d.conn.Exec(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

// refunded has a part of the capture given back at the gateway, under a name that
// the ledger does not know.
func (d *door) refunded(t *testing.T, slug, hold string) {
	t.Helper()
	a := d.accounts[slug]
	capture := models.GatewayReference(slug, hold, models.Capture, 1)
	r := gateway.Request{
		Kind: models.Capture, Reference: capture, Key: models.IdempotencyKey(capture, 0), AmountCents: 1500, CurrencyCode: "EUR", Hold: hold, HoldCents: 1500, Final: true, OnlyOne: true,
	}
	if a.Capabilities().LookUp {
		r.Capture = a.LookUp(t.Context(), r).GatewayTransactionID
	}
	reference := models.GatewayReference(slug, hold, models.Refund, 9)
	r.Kind, r.Reference, r.Key, r.AmountCents = models.Refund, reference, models.IdempotencyKey(reference, 0), 300
	if ev := a.Refund(t.Context(), r); ev.Outcome != models.OutcomeConfirmed && ev.Outcome != models.OutcomeAccepted {
		t.Fatalf("refund at %s: %s, after %v", slug, ev.JSON(), d.ran)
	}
}
