package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// A webhook that comes a hundred times at once is stored once.
func TestInboxTakesAnEventOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	var mu sync.Mutex
	fresh := 0
	for _, err := range atOnce(times(100, func() error {
		isNew, err := b.Receive(context.Background(), "stripe", "evt_1", "charge.captured", []byte(`{"id": "evt_1"}`))
		mu.Lock()
		defer mu.Unlock()
		if isNew {
			fresh++
		}
		return err
	})...) {
		must(t, err)
	}
	other, err := b.Receive(t.Context(), "adyen", "evt_1", "CAPTURE", []byte("x"))
	must(t, err)
	if n := read[int](t, b, `SELECT count(*) FROM inbox`); fresh != 1 || !other || n != 2 {
		t.Errorf("%d were new, another source's %v, %d stored", fresh, other, n)
	}
}

// An event is worked by one at a time, comes back when its worker dies, and
// stays until somebody finishes it with a reason.
func TestInboxUntilItIsFinished(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	body := []byte("{\"bytes\": \"\x00\xff\"}")
	for _, id := range []string{"a", "b", "c"} {
		_, err := b.Receive(t.Context(), "stripe", id, "topic", body)
		must(t, err)
	}
	var mu sync.Mutex
	var taken []store.InboxEvent
	for _, err := range atOnce(times(6, func() error {
		events, err := b.NextInbox(context.Background(), 2)
		mu.Lock()
		defer mu.Unlock()
		taken = append(taken, events...)
		return err
	})...) {
		must(t, err)
	}
	names := make([]string, len(taken))
	for i, e := range taken {
		names[i] = e.EventID
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"a", "b", "c"}, names); diff != "" {
		t.Fatalf("taken by six at once (-want +got):\n%s", diff)
	}
	if string(taken[0].Body) != string(body) || taken[0].Tries != 1 {
		t.Errorf("%q at try %d", taken[0].Body, taken[0].Tries)
	}
	must(t, b.FinishInbox(t.Context(), taken[0].ID, "applied", "captured\x00"))
	must(t, b.PostponeInbox(t.Context(), taken[1].ID, "its operation is not known yet", time.Hour))
	b.pass(t, 61*time.Second) // the worker of the third died
	again, err := b.NextInbox(t.Context(), 10)
	must(t, err)
	if len(again) != 1 || again[0].ID != taken[2].ID || again[0].Tries != 2 {
		t.Errorf("come back: %+v", again)
	}
	b.pass(t, time.Hour)
	last, err := b.NextInbox(t.Context(), 10)
	must(t, err)
	if len(last) != 2 {
		t.Errorf("after an hour: %+v", last)
	}
	must(t, b.PostponeInbox(t.Context(), taken[0].ID, "too late", 0))
	outcome, reason, err := b.InboxOutcome(t.Context(), "stripe", taken[0].EventID)
	must(t, err)
	if outcome != "applied" || reason != "captured" {
		t.Errorf("%q %q", outcome, reason)
	}
	if _, _, err := b.InboxOutcome(t.Context(), "stripe", "never came"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// Every end and every flag of an operation is told to every endpoint, once, in
// the transaction that made it.
func TestDeliveriesOfAStory(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	for _, name := range []string{"shop", "books", "off"} {
		must(t, b.EnsureWebhook(t.Context(), name, "https://example.com/"+name))
	}
	must(t, b.EnsureWebhook(t.Context(), "off", ""))
	_, op := b.approved(t)
	c := b.claim(t, op)
	lost := evidence(op, models.FromAnswer, models.OutcomeLost)
	lost.Class = models.ClassBadRequest
	b.record(t, c, lost)            // flagged, and still open
	b.observe(t, op, confirmed(op)) // succeeded
	b.observe(t, op, confirmed(op)) // told again
	b.record(t, c, lost)            // a stale outcome
	second := confirmed(op)
	second.GatewayTransactionID = "tx_2"
	b.observe(t, op, second) // flagged: a duplicate
	got := column[string](t, b, `SELECT h.name || ' ' || d.topic FROM deliveries AS d JOIN webhooks AS h ON h.id = d.webhook_id ORDER BY h.name, d.version`)
	want := []string{
		"books captures.needs_attention", "books captures.succeeded", "books captures.needs_attention",
		"shop captures.needs_attention", "shop captures.succeeded", "shop captures.needs_attention",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	ps, err := b.UnpublishedDeliveries(t.Context(), 100)
	must(t, err)
	d, err := b.Delivery(t.Context(), ps[0].ID)
	must(t, err)
	var payload struct {
		ID    string
		State models.State
	}
	must(t, json.Unmarshal(d.Payload, &payload))
	if payload.ID != op.ID || payload.State != models.Unknown || d.Done || d.URL != "https://example.com/"+d.Endpoint {
		t.Errorf("%+v of %+v", payload, d)
	}
}

// A delivery is tried until it is delivered or given up, and published again
// when its task is lost; a disabled endpoint's waits.
func TestDeliveryUntilItIsDelivered(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	must(t, b.EnsureWebhook(t.Context(), "shop", "https://example.com/"))
	b.paid(t)
	next := func() []store.Publication {
		ps, err := b.UnpublishedDeliveries(t.Context(), 10)
		must(t, err)
		return ps
	}
	ps := next()
	if len(ps) != 1 || ps[0].Kind != store.DeliveryKind || ps[0].Generation != 1 {
		t.Fatalf("%+v", ps)
	}
	must(t, b.MarkPublished(t.Context(), ps))
	if left := next(); len(left) != 0 {
		t.Errorf("published and still listed: %+v", left)
	}
	must(t, b.RecordDelivery(t.Context(), ps[0].ID, store.DeliveryTry{Status: 500, Err: "HTTP 500 \x00\xff", Wait: time.Hour}))
	if d, err := b.Delivery(t.Context(), ps[0].ID); err != nil || d.Tries != 1 || d.Done || d.DueInMicros < time.Minute.Microseconds() {
		t.Errorf("%+v, %v", d, err)
	}
	b.pass(t, 50*time.Minute)
	b.sweep(t)
	if left := next(); len(left) != 0 {
		t.Errorf("published before it is due: %+v", left)
	}
	b.pass(t, 20*time.Minute)
	must(t, b.EnsureWebhook(t.Context(), "shop", ""))
	b.sweep(t)
	if left := next(); len(left) != 0 {
		t.Errorf("a disabled endpoint's: %+v", left)
	}
	must(t, b.EnsureWebhook(t.Context(), "shop", "https://example.com/new"))
	b.sweep(t)
	again := next()
	if len(again) != 1 || again[0].Generation != 2 {
		t.Fatalf("long late: %+v", again)
	}
	must(t, b.RecordDelivery(t.Context(), ps[0].ID, store.DeliveryTry{Status: 200, Delivered: true}))
	must(t, b.RecordDelivery(t.Context(), ps[0].ID, store.DeliveryTry{Status: 500, GiveUp: true})) // the slower of two
	if d, err := b.Delivery(t.Context(), ps[0].ID); err != nil || !d.Done || d.Tries != 2 {
		t.Errorf("%+v, %v", d, err)
	}
	b.pass(t, 24*time.Hour)
	b.sweep(t)
	if left := next(); len(left) != 0 {
		t.Errorf("delivered and listed: %+v", left)
	}
	for _, id := range []string{store.NewID(), "x"} {
		if _, err := b.Delivery(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// A transaction that is rolled back tells nobody.
func TestNothingIsToldOfWhatWasRolledBack(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	must(t, b.EnsureWebhook(t.Context(), "shop", "https://example.com/"))
	o, _ := b.approved(t)
	gone := errors.New("gone")
	err := b.in(func(ctx context.Context, tx store.Tx) error {
		if _, err := b.CancelOrder(ctx, tx, models.Test, o.ID, time.Now(), "person"); err != nil {
			return err
		}
		return gone
	})
	if !errors.Is(err, gone) {
		t.Fatal(err)
	}
	if n := read[int](t, b, `SELECT count(*) FROM deliveries`); n != 0 {
		t.Errorf("%d told", n)
	}
	b.verify(t)
}
