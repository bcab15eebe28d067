package api_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
)

// open approves a purchase whose capture ends without an answer, and returns it.
func (w *world) open(t *testing.T, fault string) (purchase, string) {
	t.Helper()
	p := w.place(t, w.method(t, ""), 1500, 1500, fault)
	id := w.approve(t, p)
	w.run(t, models.Capture, id)
	w.get(t, "/api/captures/"+id).want(t, http.StatusOK, map[string]any{"data.attributes.state": "unknown"})
	return p, id
}

// conclude makes a none of the gateway's proof: the last call is long over.
func (w *world) conclude(t *testing.T, id string) {
	t.Helper()
	w.sql(t, `UPDATE captures SET last_sent_at = last_sent_at - interval '1 hour' WHERE id = '`+id+`'`)
}

func count(b sandbox.Snapshot, call string) (n int) {
	for _, r := range b.Requests {
		if r.Call == call {
			n++
		}
	}
	return n
}

// TestRefundOfALostAnswer: the money was taken, the answer lost, and the refund
// need not wait for the schedule.
func TestRefundOfALostAnswer(t *testing.T) {
	w := newWorld(t)
	p, id := w.open(t, "capture.charge_then_drop:1")
	w.patch(t, "captures", id, `{"_refund":true,"_refund_amount_cents":500}`).want(t, http.StatusOK, map[string]any{
		"data.attributes.succeeded": true, "data.attributes.refund_amount_cents": 500,
	})
	refund, _ := w.get(t, "/api/captures/"+id+"/refunds").want(t, http.StatusOK, map[string]any{"meta.record_count": 1}).at(t, "data.0.id").(string)
	w.run(t, models.Refund, refund)
	w.get(t, "/api/orders/"+p.order).want(t, http.StatusOK, map[string]any{"data.attributes.payment_status": "partially_refunded"})
	if b := w.sandbox.BookOf(p.hold); len(b.Captures) != 1 || len(b.Refunds) != 1 || b.Refunds[0].Amount != 500 {
		t.Errorf("the gateway booked %+v %+v", b.Captures, b.Refunds)
	}
	w.get(t, "/api/verdicts?filter[q][operation_id_eq]="+id).want(t, http.StatusOK, map[string]any{"data.0.attributes.verdict": "forward"})
}

// TestOperationsOnALostAnswer: whatever is asked next is answered by what the
// gateway has, not by a conflict.
func TestOperationsOnALostAnswer(t *testing.T) {
	w := newWorld(t)
	for name, ask := range map[string]func(p purchase, capture string){
		"cancel the order": func(p purchase, capture string) {
			w.patch(t, "orders", p.order, `{"_cancel":true}`).want(t, http.StatusOK, map[string]any{"data.attributes.status": "cancelled"})
			w.get(t, "/api/captures/"+capture+"/refunds").want(t, http.StatusOK, map[string]any{"meta.record_count": 1, "data.0.attributes.cause": "cancel"})
		},
		"cancel the capture": func(_ purchase, capture string) {
			w.patch(t, "captures", capture, `{"_cancel":true}`).want(t, http.StatusUnprocessableEntity, nil) // there is no mismatch
		},
		"void the hold": func(p purchase, _ string) {
			w.patch(t, "authorizations", p.authorization, `{"_void":true}`).want(t, http.StatusUnprocessableEntity, map[string]any{"errors.0.code": "HOLD_CLOSED"})
		},
		"capture once more": func(p purchase, _ string) {
			w.patch(t, "authorizations", p.authorization, `{"_capture":true}`).want(t, http.StatusUnprocessableEntity, nil)
		},
		"lower the total": func(p purchase, _ string) {
			w.patch(t, "orders", p.order, `{"total_amount_cents":1000}`).want(t, http.StatusOK, map[string]any{"data.attributes.total_amount_cents": 1000})
		},
		"deliver": func(p purchase, _ string) {
			w.patch(t, "orders", p.order, `{"_fulfill":true}`).want(t, http.StatusOK, map[string]any{"data.attributes.payment_status": "paid"})
		},
	} {
		p, id := w.open(t, "capture.charge_then_drop:1")
		ask(p, id)
		w.get(t, "/api/captures/"+id).want(t, http.StatusOK, map[string]any{"data.attributes.state": "succeeded"})
		if b := w.sandbox.BookOf(p.hold); len(b.Captures) != 1 || count(b, "capture") != 1 {
			t.Errorf("%s: the gateway was asked %d times and booked %+v", name, count(b, "capture"), b.Captures)
		}
	}
}

// TestCancelOfALostCapture: the capture never arrived; the order is cancelled at
// once, nothing is sent again, and the hold is released.
func TestCancelOfALostCapture(t *testing.T) {
	w := newWorld(t)
	p, id := w.open(t, "capture.drop_before:1")
	w.conclude(t, id)
	w.patch(t, "orders", p.order, `{"_cancel":true}`).want(t, http.StatusOK, map[string]any{"data.attributes.status": "cancelled"})
	w.get(t, "/api/captures/"+id).want(t, http.StatusOK, map[string]any{"data.attributes.state": "cancelled"})
	void, _ := w.get(t, "/api/orders/"+p.order+"/voids").want(t, http.StatusOK, map[string]any{"meta.record_count": 1}).at(t, "data.0.id").(string)
	w.run(t, models.Void, void)
	if b := w.sandbox.BookOf(p.hold); len(b.Captures) != 0 || len(b.Cancels) != 1 {
		t.Errorf("the gateway booked %+v and released %+v", b.Captures, b.Cancels)
	}
	// Too early to tell: the wish is stored, and the outcome decides.
	early, capture := w.open(t, "capture.drop_before:1")
	w.patch(t, "orders", early.order, `{"_cancel":true}`).want(t, http.StatusOK, nil)
	w.conclude(t, capture)
	w.work(t)
	until(t, "the order is cancelled", func() bool {
		return w.get(t, "/api/orders/"+early.order).at(t, "data.attributes.status") == "cancelled"
	})
	if b := w.sandbox.BookOf(early.hold); len(b.Captures) != 0 {
		t.Errorf("the gateway booked %+v", b.Captures)
	}
}

// TestAskedOfASilentGateway: the refusal is the ledger's own, and says when it
// will be known.
func TestAskedOfASilentGateway(t *testing.T) {
	w := newWorld(t)
	p, id := w.open(t, "capture.charge_then_drop:1,lookup_500:*")
	for _, ask := range []struct{ typ, id, what string }{
		{"captures", id, `{"_refund":true}`},
		{"captures", id, `{"_cancel":true}`},
		{"authorizations", p.authorization, `{"_void":true}`},
		{"orders", p.order, `{"total_amount_cents":1000}`},
	} {
		r := w.patch(t, ask.typ, ask.id, ask.what).want(t, http.StatusConflict, map[string]any{"errors.0.code": "OPERATION_UNDER_WAY"})
		detail := fmt.Sprint(r.at(t, "errors.0.detail"))
		var at string
		if _, err := fmt.Sscanf(afterLast(detail, "asked again at "), "%s", &at); err != nil {
			t.Fatalf("%s %s: %q does not say when", ask.typ, ask.what, detail)
		}
		if _, err := time.Parse(time.RFC3339, at); err != nil {
			t.Errorf("%s %s: %q names no time: %v", ask.typ, ask.what, detail, err)
		}
	}
	w.get(t, "/api/captures/"+id).want(t, http.StatusOK, map[string]any{"data.attributes.state": "unknown"})
	w.patch(t, "orders", p.order, `{"_cancel":true}`).want(t, http.StatusOK, map[string]any{"data.attributes.status": "approved"})
	if b := w.sandbox.BookOf(p.hold); len(b.Captures) != 1 || count(b, "capture") != 1 {
		t.Errorf("the gateway was asked %d times and booked %+v", count(b, "capture"), b.Captures)
	}
}

func afterLast(s, mark string) string {
	for i := len(s) - len(mark); i >= 0; i-- {
		if s[i:i+len(mark)] == mark {
			return s[i+len(mark):]
		}
	}
	return ""
}

// TestNothingIsAskedWithoutDoubt: the ordinary way costs the gateway no call.
func TestNothingIsAskedWithoutDoubt(t *testing.T) {
	w := newWorld(t)
	_, id := w.captured(t, w.method(t, ""))
	waiting := w.place(t, w.method(t, `,"capture_trigger":"delay","capture_delay_seconds":3600`), 1500, 1500, "")
	w.approve(t, waiting)
	before := len(w.sandbox.Book().Requests)
	w.patch(t, "captures", id, `{"_refund":true,"_refund_amount_cents":100}`).want(t, http.StatusOK, nil)
	w.patch(t, "orders", waiting.order, `{"total_amount_cents":1000}`).want(t, http.StatusOK, nil)
	w.patch(t, "orders", waiting.order, `{"_cancel":true}`).want(t, http.StatusOK, map[string]any{"data.attributes.status": "cancelled"})
	if asked := w.sandbox.Book().Requests[before:]; len(asked) != 0 {
		t.Errorf("the gateway was asked %+v", asked)
	}
}

// TestWebhookCancelsALostAnswer: a cancellation from outside asks first, too.
func TestWebhookCancelsALostAnswer(t *testing.T) {
	w := newWorld(t)
	p, id := w.open(t, "capture.charge_then_drop:1")
	w.sql(t, `UPDATE orders SET reference = 'wBXVhKzrnq' WHERE id = '`+p.order+`'`)
	cancel := clOrder(func(o, _, _ map[string]any) { o["status"] = "cancelled" }).body(t)
	w.clHook(t, "orders.cancel", cancel).want(t, http.StatusOK, nil)
	w.process(t)
	w.get(t, "/api/orders/"+p.order).want(t, http.StatusOK, map[string]any{"data.attributes.status": "cancelled"})
	w.get(t, "/api/captures/"+id+"/refunds").want(t, http.StatusOK, map[string]any{"meta.record_count": 1, "data.0.attributes.cause": "cancel"})
}
