package models_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// situation is one combination of everything Judge looks at.
type situation struct {
	o    models.Operation
	ev   models.Evidence
	f    models.Facts
	pick [questions]int
}

// question is one thing that Judge may ask. Its answers are representatives:
// one on each side of everything that is compared.
type question struct {
	name    string
	answers []string
	set     func(s *situation, i int)
}

// What Judge may ask. The order is that of the answers' effects: the state first.
const (
	qKind = iota
	qState
	qSource
	qOutcome
	qClass
	qFenced
	qAmount
	qCurrency
	qForeign
	qTransaction
	qCause
	qRefunded
	qHoldLeft
	qMaySend
	qClosing
	qGone
	qHoldEnded
	qHoldOver
	qConclusive
	qReplays
	qReplayed
	qCredentials
	qTries
	qFlag
	qAge
	qNotBefore
	qAnswered
	qTook
	drawn // what follows is answered the usual way unless a scene says otherwise
)

const (
	qRepeats = iota + drawn
	qKeyProtects
	qByHand
	qAccepted
	qManual
	questions
)

var classes = []models.Class{"", models.ClassThrottled, models.ClassConfig, models.ClassBadRequest, models.ClassInProgress}

// tries are none, as many as there are declines, one too few, and too many.
var tries = []int{0, 8, models.MaxTries - 1, models.MaxTries}

var asked = [questions]question{
	qKind: {"kind", texts(models.Kinds), func(s *situation, i int) { s.o.Kind = models.Kinds[i] }},
	qState: {"state", texts(models.States), func(s *situation, i int) {
		s.o.State = models.States[i]
		if s.o.State == models.Succeeded || s.o.State == models.Reset || s.o.State == models.Reversed {
			s.o.ConfirmedCents, s.o.GatewayTransactionID = ptr(int64(1500)), "tx_1"
		}
	}},
	qSource:  {"source", texts(models.Sources), func(s *situation, i int) { s.ev.Source = models.Sources[i] }},
	qOutcome: {"outcome", words(models.Outcomes), func(s *situation, i int) { s.ev.Outcome = models.Outcomes[i] }},
	qClass:   {"class", []string{"none", "throttled", "config", "bad request", "in progress"}, func(s *situation, i int) { s.ev.Class = classes[i] }},
	qFenced:  {"claim", []string{"from outside a claim", "inside a claim"}, func(s *situation, i int) { s.f.Fenced = i == 1 }},
	qAmount: {"amount", []string{"the same amount", "less", "more", "no amount", "a negative amount"}, func(s *situation, i int) {
		s.ev.AmountCents = []int64{1500, 1400, 1600, 0, -1500}[i]
	}},
	qCurrency: {"currency", []string{"the same currency", "another currency", "no currency"}, func(s *situation, i int) {
		s.ev.CurrencyCode = []string{"EUR", "USD", ""}[i]
	}},
	qForeign: {"reference", []string{"our reference", "another reference"}, func(s *situation, i int) { s.ev.Foreign = i == 1 }},
	qTransaction: {"transaction", []string{"the same transaction", "another transaction", "no transaction named", "none recorded here"}, func(s *situation, i int) {
		s.ev.GatewayTransactionID = []string{"tx_1", "tx_2", "", "tx_1"}[i]
		if i == 3 {
			s.o.GatewayTransactionID = ""
		}
	}},
	qCause: {"cause", []string{"not adopted", "adopted from a list"}, func(s *situation, i int) {
		s.o.Cause = []models.Cause{models.CauseApproval, models.CauseAdopted}[i]
	}},
	qRefunded: {"refunded", []string{"nothing refunded", "a part refunded", "refunds under way for all"}, func(s *situation, i int) {
		s.o.RefundRequestedCents, s.o.RefundedCents = []int64{0, 1000, 1550}[i], []int64{0, 1000, 0}[i]
	}},
	qHoldLeft: {"hold", []string{"the hold covers it", "more than the hold has left"}, func(s *situation, i int) {
		s.f.HoldLeftConfirmed = []int64{5000, 1000}[i]
	}},
	qMaySend:     yesNo("may send", "something stands against sending", "nothing stands against sending", func(s *situation) *bool { return &s.f.MaySend }),
	qClosing:     yesNo("closing", "the order stands", "the order is cancelled, or about to be", func(s *situation) *bool { return &s.f.Closing }),
	qGone:        yesNo("its capture", "its capture stands, if it is a refund", "its capture has gone back already", func(s *situation) *bool { return &s.f.CaptureGone }),
	qHoldEnded:   yesNo("hold ended", "the hold lives", "the hold has ended", func(s *situation) *bool { return &s.f.HoldEnded }),
	qHoldOver:    yesNo("hold over", "within the hold's usual life", "past the hold's usual life", func(s *situation) *bool { return &s.f.HoldOver }),
	qConclusive:  yesNo("conclusive", "a call may still land", "no call can land any more", func(s *situation) *bool { return &s.f.NoneConclusive }),
	qReplays:     yesNo("replays", "errors are not repeated", "the gateway repeats errors under a key", func(s *situation) *bool { return &s.f.ReplaysErrors }),
	qReplayed:    yesNo("replayed", "the key is clean", "the key was answered with an error", func(s *situation) *bool { return &s.o.Replayed }),
	qCredentials: yesNo("credentials", "a probe fails, or was not needed", "a probe of the credentials works", func(s *situation) *bool { return &s.f.CredentialsWork }),
	qTries:       {"tries", []string{"declines left", "every decline used", "one try left", "no try left"}, func(s *situation, i int) { s.o.Tries = tries[i] }},
	qFlag: {"flag", []string{"not flagged", "flagged `unknown_too_long`", "flagged `unresolved`", "flagged for something else"}, func(s *situation, i int) {
		s.o.NeedsAttention = []string{"", models.FlagUnknown, models.FlagUnresolved, models.FlagBadRequest}[i]
	}},
	qAge: {"age", []string{"known until now", "unknown for less than 15 minutes", "unknown for 15 minutes", "unknown for 30 days", "submitted for 30 days"}, func(s *situation, i int) {
		s.o.UnknownSince, s.o.LastSentAt, s.o.LookUps = nil, ptr(noon.Add(-time.Second)), 0
		switch i {
		case 1, 2, 3:
			s.o.UnknownSince = ptr(noon.Add(-[]time.Duration{0, 14 * time.Minute, 15 * time.Minute, 30 * 24 * time.Hour}[i]))
		case 4:
			s.o.LookUps, s.o.LastSentAt = 9, ptr(noon.Add(-30*24*time.Hour))
		}
	}},
	qNotBefore: {"time", []string{"its time has come", "its own time is later"}, func(s *situation, i int) { s.o.NotBefore = noon.Add(time.Duration(i) * time.Hour) }},
	qTook: {"took", []string{"it is not told what it took", "it took what was asked"}, func(s *situation, i int) {
		if s.ev.TookCents = 0; s.ev.Outcome == models.OutcomeTakenBack {
			s.ev.TookCents = int64(i) * 1500
		}
	}},
	qRepeats:     yesNo("how it is asked", "the gateway is asked by a look-up, or not at all", "the gateway is asked by sending the same again", func(s *situation) *bool { return &s.f.Repeats }),
	qKeyProtects: yesNo("key", "the key is too old to protect", "the key protects", func(s *situation) *bool { return &s.f.KeyProtects }),
	qByHand:      yesNo("by hand", "a program moves the money", "a person moves the money", func(s *situation) *bool { return &s.f.ByHand }),
	qAccepted: {"before", []string{"not accepted before", "accepted before"}, func(s *situation, i int) {
		if i == 1 {
			s.o.GatewayTransactionID = "tx_1"
		}
	}},
	qManual: {"mechanism", []string{"done through its gateway", "done by a person beside it"}, func(s *situation, i int) {
		s.o.Mechanism = []string{"", models.MechanismManual}[i]
	}},
	qAnswered: yesNo("answered", "no answer that is repeated", "an error that may be repeated", func(s *situation) *bool { return &s.ev.Answered }),
}

func yesNo(name, no, yes string, field func(*situation) *bool) question {
	return question{name, []string{no, yes}, func(s *situation, i int) { *field(s) = i == 1 }}
}

func texts[T ~string](values []T) []string {
	var all []string
	for _, v := range values {
		all = append(all, string(v))
	}
	return all
}

func words[T fmt.Stringer](values []T) []string {
	var all []string
	for _, v := range values {
		all = append(all, v.String())
	}
	return all
}

// scene is a set of situations: some answers are given, some questions are
// tried with every answer. What else there is does not matter to Judge, which
// TestWhatDoesNotMatter shows, and is answered one way or the other in turn.
type scene struct {
	given   map[int]int
	matters []int
}

// scenes are all situations there are.
func scenes() []scene {
	capturing := slices.Index(models.States, models.Capturing)
	all := []scene{{given: map[int]int{qFenced: 1}, matters: []int{qState, qOutcome}}} // a claim on what is not being captured
	for i, outcome := range models.Outcomes {
		for j, source := range models.Sources {
			if outcome == models.OutcomeUnasked && source == models.FromLookUp {
				all = append(all, unaskedScenes(map[int]int{qFenced: 1, qState: capturing, qOutcome: i, qSource: j})...)
			} else {
				all = append(all, scene{map[int]int{qFenced: 1, qState: capturing, qOutcome: i, qSource: j}, append([]int{qKind}, insideMatters(outcome, source)...)})
			}
			if source == models.FromAnswer && (outcome == models.OutcomeLost || outcome == models.OutcomeAccepted) {
				// All that an adapter answers that has no look-up and proves nothing.
				all = append(all, scene{
					map[int]int{qFenced: 1, qState: capturing, qOutcome: i, qSource: j, qRepeats: 1},
					union([]int{qKind}, insideMatters(outcome, source), repeatMatters),
				})
			}
			if source == models.FromAnswer && outcome == models.OutcomeRefused {
				all = append(all, scene{map[int]int{qFenced: 1, qState: capturing, qOutcome: i, qSource: j, qRepeats: 1}, []int{qKind, qAge}})
			}
			all = append(all,
				scene{map[int]int{qFenced: 0, qOutcome: i, qSource: j}, append([]int{qKind, qState}, outsideMatters(outcome)...)})
		}
	}
	return all
}

// unaskedScenes are those of a claim whose gateway cannot be asked.
func unaskedScenes(given map[int]int) []scene {
	with := func(q, answer int, matters ...int) scene {
		g := maps.Clone(given)
		g[q] = answer
		return scene{g, append([]int{qKind}, matters...)}
	}
	return []scene{
		with(qByHand, 1, qFlag, qAge),
		with(qByHand, 0, union([]int{qAccepted, qRepeats, qCause, qAge}, repeatMatters)...),
	}
}

// repeatMatters is what matters of sending the same again.
var repeatMatters = []int{qKeyProtects, qMaySend, qClosing, qGone, qHoldEnded, qTries, qNotBefore, qFlag}

func union(lists ...[]int) []int {
	all := slices.Concat(lists...)
	slices.Sort(all)
	return slices.Compact(all)
}

// insideMatters is what matters of an outcome that a claim learns.
func insideMatters(outcome models.Outcome, source models.Source) []int {
	found := source == models.FromLookUp
	switch {
	case outcome == models.OutcomeConfirmed:
		return []int{qAmount, qCurrency, qForeign, qTransaction, qCause, qHoldLeft}
	case outcome == models.OutcomeTakenBack && (found || source == models.FromListing):
		return []int{qAmount, qCurrency, qForeign, qHoldLeft, qCause, qRefunded, qTook}
	case outcome == models.OutcomeRefused:
		return nil
	case outcome == models.OutcomeAccepted:
		return []int{qFlag, qAge, qByHand}
	case outcome == models.OutcomeNotSent:
		return []int{qClass, qCredentials, qFlag, qAge}
	case outcome == models.OutcomeDeclined && found:
		return []int{qMaySend, qClosing, qGone, qHoldEnded, qReplays, qReplayed, qAnswered, qTries, qNotBefore, qFlag, qAge, qCause}
	case outcome == models.OutcomeNone && found:
		return []int{qMaySend, qClosing, qGone, qHoldEnded, qReplays, qReplayed, qTries, qNotBefore, qFlag, qAge, qCause, qConclusive}
	case outcome == models.OutcomeDeclined:
		return []int{qHoldEnded, qTries, qClass, qFlag, qAge}
	}
	return []int{qClass, qTries, qFlag, qAge, qAnswered, qReplayed}
}

// outsideMatters is what matters of an outcome that comes from elsewhere.
func outsideMatters(outcome models.Outcome) []int {
	switch outcome {
	case models.OutcomeConfirmed:
		return []int{qAmount, qCurrency, qForeign, qTransaction, qCause, qRefunded, qHoldLeft}
	case models.OutcomeTakenBack:
		return []int{qAmount, qCurrency, qForeign, qTransaction, qCause, qRefunded, qHoldLeft, qTook}
	case models.OutcomeNone:
		return []int{qConclusive, qCause, qManual}
	case models.OutcomeRefused:
		return []int{qManual, qTransaction}
	}
	return nil
}

// of is the scene for one kind only.
func (sc scene) of(kind int) scene {
	given := maps.Clone(sc.given)
	given[qKind] = kind
	matters := slices.DeleteFunc(slices.Clone(sc.matters), func(q int) bool { return q == qKind })
	return scene{given, matters}
}

// each calls fn with every situation of the scene, in place: there are many.
func (sc scene) each(fn func(*situation)) {
	var s situation
	total := 1
	for _, q := range sc.matters {
		total *= len(asked[q].answers)
	}
	seed := uint32(2463534242)
	for n := range total {
		s.pick = [questions]int{}
		for q := range drawn { // the same ones every time
			seed ^= seed << 13
			seed ^= seed >> 17
			seed ^= seed << 5
			s.pick[q] = int(seed>>8) % len(asked[q].answers)
		}
		for _, q := range sc.matters {
			s.pick[q], n = n%len(asked[q].answers), n/len(asked[q].answers)
		}
		for q, i := range sc.given {
			s.pick[q] = i
		}
		s.answer()
		fn(&s)
	}
}

// answer makes the situation that was picked.
func (s *situation) answer() {
	s.o = models.Operation{AmountCents: 1500, CurrencyCode: "EUR"}
	s.ev, s.f = models.Evidence{}, models.Facts{Now: noon}
	for q := range asked {
		asked[q].set(s, s.pick[q])
	}
}

func (s *situation) String() string {
	var said []string
	for q := range asked {
		said = append(said, asked[q].name+" "+asked[q].answers[s.pick[q]])
	}
	return strings.Join(said, " | ")
}
