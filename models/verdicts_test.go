package models_test

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/models"
)

var update = flag.Bool("update", false, "write docs/verdicts.md anew")

// TestVerdictsPage holds the page against the code. The page is made by trying
// every situation: nothing on it is written by hand but its introduction.
func TestVerdictsPage(t *testing.T) {
	es := allEntries(t)
	es.reach(t)
	page := filepath.Join("..", "docs", "verdicts.md")
	want := introduction + es.markdown()
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil || string(got) != want {
		t.Errorf("%s does not say what the code does (%v): run go test ./models -run TestVerdictsPage -update and read what changed", page, err)
	}
}

// reach: every verdict of the design is reached, every flag raised, and a name
// of Judge's stands for one verdict.
func (es *entries) reach(t *testing.T) {
	by, names := map[models.Verdict]map[string]bool{}, map[string]models.Verdict{}
	raised := map[string]bool{}
	for _, e := range es.all {
		if by[e.Verdict] == nil {
			by[e.Verdict] = map[string]bool{}
		}
		by[e.Verdict][e.by] = true
		if other := names[e.Name]; e.by != "Compare" && other != "" && other != e.Verdict {
			t.Errorf("%s is %s and %s", e.Name, other, e.Verdict)
		} else if e.by != "Compare" {
			names[e.Name] = e.Verdict
		}
		for flag := range e.flags.seen {
			raised[flag] = true
		}
	}
	for _, v := range models.Verdicts {
		if len(by[v]) == 0 {
			t.Errorf("nothing comes to the verdict %s", v)
		}
		t.Logf("%s: %s", v, strings.Join(slices.Sorted(maps.Keys(by[v])), ", "))
	}
	if len(by) != len(models.Verdicts) {
		t.Errorf("verdicts that are not the design's: %v", slices.Sorted(maps.Keys(by)))
	}
	for _, f := range models.Flags {
		if !raised[f] {
			t.Errorf("nothing raises the flag %s", f)
		}
	}
}

// entry is one rule: everything that leads to it, and what it does.
type entry struct {
	models.Ruling
	by    string
	asked []*question
	seen  []uint32 // by question: the answers that lead here, a bit each
	// ofCaptures is the same of captures alone: what a capture needs is not hidden
	// by the refund that needs it not.
	ofCaptures []uint32
	done       map[deed]bool
	last       string // the latest sentence
	// effects are what follows, in order of appearance.
	sentences, effects, money, flags, next wordlist
}

// wordlist is a list that keeps each word once.
type wordlist struct {
	list []string
	seen map[string]bool
}

func (w *wordlist) add(word string) {
	if word == "" || w.seen[word] {
		return
	}
	if w.seen == nil {
		w.seen = map[string]bool{}
	}
	w.seen[word] = true
	w.list = append(w.list, word)
}

type entries struct {
	t   *testing.T
	all []*entry
	of  map[ruleKey]*entry
}

type ruleKey struct {
	by, name string
	verdict  models.Verdict
}

// entry finds or makes the entry of a rule.
func (es *entries) entry(by string, r models.Ruling, asked []*question) *entry {
	key := ruleKey{by, r.Name, r.Verdict}
	e := es.of[key]
	if e == nil {
		e = &entry{Ruling: r, by: by, asked: asked, seen: make([]uint32, len(asked)), ofCaptures: make([]uint32, len(asked)), done: map[deed]bool{}}
		es.of[key] = e
		es.all = append(es.all, e)
	}
	if e.last != r.Rule {
		e.last = r.Rule
		e.sentences.add(figures(r.Rule))
	}
	return e
}

// figures replaces numbers, which a sentence may name.
func figures(rule string) string {
	var b strings.Builder
	for _, r := range rule {
		if r < '0' || r > '9' {
			b.WriteRune(r)
		} else if !strings.HasSuffix(b.String(), "N") {
			b.WriteByte('N')
		}
	}
	return b.String()
}

func allEntries(t *testing.T) *entries {
	es := &entries{t: t, of: map[ruleKey]*entry{}}
	es.judged()
	es.unsent()
	es.overdue()
	es.reviewed()
	es.compared()
	order := func(v models.Verdict) int { return slices.Index(models.Verdicts, v) }
	slices.SortStableFunc(es.all, func(a, b *entry) int { return cmp.Compare(order(a.Verdict), order(b.Verdict)) })
	return es
}

// judged tries every situation of Judge.
func (es *entries) judged() {
	var qs []*question
	for q := range asked {
		qs = append(qs, &asked[q])
	}
	for _, sc := range scenes() {
		var tried [questions]bool
		for _, q := range sc.matters {
			tried[q] = true
		}
		for q := range sc.given {
			tried[q] = true
		}
		if len(sc.given) == 1 {
			tried[qState], tried[qKind], tried[qSource] = true, true, true
		}
		sc.each(func(s *situation) {
			if len(sc.given) == 1 && s.o.State == models.Capturing {
				return
			}
			d := models.Judge(s.o, s.ev, s.f)
			e := es.entry("Judge", models.Ruling{Verdict: d.Verdict, Name: d.Name, Rule: d.Rule}, qs)
			for q := range asked {
				leads := uint32(1)<<len(asked[q].answers) - 1
				if tried[q] {
					leads = 1 << s.pick[q]
				}
				e.seen[q] |= leads
				if s.o.Kind == models.Capture {
					e.ofCaptures[q] |= leads
				}
			}
			s.o.SentVersion = ptr(int64(1))
			e.decided(es.t, s.o, d)
		})
	}
}

// deed is all that the effects of a decision depend on.
type deed struct {
	kind        models.Kind
	state       models.State
	event, then models.Event
	flag, rule  string
	rotates     bool
	refunded    int64
}

// decided notes what a decision does to an operation.
func (e *entry) decided(t *testing.T, o models.Operation, d models.Decision) {
	key := deed{o.Kind, o.State, d.Event, d.Then, d.Flag, d.Rule, d.RotateKey, o.RefundRequestedCents}
	if e.done[key] {
		return
	}
	e.done[key] = true
	after := o
	effect := ""
	for _, event := range []models.Event{d.Event, d.Then} {
		if event == "" {
			continue
		}
		to, err := after.State.Next(o.Kind, event)
		if err != nil {
			t.Fatal(err)
		}
		after.State = to
		if effect != "" {
			effect += ", "
		}
		switch {
		case event == models.Hinted:
			effect += "looked up at once"
		case event.Annotates():
			effect += "flagged where it stands"
		default:
			effect += fmt.Sprintf("`%s` → %s", event, to)
		}
	}
	switch {
	case d.Send:
		effect = "sent again, same key"
		e.money.add("**yes**")
	case d.Event == models.NotSent && d.Then == "" && d.Flag == "":
		e.money.add("later")
	default:
		e.money.add("no")
	}
	if d.RotateKey {
		effect += ", new key"
	}
	e.effects.add(effect)
	e.flags.add(d.Flag)
	after.NeedsAttention = d.Flag
	if after.State == models.Succeeded && after.ConfirmedCents == nil {
		after.ConfirmedCents = &after.AmountCents
	}
	if d.Event == models.Refused && (d.Name == "hold_ended" || d.Name == "hold_ended_unsent") {
		after.ErrorCode = models.ErrorHoldEnded
	}
	if d.Flag != "" || d.Verdict == models.Fail {
		for _, a := range models.NextActions(after) {
			e.next.add(a)
		}
	}
}
