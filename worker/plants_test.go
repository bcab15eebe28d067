package worker_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

func paidFor(cents int64) ending {
	return ending{State: models.Succeeded, Confirmed: cents, Payment: models.Paid, Booked: fmt.Sprintf("%deur - - -", cents)}
}

// abandoned is an order whose worker is gone since an hour, when the gateway had
// booked so much under its reference.
func (w *world) abandoned(t *testing.T, fault string, booked int64) purchase {
	t.Helper()
	p := w.order(t, fault)
	w.lose(t, []string{p.op.ID}, nil)
	if booked > 0 {
		w.bookAs(t, p, p.op.GatewayReference, booked)
	}
	return p
}

// bookAs has the gateway take a hold under a reference.
func (w *world) bookAs(t *testing.T, p purchase, reference string, cents int64) {
	t.Helper()
	w.ask(t, "/v1/payment_intents/"+p.hold+"/capture", "", url.Values{
		"amount_to_capture": {strconv.FormatInt(cents, 10)}, "metadata[capstan_reference]": {reference},
	})
}

// corrupted is a captured order, and a statement about its capture that no
// program could run: the triggers sleep.
func corrupted(statement string) func(t *testing.T, w *world) purchase {
	return func(t *testing.T, w *world) purchase {
		t.Helper()
		p := w.captured(t, "")
		w.forge(t, statement, p.op.ID)
		return p
	}
}

// forge changes the ledger as somebody could who owns the database.
func (w *world) forge(t *testing.T, statement string, args ...any) {
	t.Helper()
	w.exec(t, `SET session_replication_role = replica`)
	defer w.exec(t, `RESET session_replication_role`)
	w.exec(t, statement, args...)
}

func plantExpired(t *testing.T, w *world) purchase {
	end := time.Now().Add(time.Hour)
	p := w.placeUntil(t, "", total, total, &end)
	p.op = w.approve(t, p)[0]
	w.exec(t, `UPDATE authorizations SET capture_before = now() - interval '1 hour' WHERE id = $1`, p.authID)
	w.call(t, http.MethodPost, "/_sandbox/expire?hold="+p.hold, nil, nil)
	return p
}

// plantChanged is captured when its hold came, and changed before its approval.
func plantChanged(t *testing.T, w *world) purchase {
	p := w.early(t).place(t, "")
	w.run(t, p)
	w.exec(t, `UPDATE orders SET total_amount_cents = 900, total_changed_at = now() - interval '1 hour', version = version + 1 WHERE id = $1`, p.orderID)
	w.exec(t, `INSERT INTO order_checks (order_id, due_at) VALUES ($1, now()) ON CONFLICT (order_id) DO UPDATE SET due_at = now()`, p.orderID)
	return p
}

func plantApproved(t *testing.T, w *world) purchase {
	p := w.place(t, "")
	w.exec(t, `UPDATE orders SET status = 'approved', approved_at = now() WHERE id = $1`, p.orderID)
	w.exec(t, `DELETE FROM order_checks WHERE order_id = $1`, p.orderID)
	return p
}

func plantForgotten(t *testing.T, w *world) purchase {
	p := w.order(t, "")
	w.exec(t, `DELETE FROM work WHERE operation_id = $1`, p.op.ID)
	return p
}

// plantCancelled is taken by the gateway after its order was cancelled, and
// before its hold could be released.
func plantCancelled(t *testing.T, w *world) purchase {
	p := w.order(t, "")
	w.cancel(t, p)
	w.bookAs(t, p, p.op.GatewayReference, total)
	void := w.operations(t, models.Void, p)[0]
	if err := w.runner(t, staff{name: "setup"}).Run(t.Context(), models.Void, void.ID); err != nil {
		t.Fatalf("void for the setup: %v", err)
	}
	return p
}

// plantDouble is taken twice under one reference: the hold had room for it.
func plantDouble(t *testing.T, w *world) purchase {
	p := w.placeFor(t, "", total, 2*total)
	p.op = w.approve(t, p)[0]
	w.run(t, p)
	w.dashboard(t, "capture", p.hold, total, "")
	return p
}

// invented is an order whose capture our book has, and the gateway has not, or
// for another amount.
func (w *world) invented(t *testing.T, booked int64) purchase {
	t.Helper()
	p := w.order(t, "")
	claims, err := w.store.ClaimAll(t.Context(), models.Capture, []string{p.op.ID}, "ghost")
	if err != nil || len(claims) != 1 {
		t.Fatalf("claims = %+v, %v", claims, err)
	}
	if booked > 0 {
		w.bookAs(t, p, p.op.GatewayReference, booked)
	}
	ev := models.Evidence{Source: models.FromAnswer, Outcome: models.OutcomeConfirmed, AmountCents: total, CurrencyCode: "EUR", GatewayTransactionID: p.hold}
	d := models.Judge(claims[0].Operation, ev, claims[0].Facts(w.store.Tempo(), 0, true))
	if err := w.store.Record(t.Context(), store.Outcome{Claim: claims[0], Evidence: ev, Decision: d, Worker: "ghost"}); err != nil {
		t.Fatal(err)
	}
	w.exec(t, `UPDATE captures SET last_sent_at = now() - interval '1 hour' WHERE id = $1`, p.op.ID)
	return p
}

// happened is a captured order to which something happened at the gateway.
func (w *world) happened(t *testing.T, action string, cents int64) purchase {
	t.Helper()
	p := w.captured(t, "")
	w.dashboard(t, action, p.hold, cents, "")
	return p
}

// plantRefund was refunded by this ledger before it was restored.
func plantRefund(t *testing.T, w *world) purchase {
	p := w.captured(t, "")
	w.ask(t, "/v1/refunds", "", url.Values{
		"payment_intent": {p.hold}, "amount": {strconv.FormatInt(returned, 10)},
		"metadata[capstan_reference]": {models.GatewayReference(account, p.hold, models.Refund, 1)},
	})
	return p
}

func plantOrphan(t *testing.T, w *world) purchase {
	p := purchase{hold: w.authorize(t, "", total)}
	w.dashboard(t, "capture", p.hold, 0, "")
	return p
}

// plantOwn was approved and captured by this ledger before it was restored to
// a time when its hold had just come.
func plantOwn(t *testing.T, w *world) purchase {
	p := w.place(t, "")
	w.bookAs(t, p, models.GatewayReference(account, p.hold, models.Capture, 1), total)
	return p
}

// early is the world with a method that captures when the hold comes.
func (w *world) early(t *testing.T) *world {
	t.Helper()
	other := *w
	m := w.method
	m.Name, m.Policy = "early", onAuthorization
	var err error
	if other.method, err = w.store.CreatePaymentMethod(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	return &other
}

// run works on a purchase's capture to its end.
func (w *world) run(t *testing.T, p purchase) {
	t.Helper()
	if err := w.runner(t, staff{name: "setup"}).Run(t.Context(), models.Capture, p.op.ID); err != nil {
		t.Fatalf("capture for the setup: %v", err)
	}
}
