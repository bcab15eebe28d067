package models_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/capstan-pay/capstan/models"
)

const introduction = `# Verdicts

Every comparison of our books with a gateway's ends in one of twelve verdicts. Five functions of package models come to them, each
pure: they get what is known, and say what follows; nothing else in Capstan decides.

| function | looks at | asked by |
|---|---|---|
| Judge | one operation, and what somebody says about it | every answer, look-up, webhook, line of a list, and person |
| JudgeUnsent | an operation that was never sent and can no longer be | a task that found its row not to be claimed |
| Overdue | open work that was published, and when | the sweep |
| ReviewOrder | an order with its captures, holds and policy | the sweep, for orders that are due for a review |
| Compare | a line of a gateway's own list or report, and our book of its hold | the listing |

How to read the table: **for** and **who says what** name everything that leads to a rule; **when** names only what must be so, and what
it leaves out does not matter. **Does** is the event and the state that it leads to. **Money** is "yes" where money is taken at once,
"back" where it is given back, and "later" where a new claim may send, after whatever look it needs. **Next** is what a person can do
about the operation as it then stands, where the verdict calls one. Where captures, refunds and voids come to the same rule, **when** says
what it takes for a capture: a refund needs neither a living hold nor a standing order, and a void may be confirmed without an amount.

- A source is one of ` + "`answer`" + ` (to our own call), ` + "`look_up`" + `, ` + "`webhook`" + `, ` + "`listing`" + `, ` + "`operator`" + `. A line of a list counts like a look-up when it names a
  transaction and an amount, and else asks for a look.
- What stays open is looked up after 30 s, 1, 2, 5 and 15 minutes and an hour, then hourly until the hold's end (known or estimated; a
  refund has none), then daily, and weekly once it has been open for 30 days. A person is called after 15 minutes, and again after 30
  days. Looks never end.
- ` + "`taken_back`" + ` is a chargeback, a capture that failed after it had succeeded, or a refund that came back.
- ` + "`unasked`" + ` stands for the look-up of a gateway that has none. Unless ` + "`when`" + ` says otherwise a gateway is asked by a look-up and a program moves the money.

This page is generated: ` + "`go test ./models -run TestVerdictsPage -update`" + `. A test fails while it does not say what the code does.

`

func (es *entries) markdown() string {
	var b strings.Builder
	b.WriteString("| verdict | rule | decided by | for | who says what | when | does | money | flag | next |\n|---|---|---|---|---|---|---|---|---|---|\n")
	var last models.Verdict
	for _, e := range es.all {
		verdict := ""
		if e.Verdict != last {
			verdict, last = "**"+string(e.Verdict)+"**", e.Verdict
		}
		cells := []string{
			verdict, "`" + e.Name + "`: " + strings.Join(e.sentences.list, "; or "), e.by, e.about(), e.said(), e.when(), strings.Join(e.effects.list, "; "),
			strings.Join(e.money.list, " or "), code(e.flags.list), strings.ReplaceAll(strings.Join(ordered(e.next.list), ", "), "_", " "),
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
	}
	return b.String()
}

func code(words []string) string {
	var all []string
	for _, w := range words {
		all = append(all, "`"+w+"`")
	}
	return strings.Join(all, ", ")
}

// ordered puts actions in the order in which they are offered.
func ordered(actions []string) []string {
	slices.SortStableFunc(actions, func(a, b string) int { return slices.Index(models.Actions, a) - slices.Index(models.Actions, b) })
	return actions
}

// leads reports whether the answer leads to the rule: a capture's, where a
// capture can come to it.
func (e *entry) leads(q, answer int) bool {
	switch e.asked[q].name {
	case "kind", "state", "source", "outcome":
	default:
		if e.ofCaptures[q] != 0 {
			return e.ofCaptures[q]>>answer&1 == 1
		}
	}
	return e.seen[q]>>answer&1 == 1
}

// answers are those of a question that lead to the rule, and whether all do.
func (e *entry) answers(name string) (list []string, all, found bool) {
	for q, question := range e.asked {
		if question.name != name {
			continue
		}
		for i, a := range question.answers {
			if e.leads(q, i) {
				list = append(list, a)
			}
		}
		return list, len(list) == len(question.answers), true
	}
	return nil, true, false
}

// missing is the one answer that does not lead to the rule, if there is just one.
func (e *entry) missing(name string) string {
	var missing []string
	for q, question := range e.asked {
		for i, a := range question.answers {
			if question.name == name && !e.leads(q, i) {
				missing = append(missing, a)
			}
		}
	}
	if len(missing) != 1 {
		return ""
	}
	return missing[0]
}

// about names the kinds and states.
func (e *entry) about() string {
	kinds, allKinds, hasKind := e.answers("kind")
	states, allStates, hasState := e.answers("state")
	what := ""
	switch {
	case !hasKind && !hasState:
		return "an order"
	case hasKind && !allKinds:
		what = strings.Join(kinds, " or ") + ": "
	}
	if hasState && !allStates {
		return what + strings.Join(states, ", ")
	}
	return what + "any"
}

// said names who says what, outcomes with the same sources together.
func (e *entry) said() string {
	if lines, all, ok := e.answers("line"); ok {
		if all {
			return "any line"
		}
		return "line: " + strings.Join(lines, ", ")
	}
	outcomes, _, ok := e.answers("outcome")
	if !ok {
		return ""
	}
	sources, allSources, _ := e.answers("source")
	what := strings.Join(outcomes, ", ")
	if len(outcomes) == len(models.Outcomes) {
		what = "anything"
	}
	if allSources {
		return what
	}
	return what + " by " + strings.Join(sources, ", ")
}

// short words what must be so where one answer alone does not lead to a rule.
var short = map[string]string{
	"no try left": "tries left", "another transaction": "no other transaction named", "the order is approved": "the order is not approved",
	"the order is cancelled": "the order is not cancelled", "its capture waits for a time after the hold's end": "no capture is open",
	"no capture": "its capture is known", "not flagged": "flagged",
}

// usual are the questions whose first answer goes without saying: most gateways
// have a look-up.
var usual = map[string]bool{"how it is asked": true, "key": true, "by hand": true, "before": true, "mechanism": true}

// when names what must be so beside that.
func (e *entry) when() string {
	var must []string
	for _, q := range e.asked {
		switch q.name {
		case "kind", "state", "outcome", "source", "line":
			continue
		}
		list, all, _ := e.answers(q.name)
		if all || usual[q.name] && len(list) == 1 && list[0] == q.answers[0] {
			continue
		}
		if q.name == "class" {
			list = []string{"class " + strings.ReplaceAll(strings.Join(list, ", "), "_", " ")}
		}
		if words := short[e.missing(q.name)]; words != "" && len(q.answers) > 2 {
			list = []string{words}
		}
		must = append(must, strings.Join(list, " or "))
	}
	return strings.Join(must, "; ")
}
