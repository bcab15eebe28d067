package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/models"
)

// TestPayPalOrders: in `capstan dev` the sandbox stands for PayPal, too. Orders
// paid there are captured once, whatever happens to the answer, and a pending
// capture is told to be complete by a webhook that PayPal's certificate signs.
func TestPayPalOrders(t *testing.T) {
	t.Parallel()
	addr, gate := address(t), address(t)
	start(t, map[string]string{"CAPSTAN_TIME_SCALE": "20"}, "dev", "--data", t.TempDir(), "--ephemeral", "--listen", addr, "--admin-listen", address(t), "--sandbox-listen", gate)
	ready(t, addr)
	p := &production{sandbox: gate, apis: []string{addr}}
	s := &shop{api: config.Remote{URL: "http://" + addr, Token: "dev"}, gateway: "http://" + gate, methods: map[string]string{}}
	if err := s.method(t.Context(), paypalAccount, onApproval, "paypal_payments", map[string]any{"auto_capture": true}); err != nil {
		t.Fatal(err)
	}
	for name, fault := range map[string]string{"plain": "", "answer lost": "charge_then_drop", "pending": "pending=300ms"} {
		t.Run(name, func(t *testing.T) {
			o := &sale{
				story: &story{method: onApproval, fault: fault}, gateway: paypalAccount, Reference: "PP-" + strings.ReplaceAll(name, " ", "-"), Total: 1500, HoldCents: 1500,
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
	t.Run("external", func(t *testing.T) { p.externallyPaid(t, s) })
}
