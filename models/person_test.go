package models_test

import (
	"slices"
	"testing"

	"github.com/capstan-pay/capstan/models"
)

// What applying a verdict does is something that a person could do by hand with
// the operation as it stands; the ledger checks the guards.
func TestRemedy(t *testing.T) {
	for _, v := range models.Verdicts {
		want := ""
		if v == models.Expiring {
			want = models.ActCapture
		}
		if got := models.Remedy(v, nil); got != want {
			t.Errorf("%s without an operation: %q, want %q", v, got, want)
		}
		for _, kind := range models.Kinds {
			for _, state := range models.States {
				for _, flag := range []string{"", models.FlagAmount} {
					o := models.Operation{Kind: kind, State: state, NeedsAttention: flag}
					checkRemedy(t, v, o, models.Remedy(v, &o))
				}
			}
		}
	}
}

func checkRemedy(t *testing.T, v models.Verdict, o models.Operation, got string) {
	t.Helper()
	fail := func(why string) {
		t.Helper()
		t.Errorf("%s on a %s %s, flag %q: %q: %s", v, o.State, o.Kind, o.NeedsAttention, got, why)
	}
	looks := slices.Contains([]models.Verdict{models.Republish, models.Retry, models.Wait, models.NeedsAttention, models.Expiring, models.Cancel}, v)
	switch {
	case got == models.ActRetry && !o.State.Live():
		fail("nothing open is there to look at")
	case got == models.ActAcknowledge && o.NeedsAttention == "":
		fail("nothing is flagged")
	case got == models.ActCancel && (v != models.Cancel || o.Kind != models.Capture || o.State.Live()):
		fail("only a capture that has ended is cancelled")
	case got == models.ActForward != (v == models.Forward):
		fail("forward is applied by a forward")
	case v == models.InSync && got != "":
		fail("nothing is wrong")
	case looks && o.State.Live() && got != models.ActRetry:
		fail("what is open is looked at")
	case got == "" && o.NeedsAttention != "" && v != models.InSync:
		fail("a flag stands and nothing can be applied")
	}
}
