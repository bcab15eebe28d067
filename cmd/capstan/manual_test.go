package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/gateway/manual"
)

// wiredByHand: what a person types about a wire transfer, from the report that
// calls them to the refund that they made.
func (p *production) wiredByHand(t *testing.T, s *shop, remote map[string]string) {
	t.Helper()
	if err := s.method(t.Context(), manual.Provider, onApproval, "wire_transfers", map[string]any{"auto_capture": true}); err != nil {
		t.Fatal(err)
	}
	o := &sale{story: &story{method: onApproval}, gateway: manual.Provider, Reference: "WIRE-1", Hold: "INV-1", Total: 1500, HoldCents: 1500}
	if err := s.order(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if err := s.patchOrder(t.Context(), o, map[string]any{"_approve": true}); err != nil {
		t.Fatal(err)
	}
	var out string
	eventually(t, "the report calls a person", func() bool {
		var status int
		out, status = capstan(t, remote, "report")
		return status == exitFailed && strings.Contains(out, "word_needed")
	})
	captures, err := s.captures(t.Context(), o)
	if err != nil || len(captures) != 1 || !strings.Contains(out, "capstan captures assert "+captures[0].ID+" --kind capture") {
		t.Fatalf("%v %v\n%s", captures, err, out)
	}
	id := captures[0].ID
	say := func(want int, args ...string) string {
		t.Helper()
		cmd := program(t.Context(), t, remote, append([]string{"captures"}, args...)...)
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Fatalf("%v: status %d, want %d\n%s", args, got, want, out)
		}
		return string(out)
	}
	var told resource
	if err := json.Unmarshal([]byte(say(exitOK, "assert", id, "--succeeded", "--reason", "seen on the statement", "--by", "Ada", "--json")), &told); err != nil || told.Attributes["asserted_by"] != "api:admin (Ada)" {
		t.Fatalf("%v %v", told, err)
	}
	say(exitOK, "refund", id, "--manual", "--amount", "500", "--reason", "sent back")
	if status, err := s.paymentStatus(t.Context(), o); err != nil || status != "partially_refunded" {
		t.Errorf("the order is %s (%v)", status, err)
	}
	if out, status := capstan(t, remote, "report"); status != exitOK {
		t.Errorf("report: %d\n%s", status, out)
	}
}
