package models_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/capstan-pay/capstan/models"
)

var sources = []models.Source{models.FromAnswer, models.FromLookUp, models.FromWebhook, models.FromOperator}

var classes = []models.Class{"", models.ClassThrottled, models.ClassConfig, models.ClassBadRequest, models.ClassInProgress}

// situation is one combination of everything Judge looks at.
type situation struct {
	o  models.Operation
	ev models.Evidence
	f  models.Facts
}

func (s *situation) String() string {
	return fmt.Sprintf("%s %s tries %d replayed %v flag %q | %s %s %q %d %s foreign %v | fenced %v may send %v closing %v hold ended %v conclusive %v replays %v credentials %v",
		s.o.Kind, s.o.State, s.o.Tries, s.o.Replayed, s.o.NeedsAttention, s.ev.Source, s.ev.Outcome, s.ev.Class, s.ev.AmountCents, s.ev.CurrencyCode, s.ev.Foreign,
		s.f.Fenced, s.f.MaySend, s.f.Closing, s.f.HoldEnded, s.f.NoneConclusive, s.f.ReplaysErrors, s.f.CredentialsWork)
}

// switches is how many independent yes-or-no questions a situation has; the last
// of them, money, are about what the gateway says it moved.
const (
	switches = 13
	money    = 3
)

// begin is the situation with every question answered no.
func begin(kind models.Kind, state models.State, outcome models.Outcome, source models.Source, class models.Class) *situation {
	s := &situation{
		o:  models.Operation{Kind: kind, State: state, AmountCents: 1500, CurrencyCode: "EUR"},
		ev: models.Evidence{Source: source, Outcome: outcome, Class: class, GatewayTransactionID: "tx_1"},
		f:  models.Facts{Now: noon, HoldLeftConfirmed: 1500},
	}
	if state == models.Succeeded || state == models.Reset || state == models.Reversed {
		s.o.ConfirmedCents, s.o.GatewayTransactionID = ptr(int64(1500)), "tx_1"
	}
	return s
}

// answer answers the questions with the bits of n, in place: there are tens of
// millions of situations.
func (s *situation) answer(n int) {
	on := func(bit int) bool { return n>>bit&1 == 1 }
	s.o.Replayed, s.f.CredentialsWork = on(0), on(1)
	s.f.Fenced, s.f.MaySend, s.f.Closing, s.f.HoldEnded = on(2), on(3), on(4), on(5)
	s.f.NoneConclusive, s.f.ReplaysErrors = on(6), on(7)
	s.o.Tries, s.o.NeedsAttention, s.ev.AmountCents, s.ev.CurrencyCode = 0, "", 1500, "EUR"
	if on(8) {
		s.o.Tries = models.MaxTries
	}
	if on(9) {
		s.o.NeedsAttention = models.FlagUnknown
	}
	s.ev.Foreign = on(10)
	if on(11) {
		s.ev.AmountCents = 1400
	}
	if on(12) {
		s.ev.CurrencyCode = "USD"
	}
}

// TestEverySituation judges every combination and holds each decision against
// the rules below. What the gateway says about money is varied where it confirms;
// TestOnlyAConfirmationSpeaksOfMoney shows that it does not matter elsewhere.
func TestEverySituation(t *testing.T) {
	for _, kind := range models.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			faults, d := 0, new(models.Decision)
			for _, state := range models.States {
				for _, outcome := range models.Outcomes {
					for _, source := range sources {
						for _, class := range classes {
							s := begin(kind, state, outcome, source, class)
							for n := range questions(outcome) {
								s.answer(n)
								*d = models.Judge(s.o, s.ev, s.f)
								if broken := s.breaks(d); broken != "" && faults < 20 {
									faults++
									t.Errorf("%s\n%v\n%+v", broken, s, *d)
								}
							}
						}
					}
				}
			}
		})
	}
}

func questions(outcome models.Outcome) int {
	if outcome == models.OutcomeConfirmed {
		return 1 << switches
	}
	return 1 << (switches - money)
}

func TestOnlyAConfirmationSpeaksOfMoney(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		outcome := rapid.SampledFrom(models.Outcomes).Filter(func(o models.Outcome) bool { return o != models.OutcomeConfirmed }).Draw(t, "outcome")
		s := begin(rapid.SampledFrom(models.Kinds).Draw(t, "kind"), rapid.SampledFrom(models.States).Draw(t, "state"), outcome,
			rapid.SampledFrom(sources).Draw(t, "source"), rapid.SampledFrom(classes).Draw(t, "class"))
		s.answer(rapid.IntRange(0, 1<<(switches-money)-1).Draw(t, "answers"))
		want := models.Judge(s.o, s.ev, s.f)
		s.ev.AmountCents, s.ev.CurrencyCode = rapid.Int64().Draw(t, "amount"), rapid.String().Draw(t, "currency")
		s.ev.Foreign, s.ev.GatewayTransactionID = rapid.Bool().Draw(t, "foreign"), rapid.String().Draw(t, "transaction")
		if diff := cmp.Diff(want, models.Judge(s.o, s.ev, s.f)); diff != "" {
			t.Fatalf("%v: the decision changed with the money (-before +after):\n%s", s, diff)
		}
	})
}

// breaks names the rule that a decision breaks, or is empty.
func (s *situation) breaks(d *models.Decision) string {
	for _, rule := range rules {
		if broken := rule(s, d); broken != "" {
			return broken
		}
	}
	return ""
}

var rules = []func(*situation, *models.Decision) string{
	(*situation).legal, (*situation).sends, (*situation).succeeds, (*situation).fails, (*situation).unproven, (*situation).outside,
	(*situation).keys, (*situation).flags,
}

// absent: a conclusive "there is no such operation", or a final decline found there.
func (s *situation) absent() bool {
	if !s.f.Fenced || s.o.State != models.Capturing {
		return false
	}
	if s.ev.Outcome == models.OutcomeDeclined {
		return s.ev.Source == models.FromLookUp
	}
	return s.ev.Outcome == models.OutcomeNone && s.ev.Source != models.FromAnswer && s.f.NoneConclusive
}

func (s *situation) needsHold() bool { return s.o.Kind != models.Refund }

func (s *situation) legal(d *models.Decision) string {
	if d.Verdict == "" || d.Rule == "" {
		return "a decision without a verdict or a rule explains nothing"
	}
	if d.Event == "" {
		if d.Then != "" {
			return "a second event without a first"
		}
		return ""
	}
	if s.f.Fenced && s.o.State != models.Capturing {
		return "a claim moved a row that it cannot hold"
	}
	to, err := s.o.State.Next(s.o.Kind, d.Event)
	if err != nil {
		return err.Error()
	}
	if d.Then != "" {
		if _, err := to.Next(s.o.Kind, d.Then); err != nil {
			return err.Error()
		}
	}
	if (to == models.Unknown || to == models.Submitted) && !d.Event.Annotates() && d.Wait <= 0 {
		return "a look without a pause is a loop"
	}
	return ""
}

func (s *situation) sends(d *models.Decision) string {
	switch {
	case !d.Send:
		return ""
	case d.Event != "" || d.RotateKey:
		return "sends and moves at once"
	case !s.absent():
		return "sends without a conclusive none"
	case !s.f.MaySend:
		return "sends though something stands against it"
	case s.o.Kind == models.Capture && s.f.Closing:
		return "captures for a cancelled order"
	case s.needsHold() && s.f.HoldEnded:
		return "sends on a hold that has ended"
	case s.o.Tries >= models.MaxTries:
		return "sends too often"
	case s.o.NeedsAttention != "":
		return "sends what waits for a person"
	case s.f.ReplaysErrors && s.o.Replayed:
		return "sends under a key that only repeats its error"
	}
	return ""
}

func (s *situation) succeeds(d *models.Decision) string {
	booked := d.Event == models.Confirmed
	switch {
	case !booked:
		return ""
	case s.ev.Outcome != models.OutcomeConfirmed:
		return "succeeds without proof"
	case s.ev.CurrencyCode != s.o.CurrencyCode:
		return "books another currency"
	case s.ev.Foreign:
		return "books somebody else's operation"
	case s.ev.AmountCents != s.o.AmountCents && d.Flag == "":
		return "books another amount without calling a person"
	case s.o.State == models.Pending || s.o.State == models.Succeeded || s.o.State == models.Reset:
		return "books from " + string(s.o.State)
	}
	return ""
}

func (s *situation) fails(d *models.Decision) string {
	if d.Event != models.Refused {
		return ""
	}
	ended := s.needsHold() && s.f.HoldEnded
	switch {
	case s.ev.Outcome == models.OutcomeRefused:
		return ""
	case s.absent() && ended:
		return ""
	case s.f.Fenced && s.ev.Outcome == models.OutcomeDeclined && s.ev.Source != models.FromLookUp && (ended || s.o.Tries == models.MaxTries):
		return ""
	}
	return "fails without a final word"
}

// unproven: what proves nothing ends nothing, and only proof of no effect goes
// back to pending.
func (s *situation) unproven(d *models.Decision) string {
	if s.ev.Outcome == models.OutcomeLost && d.Event != "" && d.Event != models.Lost && d.Event != models.Hinted {
		return "a lost answer is neither a failure nor a success"
	}
	if d.Then == models.Withdrawn && (!s.absent() || !s.f.Closing || s.o.Kind != models.Capture) {
		return "withdraws what may have taken effect"
	}
	if d.Event != models.NotSent || s.absent() {
		return ""
	}
	own := s.f.Fenced && s.ev.Source != models.FromLookUp
	if own && (s.ev.Outcome == models.OutcomeNotSent || s.ev.Outcome == models.OutcomeDeclined) {
		return ""
	}
	return "back to pending without proof of no effect"
}

func (s *situation) outside(d *models.Decision) string {
	if s.f.Fenced {
		return ""
	}
	if d.Send || d.RotateKey || d.CountTry || d.CountLook || d.CountUnsent || d.Then != "" {
		return "evidence from outside a claim acts as if it had one"
	}
	if d.Event == "" || d.Event.Annotates() || d.Event == models.Confirmed {
		return "" // what confirms was checked above
	}
	if d.Event == models.Refused && (s.o.State == models.Submitted || s.o.State == models.Unknown) {
		return ""
	}
	if d.Event == models.TakenBack && s.o.Kind == models.Refund && s.o.State == models.Succeeded && s.ev.Source == models.FromWebhook && s.ev.Outcome == models.OutcomeRefused {
		return "" // the gateway's signed word that the refund failed after all
	}
	return "evidence from outside a claim moves without proof"
}

func (s *situation) keys(d *models.Decision) string {
	if d.RotateKey && (!s.absent() || !s.f.ReplaysErrors || !s.o.Replayed || d.Event != models.NotSent || d.Replayed) {
		return "a new key without proof that the old one had no effect"
	}
	return ""
}

func (s *situation) flags(d *models.Decision) string {
	settled := d.Event == models.Confirmed || d.Event == models.Refused || s.absent() && d.Event == models.NotSent
	mismatch := s.ev.Outcome == models.OutcomeConfirmed && s.o.State != models.Pending &&
		(s.ev.AmountCents != s.o.AmountCents || s.ev.CurrencyCode != s.o.CurrencyCode)
	told := d.Flag != "" || s.f.Fenced && s.o.State != models.Capturing
	switch {
	case d.Flag != "" && d.ClearFlag:
		return "raises and clears a flag at once"
	case d.ClearFlag && !settled:
		return "clears a flag without proof"
	case d.Flag != "" && d.Event == "":
		return "a flag that no step carries"
	case mismatch && !told:
		return "another amount or currency, and nobody is called"
	}
	return ""
}

// A row that is judged again by the same evidence is left alone.
func TestEvidenceTwiceIsOnce(t *testing.T) {
	for _, kind := range models.Kinds {
		for _, state := range models.States {
			for _, source := range sources {
				for n := range 1 << switches {
					s := begin(kind, state, models.OutcomeConfirmed, source, "")
					s.answer(n)
					s.f.Fenced = false
					d := models.Judge(s.o, s.ev, s.f)
					if d.Event == "" || d.Event == models.Hinted {
						continue
					}
					after, err := state.Next(kind, d.Event)
					if err != nil {
						t.Fatal(err)
					}
					s.o.State = after
					if d.Event == models.Confirmed {
						s.o.ConfirmedCents, s.o.GatewayTransactionID = &s.ev.AmountCents, s.ev.GatewayTransactionID
					}
					if d.Flag != "" {
						s.o.NeedsAttention = d.Flag
					}
					if again := models.Judge(s.o, s.ev, s.f); again.Event != "" {
						t.Fatalf("told twice, moved twice: %v\nfirst %+v\nagain %+v", s, d, again)
					}
				}
			}
		}
	}
}

// The schedules reach Judge's answers.
func TestWaits(t *testing.T) {
	capture := models.Operation{Kind: models.Capture, State: models.Capturing, AmountCents: 1500, CurrencyCode: "EUR"}
	claim := models.Facts{Now: noon, Fenced: true, MaySend: true, NoneSettlesIn: 40 * time.Second}
	for name, c := range map[string]struct {
		change func(*models.Operation)
		ev     models.Evidence
		want   time.Duration
	}{
		"first lost answer":        {nil, models.Evidence{Source: models.FromAnswer}, 30 * time.Second},
		"third look without proof": {func(o *models.Operation) { o.LookUps = 2 }, models.Evidence{Source: models.FromLookUp}, 2 * time.Minute},
		"none settles later":       {nil, models.Evidence{Source: models.FromLookUp, Outcome: models.OutcomeNone}, 40 * time.Second},
		"first decline":            {nil, models.Evidence{Source: models.FromAnswer, Outcome: models.OutcomeDeclined}, time.Minute},
		"a decline that asks for more": {
			nil, models.Evidence{Source: models.FromAnswer, Outcome: models.OutcomeDeclined, RetryAfter: time.Hour}, time.Hour,
		},
		"first call that did not leave": {nil, models.Evidence{Source: models.FromAnswer, Outcome: models.OutcomeNotSent}, time.Second},
		"throttled": {
			nil, models.Evidence{Source: models.FromAnswer, Outcome: models.OutcomeNotSent, Class: models.ClassThrottled, RetryAfter: 7 * time.Second}, 7 * time.Second,
		},
		"tenth call that did not leave": {
			func(o *models.Operation) { o.Unsent = 10 }, models.Evidence{Source: models.FromAnswer, Outcome: models.OutcomeNotSent}, time.Minute,
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := capture
			if c.change != nil {
				c.change(&o)
			}
			if d := models.Judge(o, c.ev, claim); d.Wait != c.want {
				t.Errorf("waits %s, want %s", d.Wait, c.want)
			}
		})
	}
}
