package models_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
)

// TestEverySituation judges every combination of everything that matters and
// holds each decision against the rules below, which are the design's sentences
// and no copy of the code.
func TestEverySituation(t *testing.T) {
	for i, kind := range models.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			faults, seen := 0, 0
			for _, sc := range scenes() {
				d := new(models.Decision)
				sc.of(i).each(func(s *situation) {
					seen++
					*d = models.Judge(s.o, s.ev, s.f)
					if broken := s.breaks(d); broken != "" && faults < 20 {
						faults++
						t.Errorf("%s\n%v\n%+v", broken, s, *d)
					}
				})
			}
			t.Logf("%d situations", seen)
		})
	}
}

// TestWhatDoesNotMatter shows that the questions which a scene leaves out change
// nothing, whatever their answers, but for how long a pause is: so that trying
// the others with every answer tries everything.
func TestWhatDoesNotMatter(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	draw := func(s *situation) {
		for q := range drawn {
			s.pick[q] = random.IntN(len(asked[q].answers))
		}
	}
	for _, sc := range scenes()[1:] { // without the claims that cannot be, which are given their one mistake
		for range 200 {
			var one, other situation
			draw(&one)
			draw(&other)
			for q, i := range sc.given {
				one.pick[q], other.pick[q] = i, i
			}
			for _, q := range sc.matters {
				other.pick[q] = one.pick[q]
			}
			one.answer()
			other.answer()
			if diff := cmp.Diff(one.essence(), other.essence()); diff != "" {
				t.Fatalf("%v\n%v\n(-one +other):\n%s", &one, &other, diff)
			}
		}
	}
}

// essence is a decision without what only sets a pause or remembers, and
// without whether a flag is up already.
func (s *situation) essence() models.Decision {
	d := models.Judge(s.o, s.ev, s.f)
	d.Wait, d.Replayed = 0, false
	if d.Event == models.Flagged {
		d.Event, d.Flag = "", ""
	}
	return d
}

// A row that is judged again by the same evidence is left alone.
func TestEvidenceTwiceIsOnce(t *testing.T) {
	for _, sc := range scenes() {
		if sc.given[qFenced] == 1 {
			continue
		}
		sc.each(func(s *situation) {
			if t.Failed() || s.o.Kind == models.Void { // which is judged like a capture
				return
			}
			d := models.Judge(s.o, s.ev, s.f)
			if d.Event == "" || d.Event == models.Hinted {
				return
			}
			after, err := s.o.State.Next(s.o.Kind, d.Event)
			if err != nil {
				t.Fatal(err)
			}
			if d.Then != "" {
				if after, err = after.Next(s.o.Kind, d.Then); err != nil {
					t.Fatal(err)
				}
			}
			s.o.State = after
			if d.Event == models.Confirmed {
				s.o.ConfirmedCents, s.o.GatewayTransactionID = &s.ev.AmountCents, s.ev.GatewayTransactionID
				if s.ev.Outcome == models.OutcomeTakenBack {
					s.o.ConfirmedCents = &s.ev.TookCents
				}
			}
			if d.Flag != "" {
				s.o.NeedsAttention = d.Flag
			}
			if again := models.Judge(s.o, s.ev, s.f); again.Event != "" {
				t.Errorf("told twice, moved twice: %v\nfirst %+v\nagain %+v", s, d, again)
			}
		})
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

// An answer that lost its fence may be older than what was sent since: a refusal
// in it asks for a look, and fails nothing by itself.
func TestRefusalThatLostItsFence(t *testing.T) {
	refused := models.Evidence{Source: models.FromAnswer, Outcome: models.OutcomeRefused, ErrorCode: "declined"}
	for _, state := range []models.State{models.Pending, models.Unknown, models.Submitted} {
		if d := models.Judge(models.Operation{Kind: models.Capture, State: state, AmountCents: 1500, CurrencyCode: "EUR"}, refused, models.Facts{}); d.Event != models.Hinted {
			t.Errorf("%s: %+v, want a look", state, d)
		}
	}
	if d := models.Judge(models.Operation{Kind: models.Capture, State: models.Capturing, AmountCents: 1500, CurrencyCode: "EUR"}, refused, models.Facts{Fenced: true}); d.Event != models.Refused {
		t.Errorf("under the fence: %+v, want refused", d)
	}
}

// Where a gateway is asked by sending again, a refusal proves something only of
// the first call of all: whoever crashed after a send, or sent after it what did
// not leave, has left nothing in the row but the claim that sent first.
func TestRefusalOfWhatMayHaveBeenSentBefore(t *testing.T) {
	refused := models.Evidence{Source: models.FromAnswer, Outcome: models.OutcomeRefused, ErrorCode: "already_captured"}
	facts := models.Facts{Fenced: true, MaySend: true, Repeats: true, KeyProtects: true}
	o := models.Operation{Kind: models.Capture, State: models.Capturing, AmountCents: 1500, CurrencyCode: "EUR", Version: 2, SentVersion: ptr(int64(2))}
	if d := models.Judge(o, refused, facts); d.Event != models.Refused {
		t.Errorf("the first call was refused: %+v", d)
	}
	o.Version = 4
	if d := models.Judge(o, refused, facts); d.Event != models.Lost || d.Flag != models.FlagNoLookUp {
		t.Errorf("a second call was refused: %+v, want unknown and a person", d)
	}
}

// A webhook may be older than what was tried since: what it says of another
// transaction, or of an earlier key, ends nothing.
func TestRefusalOfAnEarlierTry(t *testing.T) {
	old := models.Evidence{Source: models.FromWebhook, Outcome: models.OutcomeRefused, GatewayTransactionID: "re_1"}
	confirmed := int64(500)
	o := models.Operation{Kind: models.Refund, State: models.Succeeded, AmountCents: 500, ConfirmedCents: &confirmed, CurrencyCode: "EUR", GatewayTransactionID: "re_2"}
	if d := models.Judge(o, old, models.Facts{}); d.Event != "" {
		t.Errorf("the refund that stands is another: %+v", d)
	}
	for _, state := range []models.State{models.Unknown, models.Submitted} {
		o := models.Operation{Kind: models.Refund, State: state, AmountCents: 500, CurrencyCode: "EUR", GatewayTransactionID: "re_2"}
		if d := models.Judge(o, old, models.Facts{}); d.Event != models.Hinted {
			t.Errorf("%s under another id: %+v, want a look", state, d)
		}
		o.GatewayTransactionID, o.KeyEpoch = "", 1
		if d := models.Judge(o, old, models.Facts{}); d.Event != models.Hinted {
			t.Errorf("%s under a second key: %+v, want a look", state, d)
		}
	}
}
