package api_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
)

// stripeEvent is an event as Stripe sends it.
func stripeEvent(id, typ, object string) string {
	return fmt.Sprintf(`{"id":%q,"object":"event","type":%q,"created":%d,"livemode":false,"data":{"object":%s}}`, id, typ, time.Now().Unix(), object)
}

func capturedIntent(hold, reference string, cents int64) string {
	return fmt.Sprintf(`{"id":%q,"object":"payment_intent","amount":%d,"amount_received":%d,"currency":"eur","status":"succeeded","latest_charge":"ch_1","metadata":{"capstan_reference":%q}}`, hold, cents, cents, reference)
}

func signStripe(secret, body string, at time.Time) string {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%d.%s", at.Unix(), body)
	return fmt.Sprintf("t=%d,v1=%s", at.Unix(), hex.EncodeToString(mac.Sum(nil)))
}

func (w *world) stripeHook(t testing.TB, body string) reply {
	t.Helper()
	return w.send(t, "", http.MethodPost, "/webhooks/stripe", body, "Stripe-Signature", signStripe(stripeSecret, body, time.Now()), "Content-Type", "application/json")
}

func (w *world) clHook(t testing.TB, topic, body string) reply {
	t.Helper()
	return w.send(t, "", http.MethodPost, "/webhooks/commercelayer", body, "X-CommerceLayer-Signature", signCL(clSecret, body), "X-CommerceLayer-Topic", topic)
}

// reference is the name under which the gateway knows a capture.
func (w *world) reference(t testing.TB, capture string) string {
	t.Helper()
	s, _ := w.get(t, "/api/captures/"+capture).at(t, "data.attributes.gateway_reference").(string)
	return s
}

// What cannot prove where it comes from is answered 401 without a word, counted,
// and leaves nothing behind.
func TestUnverifiedWebhooks(t *testing.T) {
	w := newWorld(t)
	p := w.place(t, w.method(t, ""), 1500, 1500, "")
	capture := w.approve(t, p)
	body := stripeEvent("evt_1", "payment_intent.succeeded", capturedIntent(p.hold, w.reference(t, capture), 1500))
	now := time.Now()
	good := signStripe(stripeSecret, body, now)
	order := clOrder(nil).body(t)
	before := w.rows(t)
	for _, row := range []struct {
		name, path, body string
		headers          []string
		status           int
	}{
		{"no signature", "/webhooks/stripe", body, nil, 401},
		{"an empty signature", "/webhooks/stripe", body, []string{"Stripe-Signature", ""}, 401},
		{"forged", "/webhooks/stripe", body, []string{"Stripe-Signature", signStripe("whsec_guess", body, now)}, 401},
		{"signed with nothing", "/webhooks/stripe", body, []string{"Stripe-Signature", signStripe("", body, now)}, 401},
		{"another body", "/webhooks/stripe", strings.Replace(body, "1500", "9900", 1), []string{"Stripe-Signature", good}, 401},
		{"a blank more", "/webhooks/stripe", body + " ", []string{"Stripe-Signature", good}, 401},
		{"stale", "/webhooks/stripe", body, []string{"Stripe-Signature", signStripe(stripeSecret, body, now.Add(-time.Hour))}, 401},
		{"from the future", "/webhooks/stripe", body, []string{"Stripe-Signature", signStripe(stripeSecret, body, now.Add(time.Hour))}, 401},
		{"another time under the signature", "/webhooks/stripe", body, []string{"Stripe-Signature", strings.Replace(good, fmt.Sprint("t=", now.Unix()), fmt.Sprint("t=", now.Unix()+1), 1)}, 401},
		{"another account has no secret", "/webhooks/stripe-live", body, []string{"Stripe-Signature", good}, 503},
		{"an unknown account", "/webhooks/nobody", body, []string{"Stripe-Signature", good}, 404},
		{"oversized", "/webhooks/stripe", strings.Repeat("x", 1<<20+1), []string{"Stripe-Signature", good}, 413},
		{"an order without a signature", "/webhooks/commercelayer", order, []string{"X-CommerceLayer-Topic", "orders.approve"}, 401},
		{"an order, forged", "/webhooks/commercelayer", order, []string{"X-CommerceLayer-Topic", "orders.approve", "X-CommerceLayer-Signature", signCL("guess", order)}, 401},
		{"an order signed with nothing", "/webhooks/commercelayer", order, []string{"X-CommerceLayer-Topic", "orders.approve", "X-CommerceLayer-Signature", signCL("", order)}, 401},
		{"an order, no base64", "/webhooks/commercelayer", order, []string{"X-CommerceLayer-Topic", "orders.approve", "X-CommerceLayer-Signature", "%%%"}, 401},
		{"an order, changed", "/webhooks/commercelayer", strings.Replace(order, "1500", "1", 1), []string{"X-CommerceLayer-Topic", "orders.approve", "X-CommerceLayer-Signature", signCL(clSecret, order)}, 401},
		{"an order without a topic", "/webhooks/commercelayer", order, []string{"X-CommerceLayer-Signature", signCL(clSecret, order)}, 400},
		{"an order with a strange topic", "/webhooks/commercelayer", order, []string{"X-CommerceLayer-Topic", "orders.approve; drop", "X-CommerceLayer-Signature", signCL(clSecret, order)}, 400},
		{"an order, oversized", "/webhooks/commercelayer", strings.Repeat("x", 1<<20+1), []string{"X-CommerceLayer-Topic", "orders.approve", "X-CommerceLayer-Signature", "x"}, 413},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := w.send(t, "", http.MethodPost, row.path, row.body, row.headers...)
			if r.status != row.status {
				t.Fatalf("status %d, want %d: %s", r.status, row.status, r.body)
			}
			if detail := r.at(t, "errors.0.detail"); r.status == 401 && detail != "the message is not verified" {
				t.Errorf("detail = %v", detail)
			}
		})
	}
	w.truncated(t, body, good)
	w.send(t, "", http.MethodGet, "/webhooks/stripe", "").want(t, 405, nil)
	if diff := cmp.Diff(before, w.rows(t)); diff != "" {
		t.Errorf("something was written:\n%s", diff)
	}
	if n := series(t, w.metrics, "capstan_webhooks_received_total"); n != 4 {
		t.Errorf("%d series of received webhooks, want four: unverified and unfit of each sender", n)
	}
}

// truncated sends half of a signed message and hangs up.
func (w *world) truncated(t *testing.T, body, signature string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\nStripe-Signature: %s\r\nContent-Length: %d\r\n\r\n%s", signature, len(body), body[:len(body)/2])
	_ = conn.(*net.TCPConn).CloseWrite()
	answer := make([]byte, 4096)
	n, _ := conn.Read(answer)
	_ = conn.Close()
	if n > 0 && !bytes.HasPrefix(answer[:n], []byte("HTTP/1.1 400")) {
		t.Errorf("half a message was answered %q", answer[:n])
	}
}

// The same event a hundred times at once has one effect.
func TestSameWebhookManyTimes(t *testing.T) {
	w := newWorld(t)
	p := w.place(t, w.method(t, ""), 1500, 1500, "charge_then_drop")
	capture := w.approve(t, p)
	w.run(t, models.Capture, capture)
	w.get(t, "/api/captures/"+capture).want(t, 200, map[string]any{"data.attributes.state": "unknown"})
	body := stripeEvent("evt_1", "payment_intent.succeeded", capturedIntent(p.hold, w.reference(t, capture), 1500))
	stored := 0
	var mu sync.Mutex
	var running sync.WaitGroup
	for i := range 100 {
		running.Go(func() {
			secret := stripeSecret
			if i%2 == 0 {
				secret = oldStripeSecret // both are good during a rotation
			}
			r := w.send(t, "", http.MethodPost, "/webhooks/stripe", body, "Stripe-Signature", signStripe(secret, body, time.Now()))
			if r.status != 200 {
				t.Errorf("status %d: %s", r.status, r.body)
			}
			mu.Lock()
			defer mu.Unlock()
			if r.at(t, "status") == "stored" {
				stored++
			}
			_, _ = w.hooks.RunOnce(t.Context())
		})
	}
	running.Wait()
	if stored != 1 {
		t.Errorf("stored %d times", stored)
	}
	until(t, "the event to be worked", func() bool { outcome, _ := w.inbox(t, "stripe", "evt_1"); return outcome != "" })
	if outcome, reason := w.inbox(t, "stripe", "evt_1"); outcome != "applied" {
		t.Errorf("outcome %s: %s", outcome, reason)
	}
	w.get(t, "/api/captures/"+capture).want(t, 200, map[string]any{"data.attributes.state": "succeeded"})
	w.get(t, "/api/orders/"+p.order).want(t, 200, map[string]any{"data.attributes.payment_status": "paid", "data.attributes.captured_amount_cents": 1500})
	confirmed := strings.Count(string(w.get(t, "/api/captures/"+capture+"/events").body), `"captures.confirmed"`)
	if confirmed != 1 {
		t.Errorf("confirmed %d times", confirmed)
	}
}

// The sandbox's own webhooks, in whatever order, settle a capture whose answer
// was lost.
func TestWebhooksOfTheGateway(t *testing.T) {
	w := newWorld(t)
	w.sandbox.SetWebhooks([]sandbox.Endpoint{{URL: w.url + "/webhooks/stripe", Secret: gateway.Secret(stripeSecret)}})
	p := w.place(t, w.method(t, ""), 1500, 1500, "charge_then_drop")
	capture := w.approve(t, p)
	w.run(t, models.Capture, capture)
	if err := w.sandbox.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.process(t)
	w.get(t, "/api/captures/"+capture).want(t, 200, map[string]any{"data.attributes.state": "succeeded"})
}

// A webhook that overtakes the commit of what it is about is kept, and applied
// once the operation is known.
func TestWebhookBeforeTheOperationIsKnown(t *testing.T) {
	w := newWorld(t)
	hold := w.paymentIntent(t, 1500, "")
	reference := models.GatewayReference("stripe", hold, models.Capture, 1)
	w.stripeHook(t, stripeEvent("evt_early", "payment_intent.succeeded", capturedIntent(hold, reference, 1500))).want(t, 200, map[string]any{"status": "stored"})
	w.process(t)
	if outcome, reason := w.inbox(t, "stripe", "evt_early"); outcome != "" || !strings.Contains(reason, "known yet") {
		t.Fatalf("outcome %q: %s", outcome, reason)
	}
	method := w.method(t, "")
	order := w.post(t, "orders", `{"currency_code":"EUR","total_amount_cents":1500}`, to("payment_method", "payment_methods", method)).want(t, 201, nil).id(t)
	w.post(t, "authorizations", fmt.Sprintf(`{"amount_cents":1500,"gateway_transaction_id":%q}`, hold), to("order", "orders", order)).want(t, 201, nil)
	capture := w.approve(t, purchase{order: order})
	until(t, "the kept event to be worked", func() bool {
		w.process(t)
		outcome, _ := w.inbox(t, "stripe", "evt_early")
		return outcome != ""
	})
	// The capture was never sent: the event is a reason to look first, no proof.
	if outcome, reason := w.inbox(t, "stripe", "evt_early"); outcome != "hint" {
		t.Errorf("outcome %s: %s", outcome, reason)
	}
	w.run(t, models.Capture, capture)
	if calls := w.sandbox.BookOf(hold); len(calls.Captures) != 1 || len(calls.Violations) != 0 {
		t.Errorf("the gateway booked %+v", calls)
	}
	w.get(t, "/api/captures/"+capture).want(t, 200, map[string]any{"data.attributes.state": "succeeded"})
}

func TestNoticesThatConcernNobody(t *testing.T) {
	w := newWorld(t)
	p, capture := w.captured(t, w.method(t, ""))
	reference := w.reference(t, capture)
	for _, row := range []struct{ name, source, event, typ, object, outcome, reason string }{
		{"an event about no payment", "stripe", "evt_a", "customer.created", `{"id":"cus_1","object":"customer"}`, "ignored", "names no payment"},
		{"a refund made elsewhere", "stripe", "evt_b", "refund.created", fmt.Sprintf(`{"id":"re_1","object":"refund","amount":500,"currency":"eur","status":"succeeded","payment_intent":%q}`, p.hold), "parked", "refund unknown to us"},
		{"a success told again", "stripe", "evt_c", "payment_intent.succeeded", capturedIntent(p.hold, reference, 1500), "in_sync", "already recorded"},
		{"a success of another amount", "stripe", "evt_d", "payment_intent.succeeded", capturedIntent(p.hold, reference, 1400), "applied", "another amount"},
		{"the reference of another account", "other", "evt_e", "payment_intent.succeeded", capturedIntent(p.hold, reference, 1500), "parked", "another gateway account"},
		{"a hold nobody knows", "stripe", "evt_f", "payment_intent.canceled", `{"id":"pi_unknown","object":"payment_intent","amount":1,"currency":"eur","status":"canceled"}`, "", "no hold pi_unknown is known"},
		{"the hold as a whole", "stripe", "evt_g", "payment_intent.amount_capturable_updated", capturedIntent(p.hold, reference, 1500), "in_sync", "nothing of hold"},
	} {
		t.Run(row.name, func(t *testing.T) {
			body := stripeEvent(row.event, row.typ, row.object)
			w.send(t, "", http.MethodPost, "/webhooks/"+row.source, body, "Stripe-Signature", signStripe(stripeSecret, body, time.Now())).want(t, 200, nil)
			w.process(t)
			outcome, reason := w.inbox(t, row.source, row.event)
			if outcome != row.outcome || !strings.Contains(reason, row.reason) {
				t.Errorf("outcome %q: %s; want %q: %s", outcome, reason, row.outcome, row.reason)
			}
		})
	}
	w.get(t, "/api/captures/"+capture).want(t, 200, map[string]any{"data.attributes.amount_cents": 1500, "data.attributes.state": "succeeded", "data.attributes.needs_attention": "amount_conflict"})

	// Genuine and not understood: kept for people, under the digest of its body.
	w.stripeHook(t, `{"object":"event"`).want(t, 200, map[string]any{"status": "stored"})
	w.process(t)
	sum := sha256.Sum256([]byte(`{"object":"event"`))
	if outcome, _ := w.inbox(t, "stripe", hex.EncodeToString(sum[:])); outcome != "unreadable" {
		t.Errorf("outcome = %q", outcome)
	}
}

// A hold that ends outside has its open captures looked up at once.
func TestHoldCancelledOutside(t *testing.T) {
	w := newWorld(t)
	p := w.place(t, w.method(t, ""), 1500, 1500, "")
	capture := w.approve(t, p)
	body := stripeEvent("evt_x", "payment_intent.canceled", fmt.Sprintf(`{"id":%q,"object":"payment_intent","amount":1500,"amount_received":0,"currency":"eur","status":"canceled"}`, p.hold))
	w.stripeHook(t, body).want(t, 200, nil)
	w.process(t)
	if outcome, reason := w.inbox(t, "stripe", "evt_x"); outcome != "hint" || !strings.Contains(reason, "1 operations") {
		t.Errorf("outcome %q: %s", outcome, reason)
	}
	if history := string(w.get(t, "/api/captures/"+capture+"/events").body); !strings.Contains(history, "captures.hinted") || !strings.Contains(history, "webhook:stripe") {
		t.Errorf("no hint in the history: %s", history)
	}
}

// What was kept long enough is parked with its reason; an error of ours never
// ends the waiting.
func TestParking(t *testing.T) {
	w := newWorld(t)
	w.stripeHook(t, stripeEvent("evt_blind", "payment_intent.canceled", `{"id":"pi_unknown","object":"payment_intent","amount":1,"currency":"eur","status":"canceled"}`)).want(t, 200, nil)
	w.stripeHook(t, stripeEvent("evt_ours", "payment_intent.succeeded", capturedIntent("pi_unknown", "cap_unknown", 1))).want(t, 200, nil)
	for range 12 {
		w.makeDue(t)
		w.process(t)
	}
	if outcome, reason := w.inbox(t, "stripe", "evt_blind"); outcome != "parked" || !strings.Contains(reason, "no hold") {
		t.Errorf("blind event: %q: %s", outcome, reason)
	}
	if outcome, _ := w.inbox(t, "stripe", "evt_ours"); outcome != "" {
		t.Errorf("an event that names an operation of ours: %q", outcome)
	}
	w.sql(t, `UPDATE inbox SET received_at = received_at - interval '31 days'`)
	w.makeDue(t)
	w.process(t)
	if outcome, _ := w.inbox(t, "stripe", "evt_ours"); outcome != "parked" {
		t.Errorf("after 30 days: %q", outcome)
	}
}

func (w *world) makeDue(t testing.TB) {
	t.Helper()
	w.sql(t, `UPDATE inbox SET due_at = now() WHERE processed_at IS NULL`)
}

func (w *world) sql(t testing.TB, statement string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), w.databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// The inbox is worked at once when something comes, and ends with its context.
func TestInboxRuns(t *testing.T) {
	w := newWorld(t)
	p := w.place(t, w.method(t, ""), 1500, 1500, "charge_then_drop")
	capture := w.approve(t, p)
	w.run(t, models.Capture, capture)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.hooks.Run(ctx)
	}()
	w.stripeHook(t, stripeEvent("evt_1", "payment_intent.succeeded", capturedIntent(p.hold, w.reference(t, capture), 1500))).want(t, 200, nil)
	until(t, "the event to be applied", func() bool { outcome, _ := w.inbox(t, "stripe", "evt_1"); return outcome == "applied" })
	cancel()
	<-ended
}

// A database that is away while the inbox is worked loses no message.
func TestErrorsKeepTheMessage(t *testing.T) {
	w := newWorld(t)
	p := w.place(t, w.method(t, ""), 1500, 1500, "charge_then_drop")
	capture := w.approve(t, p)
	w.run(t, models.Capture, capture)
	w.stripeHook(t, stripeEvent("evt_1", "payment_intent.succeeded", capturedIntent(p.hold, w.reference(t, capture), 1500))).want(t, 200, nil)
	w.sql(t, `ALTER TABLE operations RENAME TO operations_away`)
	w.sql(t, `ALTER TABLE captures RENAME TO captures_away`)
	w.process(t)
	if outcome, reason := w.inbox(t, "stripe", "evt_1"); outcome != "" || !strings.HasPrefix(reason, "failed: ") {
		t.Errorf("outcome %q: %s", outcome, reason)
	}
	w.sql(t, `ALTER TABLE operations_away RENAME TO operations`)
	w.sql(t, `ALTER TABLE captures_away RENAME TO captures`)
	w.makeDue(t)
	w.process(t)
	if outcome, reason := w.inbox(t, "stripe", "evt_1"); outcome != "applied" {
		t.Errorf("outcome %q: %s", outcome, reason)
	}
}
