package main

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/models"
)

// externallyPaid: the sandbox stands for a merchant's external gateway, too, which
// is told what the ledger knows. Its orders are captured once, whatever happens to
// an answer, and refunded and voided; what it accepts is told by its callback.
func (p *production) externallyPaid(t *testing.T, s *shop) {
	t.Helper()
	if err := s.method(t.Context(), externalAccount, onApproval, "external_payments", map[string]any{"auto_capture": true}); err != nil {
		t.Fatal(err)
	}
	ordered := func(name, fault string) *sale {
		o := &sale{
			story: &story{method: onApproval, fault: fault}, gateway: externalAccount, Reference: "EXT-" + strings.ReplaceAll(name, " ", "-"), Total: 1500, HoldCents: 1500,
		}
		if err := errors.Join(s.authorize(t.Context(), o), s.order(t.Context(), o)); err != nil {
			t.Fatal(err)
		}
		return o
	}
	becomes := func(o *sale, attributes map[string]any, want models.PaymentStatus) {
		t.Helper()
		if attributes != nil {
			if err := s.patchOrder(t.Context(), o, attributes); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, o.Reference+" is "+string(want), func() bool {
			status, err := s.paymentStatus(t.Context(), o)
			return err == nil && status == string(want)
		})
	}
	for name, fault := range map[string]string{"plain": "", "answer lost": "charge_then_drop", "call lost": "drop_before", "called back": "pending=300ms"} {
		o := ordered(name, fault)
		becomes(o, map[string]any{"_approve": true}, models.Paid)
		booked, violations := p.book(t, o.Hold)
		if len(booked) != 1 || booked[0].Amount != 1500 || violations != 0 {
			t.Fatalf("%s: the gateway's book has %v and %d violations, not one capture of 1500", name, booked, violations)
		}
	}
	o := ordered("refunded", "refund.charge_then_500")
	becomes(o, map[string]any{"_approve": true}, models.Paid)
	captures, err := s.captures(t.Context(), o)
	if err != nil || len(captures) != 1 {
		t.Fatal(captures, err)
	}
	id := captures[0].ID
	body := map[string]any{"type": "captures", "id": id, "attributes": map[string]any{"_refund_amount_cents": 500}}
	if err := call(t.Context(), s.api, http.MethodPatch, "/api/captures/"+id, body, nil); err != nil {
		t.Fatal(err)
	}
	becomes(o, nil, models.PartiallyRefunded)
	becomes(ordered("voided", "void.charge_then_drop"), map[string]any{"_cancel": true}, models.Voided)
	var gateways []resource
	if err := call(t.Context(), s.api, http.MethodGet, "/api/external_gateways", nil, &gateways); err != nil || len(gateways) != 1 || text(gateways[0].Attributes["circuit_state"]) != "closed" {
		t.Errorf("%+v, %v", gateways, err)
	}
}

// What a gateway says that cannot be asked is kept until it can be recorded: it
// says it once.
func TestWhoCannotBeAskedTellsOnce(t *testing.T) {
	for _, p := range []provider{adyenProvider(), externalProvider()} {
		if !p.read(&system{}).TellsOnce {
			t.Errorf("a message of %s that comes while its operation is claimed is lost", p.slug)
		}
	}
}
