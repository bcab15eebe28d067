package models_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
)

// edges is the transition table as the design words it, written out by hand and
// not made from the code. Each line: from, event, to.
const edges = `
	              created    pending
	pending       claimed    capturing
	pending       withdrawn  cancelled
	pending       refused    failed
	capturing     claimed    capturing
	capturing     confirmed  succeeded
	capturing     refused    failed
	capturing     accepted   submitted
	capturing     lost       unknown
	capturing     not_sent   pending
	submitted     claimed    capturing
	submitted     confirmed  succeeded
	submitted     refused    failed
	unknown       claimed    capturing
	unknown       confirmed  succeeded
	unknown       refused    failed
	succeeded     taken_back reversed
	succeeded     returned   reset
	failed        confirmed  succeeded
	reversed      confirmed  succeeded
	cancelled     confirmed  succeeded
`

var moving = []models.Event{
	models.Created, models.Claimed, models.Confirmed, models.Refused, models.Accepted, models.Lost, models.NotSent,
	models.Withdrawn, models.TakenBack, models.Returned,
}

var annotating = []models.Event{models.Flagged, models.Unflagged, models.Hinted, models.Lowered}

type step struct {
	from  models.State
	event models.Event
}

// reference reads the table above.
func reference(t *testing.T) map[step]models.State {
	t.Helper()
	table := map[step]models.State{}
	for _, words := range lines(edges) {
		switch len(words) {
		case 2:
			table[step{"", models.Event(words[0])}] = models.State(words[1])
		case 3:
			table[step{models.State(words[0]), models.Event(words[1])}] = models.State(words[2])
		default:
			t.Fatalf("cannot read %v", words)
		}
	}
	return table
}

func TestEveryMove(t *testing.T) {
	table := reference(t)
	from := append([]models.State{"", "no such state"}, models.States...)
	events := slices.Concat(moving, annotating, []models.Event{"", "no such event"})
	for _, kind := range models.Kinds {
		for _, s := range from {
			for _, e := range events {
				got, err := s.Next(kind, e)
				want, legal := table[step{s, e}]
				if slices.Contains(annotating, e) && s != "" {
					want, legal = s, true
				}
				if want == models.Reset && e == models.Returned && kind != models.Capture {
					legal = false // only captures are reset
				}
				switch {
				case legal && (err != nil || got != want):
					t.Errorf("%s: %q + %s = %q, %v; want %q", kind, s, e, got, err, want)
				case !legal && !errors.Is(err, models.ErrTransition):
					t.Errorf("%s: %q + %s = %q, %v; want a refusal", kind, s, e, got, err)
				case !legal && got != s:
					t.Errorf("%s: the refused %q + %s moved to %q", kind, s, e, got)
				}
			}
		}
	}
}

func TestEdgesAreTheTable(t *testing.T) {
	want := map[[2]models.State]bool{}
	for s, to := range reference(t) {
		if s.from != "" {
			want[[2]models.State{s.from, to}] = true
		}
	}
	if diff := cmp.Diff(want, models.Edges()); diff != "" {
		t.Errorf("edges (-want +got):\n%s", diff)
	}
}

// Moves lists what the table allows, each step once.
func TestMovesAreTheTable(t *testing.T) {
	for _, kind := range models.Kinds {
		want := map[models.Step]int{}
		for s, to := range reference(t) {
			if s.from != "" && (to != models.Reset || kind == models.Capture) {
				want[models.Step{Event: s.event, To: to}] = 1
			}
		}
		for _, e := range annotating {
			for _, s := range models.States {
				if s != models.Reset || kind == models.Capture {
					want[models.Step{Event: e, To: s}] = 1
				}
			}
		}
		got := map[models.Step]int{}
		for _, s := range models.Moves(kind) {
			got[s]++
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("moves of a %s (-want +got):\n%s", kind, diff)
		}
	}
}

func TestLive(t *testing.T) {
	live := []models.State{models.Pending, models.Capturing, models.Submitted, models.Unknown}
	for _, s := range models.States {
		if got := s.Live(); got != slices.Contains(live, s) {
			t.Errorf("%s live = %v", s, got)
		}
	}
	if models.State("").Live() {
		t.Error("what does not exist is no open work")
	}
}

// A state that is not live has only the ways out that proof opens.
func TestEndsAreEnds(t *testing.T) {
	for s, to := range reference(t) {
		if s.from == "" || s.from.Live() || to == models.Succeeded && s.event == models.Confirmed {
			continue
		}
		if s.from != models.Succeeded {
			t.Errorf("%s + %s leaves an end for %s", s.from, s.event, to)
		}
	}
	for _, e := range moving {
		if to, err := models.Reset.Next(models.Capture, e); err == nil {
			t.Errorf("reset + %s = %s; money that was given back stays given back", e, to)
		}
	}
}

func TestAnnotates(t *testing.T) {
	for _, e := range moving {
		if e.Annotates() {
			t.Errorf("%s moves", e)
		}
	}
	for _, e := range annotating {
		if !e.Annotates() {
			t.Errorf("%s annotates", e)
		}
	}
}
