package store_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// holdAt is holdUntil with what makes its end known.
func (b bench) holdAt(t *testing.T, orderID string, a models.Authorization) models.Authorization {
	t.Helper()
	a.OrderID, a.AmountCents = orderID, 1500
	hold, _, err := b.register(a)
	must(t, err)
	return hold
}

// A hold whose end nobody tells lives as long as its network and initiator let
// it, by the same rule as the gateway's capabilities have it.
func TestEstimatedEnd(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	day := 24 * time.Hour
	caps := gateway.Capabilities{HoldLife: 7 * day, HoldLives: []gateway.HoldLife{
		{Network: "visa", Initiator: models.ByMerchant, Life: 4*day + 18*time.Hour}, {Initiator: models.ByMerchant, Life: 6 * day}, {Network: "paypal", Life: 29 * day},
	}}
	var lives []store.HoldLife
	for _, l := range append(caps.HoldLives, gateway.HoldLife{Life: caps.HoldLife}) {
		lives = append(lives, store.HoldLife(l))
	}
	unknown := b.holdAt(t, b.order(t, 1500).ID, models.Authorization{})
	if unknown.Deadline() != nil || unknown.DeadlineSource() != "" {
		t.Errorf("an end from nowhere: %v", unknown.Deadline())
	}
	must(t, b.SetHoldLives(t.Context(), "stripe", lives))
	must(t, b.SetHoldLives(t.Context(), "stripe", lives))
	for _, network := range []string{"", "visa", "VISA", "mastercard", "paypal"} {
		for _, initiator := range []string{"", models.ByCustomer, models.ByMerchant} {
			o := b.order(t, 1500)
			h := b.holdAt(t, o.ID, models.Authorization{Network: network, Initiator: initiator})
			want := caps.LifeOf(strings.ToLower(network), initiator)
			if h.EstimatedBefore == nil || h.EstimatedBefore.Sub(h.CreatedAt) != want || h.CaptureBefore != nil || h.DeadlineSource() != "estimate" {
				t.Errorf("%q by %q ends %v after it was made, want %s", network, initiator, h.EstimatedBefore, want)
			}
			if due := read[time.Time](t, b, `SELECT due_at FROM order_checks WHERE order_id = $1`, o.ID); !due.Equal(h.EstimatedBefore.Add(-48 * time.Hour)) {
				t.Errorf("looked at first at %s, the hold ends %s", due, h.EstimatedBefore)
			}
		}
	}
	told := b.holdAt(t, b.order(t, 1500).ID, models.Authorization{CaptureBefore: ptr(time.Now().Add(day)), Network: "visa"})
	if told.EstimatedBefore != nil || told.DeadlineSource() != models.ToldByClient {
		t.Errorf("what the client told is an %s, and estimated %v", told.DeadlineSource(), told.EstimatedBefore)
	}
	_, _, err := b.register(models.Authorization{OrderID: b.order(t, 1).ID, AmountCents: 1, Initiator: "nobody"})
	refused(t, err, "initiator_unknown")

	// The nearest end goes first, estimated or told.
	o := b.order(t, 1500)
	h := b.holdAt(t, o.ID, models.Authorization{})
	op := b.approve(t, o.ID)[0]
	if deadline := read[time.Time](t, b, `SELECT deadline FROM work WHERE operation_id = $1`, op.ID); !deadline.Equal(*h.EstimatedBefore) {
		t.Errorf("the capture's deadline is %s, the hold's %s", deadline, h.EstimatedBefore)
	}
}

// What is estimated stops no send and closes no hold.
func TestAnEstimateStopsNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	must(t, b.SetHoldLives(t.Context(), "stripe", []store.HoldLife{{Life: time.Hour}}))
	o := b.order(t, 1500)
	hold := b.hold(t, o.ID, 1500)
	b.pass(t, 30*24*time.Hour)
	counted(t, b.sweep(t), models.Expiring, 0)
	if got := b.holdNow(t, hold.ID); got.ClosedAt != nil {
		t.Fatalf("closed %q by an estimate", got.ClosedReason)
	}
	op := b.approve(t, o.ID)[0]
	c := b.claim(t, op)
	if c.Look || !c.MaySend {
		t.Fatalf("an estimate stands against a send: %+v", c)
	}
	b.record(t, c, confirmed(op))
	b.sweep(t)
	if n := read[int](t, b, `SELECT count(*) FROM order_checks`); n != 0 {
		t.Errorf("%d orders are still looked at", n)
	}
	b.verify(t)
}

func (b bench) warnings(t *testing.T) string {
	t.Helper()
	return strings.Join(column[string](t, b, `SELECT payload ->> 'number' || ' ' || (payload ->> 'hours') || 'h ' || (payload ->> 'value_at_risk_cents') || CASE WHEN (payload ->> 'estimated')::boolean THEN ' estimated' ELSE '' END
		FROM deliveries WHERE topic = 'authorizations.expiring' ORDER BY version DESC, 1`), ", ")
}

// A warning is given at 48 and at 24 hours, once, by verdict and webhook, also
// while a call is under way; a database that forgot it tells under the same id.
func TestWarnings(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	must(t, b.EnsureWebhook(t.Context(), "default", "http://127.0.0.1:1/hook"))
	waiting, calling := b.order(t, 1500), b.order(t, 1500)
	for _, o := range []models.Order{waiting, calling} {
		b.holdUntil(t, o.ID, 1500, 72*time.Hour)
	}
	op := b.approve(t, calling.ID)[0]
	b.record(t, b.claim(t, op), evidence(op, models.FromAnswer, models.OutcomeLost))
	number := func(o models.Order) string {
		return column[string](t, b, `SELECT number FROM authorizations WHERE order_id = $1`, o.ID)[0]
	}
	first, second := number(waiting), number(calling)
	for _, step := range []struct {
		pass     time.Duration
		expiring int
		told     string
	}{
		{0, 0, ""},
		{25 * time.Hour, 2, first + " 48h 1500, " + second + " 48h 1500"},
		{time.Hour, 0, first + " 48h 1500, " + second + " 48h 1500"},
		{23 * time.Hour, 2, first + " 48h 1500, " + second + " 48h 1500, " + first + " 24h 1500, " + second + " 24h 1500"},
		{time.Hour, 0, first + " 48h 1500, " + second + " 48h 1500, " + first + " 24h 1500, " + second + " 24h 1500"},
	} {
		b.pass(t, step.pass)
		for _, want := range []int{step.expiring, 0} { // a second sweep tells nothing
			counted(t, b.sweep(t), models.Expiring, want)
		}
		if got := b.warnings(t); got != step.told {
			t.Errorf("after %s told %q, want %q", step.pass, got, step.told)
		}
	}
	risks, err := b.ValueAtRisk(t.Context())
	must(t, err)
	want := []store.AtRisk{{CurrencyCode: "EUR", Hours: 24, Holds: 2, Cents: 3000}, {CurrencyCode: "EUR", Hours: 48, Holds: 2, Cents: 3000}}
	if diff := cmp.Diff(want, risks); diff != "" {
		t.Errorf("at risk (-want +got):\n%s", diff)
	}
	// What is captured is at risk no more, at once.
	b.record(t, b.claim(t, op), evidence(op, models.FromLookUp, models.OutcomeConfirmed))
	risks, err = b.ValueAtRisk(t.Context())
	must(t, err)
	if len(risks) != 2 || risks[0].Holds != 1 || risks[0].Cents != 1500 {
		t.Errorf("at risk after a capture: %+v", risks)
	}
	// Restored to before the warnings: told again under the same ids.
	before := column[string](t, b, `SELECT id::text FROM deliveries WHERE payload ->> 'order_id' = $1 AND payload ->> 'hours' = '24'`, waiting.ID)
	b.exec(t, `DELETE FROM deliveries`)
	b.exec(t, `UPDATE authorizations SET warned_hours = NULL WHERE order_id = $1`, waiting.ID)
	b.exec(t, `UPDATE order_checks SET due_at = now(), deadline = NULL`)
	b.sweep(t)
	after := column[string](t, b, `SELECT id::text FROM deliveries WHERE payload ->> 'order_id' = $1`, waiting.ID)
	if diff := cmp.Diff(before, after); diff != "" || len(after) != 1 {
		t.Errorf("told under other ids (-before +after):\n%s", diff)
	}
	// Nobody is told of what was let go.
	must(t, b.cancelOrder(waiting.ID))
	b.sweep(t)
	if risks, err = b.ValueAtRisk(t.Context()); err != nil || len(risks) != 0 {
		t.Errorf("at risk of a cancelled order: %+v (%v)", risks, err)
	}
	b.verify(t)
	b.audited(t)
}

// Checks of orders with nothing open are dropped together; what may still need
// something is looked at one by one.
func TestIdleChecksAreDropped(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	var paid []models.Order
	for range 3 {
		o := b.order(t, 1500)
		b.holdUntil(t, o.ID, 1500, time.Hour)
		op := b.approve(t, o.ID)[0]
		b.record(t, b.claim(t, op), confirmed(op))
		paid = append(paid, o)
	}
	waiting := b.order(t, 1500)
	b.holdUntil(t, waiting.ID, 1500, time.Hour)
	cancelled, _ := b.paid(t)
	b.exec(t, `UPDATE orders SET status = 'cancelled', cancelled_at = now() WHERE id = $1`, cancelled.ID)
	b.exec(t, `INSERT INTO order_checks (order_id, due_at) VALUES ($1, now())`, cancelled.ID)
	must(t, b.changeTotal(paid[2].ID, 1000))
	b.pass(t, 2*cancelAfter)
	must(t, b.DropIdleChecks(t.Context()))
	left := column[string](t, b, `SELECT order_id::text FROM order_checks WHERE due_at <= now() ORDER BY order_id`)
	if diff := cmp.Diff([]string{paid[2].ID, waiting.ID, cancelled.ID}, left); diff != "" {
		t.Errorf("left to look at (-want +got):\n%s", diff)
	}
	// One that changes right now is judged as it will be, or left alone.
	must(t, b.in(func(ctx context.Context, tx store.Tx) error {
		if _, err := tx.ExecContext(ctx, `UPDATE orders SET updated_at = now() WHERE id = '`+paid[0].ID+`'`); err != nil {
			return err
		}
		b.exec(t, `INSERT INTO order_checks (order_id, due_at) VALUES ($1, now())`, paid[0].ID)
		return b.DropIdleChecks(t.Context())
	}))
	if n := read[int](t, b, `SELECT count(*) FROM order_checks WHERE order_id = $1`, paid[0].ID); n != 1 {
		t.Error("the check of an order that somebody works on was dropped")
	}
	b.verify(t)
}
