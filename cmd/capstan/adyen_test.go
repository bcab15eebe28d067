package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/models"
)

// TestAdyenOrders: in `capstan dev` the sandbox stands for Adyen, too, which
// accepts everything and tells later. Orders paid there are captured once,
// whatever happens to the answer or to the webhook's first tries, and an order
// whose capture fails days later is not paid any more.
func TestAdyenOrders(t *testing.T) {
	t.Parallel()
	addr, gate := address(t), address(t)
	start(t, map[string]string{"CAPSTAN_TIME_SCALE": "20"}, "dev", "--data", t.TempDir(), "--ephemeral", "--listen", addr, "--admin-listen", address(t), "--sandbox-listen", gate)
	ready(t, addr)
	p := &production{sandbox: gate, apis: []string{addr}}
	s := &shop{api: config.Remote{URL: "http://" + addr, Token: "dev"}, gateway: "http://" + gate, methods: map[string]string{}}
	if err := s.method(t.Context(), adyenAccount, onApproval, "adyen_payments", map[string]any{"auto_capture": true}); err != nil {
		t.Fatal(err)
	}
	buy := func(t *testing.T, name, fault string) *sale {
		t.Helper()
		o := &sale{
			story: &story{method: onApproval, fault: fault}, gateway: adyenAccount, Reference: "AD-" + strings.ReplaceAll(name, " ", "-"), Total: 1500, HoldCents: 1500,
		}
		if err := errors.Join(s.authorize(t.Context(), o), s.order(t.Context(), o), s.patchOrder(t.Context(), o, map[string]any{"_approve": true})); err != nil {
			t.Fatal(err)
		}
		return o
	}
	for name, fault := range map[string]string{
		"plain": "", "answer lost": "charge_then_drop", "call lost": "drop_before", "told first": "webhook_before_answer", "told in vain at first": "webhook_forged,webhook_dup=2",
	} {
		t.Run(name, func(t *testing.T) {
			o := buy(t, name, fault)
			eventually(t, "the order is paid", func() bool {
				got, err := s.paymentStatus(t.Context(), o)
				return err == nil && got == string(models.Paid)
			})
			booked, violations := p.book(t, o.Hold)
			if len(booked) != 1 || booked[0].Amount != 1500 || violations != 0 {
				t.Fatalf("the gateway's book has %v and %d violations, not one capture of 1500", booked, violations)
			}
			if name == "plain" {
				takeBack(t, gate, o)
				s.reaches(t, o, models.Reversed)
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		s.reaches(t, buy(t, "refused", "decline"), models.Failed)
		s.reaches(t, buy(t, "refused first", "decline,webhook_before_answer"), models.Failed)
	})
	t.Run("taken back before it was told", func(t *testing.T) {
		o := buy(t, "taken back", "pending=500ms")
		eventually(t, "the gateway to book the capture", func() bool {
			booked, _ := p.book(t, o.Hold)
			return len(booked) == 1
		})
		takeBack(t, gate, o)
		s.reaches(t, o, models.Reversed)
	})
}

// reaches waits for the order's one capture to reach a state, which leaves the
// order unpaid.
func (s *shop) reaches(t *testing.T, o *sale, want models.State) {
	t.Helper()
	eventually(t, "the capture to be "+string(want), func() bool {
		captures, err := s.captures(t.Context(), o)
		return err == nil && len(captures) == 1 && captures[0].Attributes["state"] == string(want)
	})
	if got, err := s.paymentStatus(t.Context(), o); err != nil || got == string(models.Paid) {
		t.Errorf("the order is %s, %v", got, err)
	}
}

// takeBack has a capture fail that had succeeded.
func takeBack(t *testing.T, gate string, o *sale) {
	t.Helper()
	res, err := http.Post("http://"+gate+"/_sandbox/dashboard", "application/json", strings.NewReader(fmt.Sprintf(`{"action":"capture_failed","hold":%q}`, o.Hold)))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); res.StatusCode != 200 {
		t.Fatalf("status %d: %s", res.StatusCode, body)
	}
}
