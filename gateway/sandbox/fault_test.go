package sandbox

import (
	"strings"
	"testing"
)

func TestParsePlan(t *testing.T) {
	for text, want := range map[string]string{
		"ok":                             "",
		"charge_then_drop":               "",
		"charge_then_drop:3":             "",
		"charge_then_drop:*":             "",
		"refund.charge_then_drop":        "",
		"void.charge_then_drop":          "",
		"any.drop_before:2":              "",
		"429=7:2":                        "",
		"book_after=1m30s":               "",
		"ok:2, charge_then_rst ,decline": "",
		"webhook_delay=5s,webhook_dup=3": "",
		"wrong_amount=7":                 "",
		"":                               "no fault",
		"charge_then_dorp":               "no fault",
		"charge_then_drop:0":             "no number of times",
		"charge_then_drop:-1":            "no number of times",
		"charge_then_drop:many":          "no number of times",
		"charge_then_drop=3":             "takes no value",
		"book_after":                     "needs a value",
		"book_after=soon":                "no duration",
		"book_after=-1s":                 "no duration",
		"webhook_dup=x":                  "no number",
		"refund.decline":                 "does not fit",
		"tea.charge_then_drop":           "does not fit",
		"capture.lookup_404":             "does not fit",
		"ok,,ok":                         "no fault",
	} {
		p, err := parsePlan(text)
		switch {
		case want == "" && (err != nil || len(p) == 0):
			t.Errorf("%q: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: got %v, want an error with %q", text, err, want)
		}
	}
}

func TestPlansAreUsedUp(t *testing.T) {
	for _, tt := range []struct{ plan, calls, want string }{
		{"charge_then_drop", "capture capture", "charge_then_drop -"},
		{"charge_then_drop:2", "capture capture capture", "charge_then_drop charge_then_drop -"},
		{"drop_before,charge_then_rst", "capture capture capture", "drop_before charge_then_rst -"},
		{"ok:2,decline", "capture capture capture capture", "- - decline decline"},
		{"refund.charge_then_drop", "capture refund cancel", "- charge_then_drop -"},
		{"decline", "refund cancel capture", "- - decline"},
		{"lookup_500:2,charge_then_drop", "capture look_up look_up look_up", "charge_then_drop lookup_500 lookup_500 -"},
		{"expired", "refund capture cancel", "- expired expired"},
		{"webhook_drop", "capture webhook webhook", "- webhook_drop webhook_drop"},
		{"charge_then_drop:*", "capture refund cancel create", "charge_then_drop charge_then_drop charge_then_drop -"},
	} {
		e := newEngine(1, func(string) {})
		if err := e.setHold("pi_1", tt.plan); err != nil {
			t.Fatal(err)
		}
		var got []string
		for call := range strings.FieldsSeq(tt.calls) {
			mode := e.pick("pi_1", call).mode
			if mode == "" {
				mode = "-"
			}
			got = append(got, mode)
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s met by %s: got %s, want %s", tt.plan, tt.calls, s, tt.want)
		}
	}
}

func TestProbabilityIsSeeded(t *testing.T) {
	pattern := func() (string, int) {
		e := newEngine(42, func(string) {})
		p, err := parsePlan("charge_then_drop:*")
		if err != nil {
			t.Fatal(err)
		}
		e.setRules([]rule{{plan: p, probability: 0.3}})
		out, n := "", 0
		for range 1000 {
			if e.pick("", callCapture).mode != "" {
				out += "x"
				n++
			} else {
				out += "."
			}
		}
		return out, n
	}
	first, n := pattern()
	if again, _ := pattern(); again != first {
		t.Error("the same seed gives another run")
	}
	if n < 230 || n > 370 {
		t.Errorf("%d of 1000 calls were met, want about 300", n)
	}
}

// TestBookingBeyondTheHold: the last check, which no request can reach as long
// as the others work.
func TestBookingBeyondTheHold(t *testing.T) {
	s, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	b := s.book
	b.mu.Lock()
	defer b.mu.Unlock()
	hold := entry{Type: entryHold, Hold: "pi_1", Amount: 100, Currency: "eur", Status: needsCapture, Method: "manual", At: b.now()}
	if err := b.commit(hold); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		amount int64
		ok     bool
	}{{60, true}, {41, false}, {-1, false}, {40, true}, {1, false}} {
		err := b.commit(entry{Type: entryCapture, Hold: "pi_1", Amount: step.amount, Currency: "eur", At: b.now()})
		if (err == nil) != step.ok {
			t.Errorf("booking %d: %v", step.amount, err)
		}
	}
	if len(b.captures) != 2 || len(b.violations) != 3 || b.holds["pi_1"].captured != 100 {
		t.Errorf("captured %d in %d captures, %d violations", b.holds["pi_1"].captured, len(b.captures), len(b.violations))
	}
}

func FuzzParsePlan(f *testing.F) {
	for _, mode := range Modes() {
		f.Add("any." + mode + "=3s:2,ok")
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 500 { // as long as metadata can be
			return
		}
		p, err := parsePlan(s)
		if err != nil {
			return
		}
		for range 3 {
			p.take(callCapture)
			p.take(callWebhook)
		}
		if !strings.ContainsAny(s, "abcdefghijklmnopqrstuvwxyz0123456789") {
			t.Fatalf("%q is a plan", s)
		}
	})
}

// Reading a hold to register it uses up no fault of the look-ups that come later.
func TestRegisteringIsNoLookUp(t *testing.T) {
	e := newEngine(1, func(string) {})
	if err := e.setHold("pi_1", "lookup_500:1"); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		call       string
		withCharge bool
		want       string
	}{{callLookUp, true, ""}, {callLookUp, true, ""}, {callCapture, false, ""}, {callLookUp, true, modeLookUp500}, {callLookUp, true, ""}} {
		if got := e.pick("pi_1", e.callOf("pi_1", c.call, c.withCharge)).mode; got != c.want {
			t.Errorf("call %d, %s: %q, want %q", i, c.call, got, c.want)
		}
	}
}
