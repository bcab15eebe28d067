package store_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// hostile is text as a gateway, a client or a person may send it.
var hostile = map[string]string{
	"NUL":               "a\x00b\x00",
	"only NUL":          "\x00",
	"invalid UTF-8":     "a\xff\xfe\xc3(",
	"half a rune":       "€"[:2],
	"quotes":            `'; DROP TABLE captures; --" `,
	"backslashes":       `\' \\ \`,
	"an escaped NUL":    `\u0000`,
	"an escaped escape": `\\u0000\"`,
	"half a surrogate":  `\ud800`,
	"question marks":    `? ?0 ?1 ?table ?sendable ?? $1 ::uuid`,
	"separators":        "\x1e\x1f\x1c",
	"line breaks":       "a\r\n\tb\u2028",
	"JSON":              `{"a": [1, null]}`,
	"a dollar quote":    `$$ $1 $capstan$`,
	"right to left":     "\u202egnirts\u202c",
	"a megabyte":        strings.Repeat("'", 1<<20),
}

// Whatever is said about an operation is recorded, and breaks no statement.
func TestHostileEvidence(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	must(t, b.EnsureWebhook(t.Context(), "shop", "https://example.com/"))
	for name, text := range hostile {
		t.Run(name, func(t *testing.T) {
			short := text[:min(len(text), 1000)] // may end within a rune
			say := func(op models.Operation, by models.Source, o models.Outcome) models.Evidence {
				ev := evidence(op, by, o)
				ev.Message = text
				ev.GatewayTransactionID, ev.RequestID, ev.ErrorCode, ev.ErrorDetail, ev.Token, ev.NextAction, ev.By = short, short, short, short, short, short, short
				return ev
			}
			_, op := b.approved(t)
			c := b.claim(t, op)
			b.recordAs(t, c, say(op, models.FromAnswer, models.OutcomeLost), short)
			b.pass(t, time.Hour)
			c = b.claim(t, op)
			none := say(op, models.FromLookUp, models.OutcomeNone)
			d := models.Judge(c.Operation, none, c.Facts(b.Tempo(), 0, false))
			sending, err := b.ClaimSend(t.Context(), store.Outcome{Claim: c, Evidence: none, Decision: d, Worker: short})
			must(t, err)
			must(t, b.Hint(t.Context(), nil, b.reread(t, op), short, text))
			b.recordAs(t, sending, say(op, models.FromAnswer, models.OutcomeConfirmed), short) // its fence is gone
			if got := b.reread(t, op); got.State != models.Succeeded {
				t.Errorf("the capture is %s", got.State)
			}
			other := say(op, models.FromWebhook, models.OutcomeConfirmed)
			other.GatewayTransactionID, other.CurrencyCode = "tx_2", short
			_, err = b.Observe(t.Context(), store.Observation{Kind: op.Kind, ID: op.ID, Evidence: other, Actor: short, Reason: short})
			must(t, err)
			must(t, b.Release(t.Context(), b.claimOfAnother(t), text, text, 0))
		})
	}
	b.verify(t)
	b.audited(t)
}

func (b bench) claimOfAnother(t *testing.T) store.Claim {
	t.Helper()
	_, op := b.approved(t)
	return b.claim(t, op)
}

// recordAs records under a worker's name.
func (b bench) recordAs(t *testing.T, c store.Claim, ev models.Evidence, worker string) {
	t.Helper()
	d := models.Judge(c.Operation, ev, c.Facts(b.Tempo(), 0, false))
	must(t, b.Record(t.Context(), store.Outcome{Claim: c, Evidence: ev, Decision: d, Worker: worker, LogVerdict: true}))
}

// Whatever clients name their things, they are stored or refused by a rule.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	for name, text := range hostile {
		t.Run(name, func(t *testing.T) {
			// A NUL has no place in jsonb; whoever takes documents in refuses it by its pointer.
			metadata, err := json.Marshal(map[string]string{"note": strings.ReplaceAll(text, "\x00", "")})
			must(t, err)
			labels := models.Labels{Reference: text, ReferenceOrigin: text, Metadata: metadata}
			o, made, err := b.CreateOrder(t.Context(), models.Order{
				Mode: models.Test, PaymentMethodID: b.method.ID, CurrencyCode: "EUR", TotalAmountCents: 1500, Labels: labels,
			})
			tolerate(t, err)
			if err != nil {
				return
			}
			if made {
				again, fresh, err := b.CreateOrder(t.Context(), models.Order{
					Mode: models.Test, PaymentMethodID: b.method.ID, CurrencyCode: "EUR", TotalAmountCents: 1500, Labels: labels,
				})
				if err != nil || fresh != (o.Reference == "") || !fresh && again.ID != o.ID {
					t.Errorf("the same again is new: %v, %v", fresh, err)
				}
			}
			hold, _, err := b.register(models.Authorization{OrderID: o.ID, AmountCents: 1500, GatewayTransactionID: text, Labels: labels})
			tolerate(t, err)
			if err == nil && made {
				same, _, err := b.register(models.Authorization{OrderID: o.ID, AmountCents: 1500, GatewayTransactionID: text})
				if err != nil || same.ID != hold.ID {
					t.Errorf("the same hold again: %s, %v", same.ID, err)
				}
			}
			if _, err := b.approveOrder(o.ID); err != nil {
				t.Error(err)
			}
			_, err = b.Receive(t.Context(), text, text, text, []byte(text))
			tolerate(t, err)
			must(t, b.PauseGateway(t.Context(), text, text))
			must(t, b.WakeGateway(t.Context(), text))
		})
	}
	b.verify(t)
}

// An id is an id, or it is nothing.
func TestHostileIDs(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	for name, text := range hostile {
		t.Run(name, func(t *testing.T) {
			for what, err := range map[string]error{
				"order":         func() error { _, err := b.Store.Order(t.Context(), models.Test, text); return err }(),
				"authorization": func() error { _, err := b.Authorization(t.Context(), models.Test, text); return err }(),
				"operation":     func() error { _, err := b.Operation(t.Context(), models.Test, models.Capture, text); return err }(),
				"approval":      func() error { _, err := b.approveOrder(text); return err }(),
				"capture":       func() error { _, err := b.capture(text, 0); return err }(),
				"refund":        func() error { _, err := b.refund(text, 0); return err }(),
				"void":          func() error { _, err := b.void(text); return err }(),
				"task":          b.WhyNot(t.Context(), models.Capture, text, "worker"),
				"delivery":      func() error { _, err := b.Delivery(t.Context(), text); return err }(),
			} {
				if err == nil || !strings.Contains(err.Error(), "not found") {
					t.Errorf("%s: %.200v", what, err)
				}
			}
		})
	}
}
