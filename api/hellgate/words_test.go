package hellgate

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/models"
)

// Every state that a hold and what was asked of it can be in has one word.
func TestStatus(t *testing.T) {
	op := func(state models.State, cause models.Cause) models.Operation {
		return models.Operation{Kind: models.Capture, State: state, Cause: cause}
	}
	flagged := op(models.Pending, models.CauseApproval)
	flagged.NeedsAttention = "amount_conflict"
	void := func(state models.State) []models.Operation {
		return []models.Operation{{Kind: models.Void, State: state}}
	}
	captures := func(ops ...models.Operation) []models.Operation { return ops }
	closed := func(why string) models.Authorization {
		now := time.Now()
		return models.Authorization{AmountCents: 1000, ClosedAt: &now, ClosedReason: why}
	}
	automatic := models.PaymentMethod{Policy: models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerApproval}}
	byHand := models.PaymentMethod{Policy: models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerManual}}
	limit := int64(999)
	small := models.PaymentMethod{Policy: models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerApproval, AutoCaptureMaxAmountCents: &limit}}
	order := models.Order{TotalAmountCents: 1000, Status: models.OrderApproved}
	cancelled := models.Order{TotalAmountCents: 1000, Status: models.OrderCancelled}
	paid := models.Order{TotalAmountCents: 1000, Status: models.OrderApproved, CapturedCents: 1000}

	for name, row := range map[string]struct {
		view view
		want string
	}{
		"a hold":                                {view{order: order}, authorized},
		"a hold of a flow by hand":              {view{order: order, method: byHand}, authorized},
		"a hold of an automatic flow":           {view{order: order, method: automatic}, processing},
		"above the flow's limit":                {view{order: order, method: small}, authorized},
		"a second hold of a paid order":         {view{order: paid, method: automatic}, authorized},
		"a hold of a cancelled order":           {view{order: cancelled, method: automatic}, voiding},
		"pending, automatic":                    {view{order: order, captures: captures(op(models.Pending, models.CauseApproval))}, processing},
		"pending, by hand":                      {view{order: order, captures: captures(op(models.Pending, models.CauseManual))}, capturing},
		"pending, flagged":                      {view{order: order, captures: captures(flagged)}, capturing},
		"capturing":                             {view{order: order, captures: captures(op(models.Capturing, models.CauseApproval))}, capturing},
		"submitted":                             {view{order: order, captures: captures(op(models.Submitted, models.CauseApproval))}, capturing},
		"unknown":                               {view{order: order, captures: captures(op(models.Unknown, models.CauseApproval))}, capturing},
		"succeeded":                             {view{order: paid, captures: captures(op(models.Succeeded, models.CauseManual)), hold: closed(models.ClosedCaptured)}, captured},
		"reset":                                 {view{order: order, captures: captures(op(models.Reset, models.CauseManual))}, voided},
		"failed, the hold kept":                 {view{order: order, captures: captures(op(models.Failed, models.CauseManual))}, failed},
		"failed, then tried again":              {view{order: order, captures: captures(op(models.Failed, models.CauseManual), op(models.Pending, models.CauseManual))}, capturing},
		"failed, then succeeded":                {view{order: order, captures: captures(op(models.Failed, models.CauseManual), op(models.Succeeded, models.CauseManual))}, captured},
		"reversed":                              {view{order: order, captures: captures(op(models.Reversed, models.CauseManual))}, failed},
		"withdrawn before it was sent":          {view{order: order, captures: captures(op(models.Cancelled, models.CauseManual))}, authorized},
		"a void under way":                      {view{order: order, voids: void(models.Capturing)}, voiding},
		"a void that went through":              {view{order: order, voids: void(models.Succeeded), hold: closed(models.ClosedVoided)}, voided},
		"a void that failed":                    {view{order: order, voids: void(models.Failed)}, authorized},
		"expired":                               {view{order: order, hold: closed(models.ClosedExpired)}, failed},
		"gone":                                  {view{order: order, hold: closed(models.ClosedGone)}, failed},
		"captured by nobody here":               {view{order: order, hold: closed(models.ClosedCaptured)}, captured},
		"withdrawn, and the hold voided":        {view{order: cancelled, captures: captures(op(models.Cancelled, models.CauseApproval)), hold: closed(models.ClosedVoided)}, voided},
		"part of a hold taken, another part up": {view{order: order, captures: captures(op(models.Succeeded, models.CauseManual), op(models.Unknown, models.CauseManual))}, capturing},
	} {
		if got := row.view.status(); got != row.want {
			t.Errorf("%s: %s, want %s", name, got, row.want)
		}
	}
}

func TestRefundWords(t *testing.T) {
	for state, want := range map[models.State]string{
		models.Pending: processing, models.Capturing: processing, models.Submitted: processing, models.Unknown: processing,
		models.Succeeded: completed, models.Failed: failed, models.Cancelled: failed, models.Reversed: failed,
	} {
		r := refundOf(models.Operation{Kind: models.Refund, State: state})
		if r.Status != want {
			t.Errorf("%s: %s, want %s", state, r.Status, want)
		}
		if (r.FailureDetails != nil) != (want == failed) {
			t.Errorf("%s: failure_details %v", state, r.FailureDetails)
		}
	}
}

func TestCardData(t *testing.T) {
	for _, s := range []string{
		"4242424242424242", "4242 4242 4242 4242", "4242-4242-4242-4242", " 4242.4242.4242.4242 ", "card 4242424242424242.", "378282246310005", "4222222222222",
		"6011000990139424", "4000000000000000006", "4242\u00a04242\u00a04242\u00a04242", "42424242\u200b42424242", "４２４２４２４２４２４２４２４２", "x=5555555555554444&y",
	} {
		if !hasPAN(s) {
			t.Errorf("%q is no card number", s)
		}
	}
	for _, s := range []string{
		"", "424242XXXXXX4242", "4242424242424241", "424242424242", "pi_3MmlLrLkdIwHu7ix0snN0B15", "54ba1fdb-7e4e-402b-aebb-66f9d5345cf8", "0000000000000000",
		"2023-10-10T00:00:00Z", "42424242424242424242424242", "2030", "Order #12345", "************4242",
	} {
		if hasPAN(s) {
			t.Errorf("%q is a card number", s)
		}
	}
	for name, document := range map[string]string{
		"in a member": `{"source":{"number":"4242424242424242"}}`, "as a number": `{"source":{"number":4242424242424242}}`, "in a list": `{"a":[["4242424242424242"]]}`,
		"as a name": `{"4242424242424242":1}`, "a secret": `{"source":{"card":{"security_code":"123"}}}`, "a secret, otherwise": `{"CVV2":123}`, "beside a null": `{"cvc":null,"track-2":";x"}`,
	} {
		if _, found := cardData(decode(t, document), nil); !found {
			t.Errorf("%s: nothing found in %s", name, document)
		}
	}
	if at, found := cardData(decode(t, `{"cvc":null,"source":{"expiry_year":2030,"masked_account_number":"424242XXXXXX4242"}}`), nil); found {
		t.Errorf("found something at %v", at)
	}
}

// Whatever is sent, what input takes is an object without a card number, and
// what it keeps of a source has none either, written in any groups.
func FuzzCardData(f *testing.F) {
	for _, s := range []string{
		`{"source":{"type":"card","transaction_id":"pi_1","number":"4242 4242-4242.4242"}}`, `{"source":{"a":[{"b":4242424242424242}]}}`, `{"a":4.242424242424242e15}`,
		`{"\u0034242424242424242":{}}`, `{"source":{"transaction_id":{},"type":null}}`, `{"source":[]}`, `{"cvc":[]}`, `[]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		v, err := api.ParseDocument(body)
		if err != nil {
			return
		}
		members, ok := v.(map[string]any)
		if _, found := cardData(v, nil); found || !ok {
			return
		}
		in := &input{members: members}
		kept, _ := in.source()
		_, _ = in.part()
		_, _ = in.useCase(), in.reference()
		if in.done() == nil {
			again, err := api.ParseDocument(kept)
			if err != nil {
				t.Fatalf("%q is kept as %q: %v", body, kept, err)
			}
			if at, found := cardData(again, nil); found {
				t.Fatalf("%q is kept as %q, with card data at %v", body, kept, at)
			}
		}
	})
}

func decode(t *testing.T, document string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(document), &v); err != nil {
		t.Fatal(err)
	}
	return numbers(v)
}

// numbers makes them what a document's are: as they were written.
func numbers(v any) any {
	switch v := v.(type) {
	case float64:
		raw, _ := json.Marshal(int64(v))
		return json.Number(raw)
	case map[string]any:
		for name := range v {
			v[name] = numbers(v[name])
		}
	}
	return v
}
