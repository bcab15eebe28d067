package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/models"
)

// TestCheckoutComOrders: in `capstan dev` the sandbox stands for Checkout.com,
// too. Orders paid there are captured once, whether its webhook tells of it or only
// a look-up does.
func TestCheckoutComOrders(t *testing.T) {
	t.Parallel()
	addr, gate := address(t), address(t)
	start(t, map[string]string{"CAPSTAN_TIME_SCALE": "50"}, "dev", "--data", t.TempDir(), "--ephemeral", "--listen", addr, "--admin-listen", address(t), "--sandbox-listen", gate)
	ready(t, addr)
	p := &production{sandbox: gate, apis: []string{addr}}
	s := &shop{api: config.Remote{URL: "http://" + addr, Token: "dev"}, gateway: "http://" + gate, methods: map[string]string{}}
	if err := s.method(t.Context(), checkoutComAccount, onApproval, "checkout_com_payments", map[string]any{"auto_capture": true}); err != nil {
		t.Fatal(err)
	}
	faults := map[string]string{
		"plain": "", "answer lost": "charge_then_drop", "pending": "pending=300ms", "nobody tells": "webhook_drop", "told twice and forged": "webhook_dup=2,webhook_forged",
		"declined once": "decline:1", "a 500 and nobody tells": "charge_then_500,webhook_drop",
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := &sale{
				story: &story{method: onApproval, fault: fault}, gateway: checkoutComAccount, Reference: "CKO-" + strings.ReplaceAll(name, " ", "-"), Total: 1500, HoldCents: 1500,
			}
			if err := errors.Join(s.authorize(t.Context(), o), s.order(t.Context(), o)); err != nil {
				t.Fatal(err)
			}
			if err := s.patchOrder(t.Context(), o, map[string]any{"_approve": true}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the order is paid", func() bool {
				status, err := s.paymentStatus(t.Context(), o)
				return err == nil && status == string(models.Paid)
			})
			booked, violations := p.book(t, o.Hold)
			if len(booked) != 1 || booked[0].Amount != 1500 || violations != 0 {
				t.Fatalf("the gateway's book has %v and %d violations, not one capture of 1500", booked, violations)
			}
		})
	}
}
