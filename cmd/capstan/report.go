package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/models"
)

// report is the API's report as a person reads it.
type report struct {
	CreatedAt time.Time `json:"created_at"`
	Open      []struct {
		Gateway string    `json:"payment_gateway"`
		Kind    string    `json:"kind"`
		State   string    `json:"state"`
		Count   int64     `json:"count"`
		Due     int64     `json:"due"`
		Amounts sums      `json:"amounts"`
		Oldest  time.Time `json:"oldest"`
	} `json:"open"`
	Wrong struct {
		Flags, Findings []wrongGroup
		Invariants      []struct {
			ID      string    `json:"id"`
			Rule    string    `json:"rule"`
			Scope   string    `json:"scope"`
			Count   int64     `json:"count"`
			First   []string  `json:"first"`
			FoundAt time.Time `json:"found_at"`
		}
	} `json:"wrong"`
	Done struct {
		Verdicts []struct {
			Kind       string `json:"kind"`
			Verdict    string `json:"verdict"`
			Count      int64  `json:"count"`
			Operations int64  `json:"operations"`
			Amounts    sums   `json:"amounts"`
		} `json:"verdicts"`
		Applied   int `json:"applied"`
		Dismissed int `json:"dismissed"`
	} `json:"done"`
	Needs struct {
		Count int         `json:"count"`
		First []needsLine `json:"first"`
	} `json:"needs_person"`
	Deadlines []struct {
		WithinHours int    `json:"within_hours"`
		Amount      string `json:"formatted_amount"`
		Holds       int64  `json:"holds"`
	} `json:"deadlines"`
	Gateways []struct {
		Slug           string     `json:"slug"`
		Provider       string     `json:"provider"`
		PausedAt       *time.Time `json:"paused_at"`
		PausedReason   string     `json:"paused_reason"`
		LookFirstUntil *time.Time `json:"look_first_until"`
		ListedThrough  *time.Time `json:"listed_through"`
	} `json:"gateways"`
	Runs struct {
		Sweep *struct {
			StartedAt time.Time        `json:"started_at"`
			Seconds   float64          `json:"duration_seconds"`
			Counts    map[string]int64 `json:"counts"`
		} `json:"sweep"`
		Late   bool `json:"sweep_is_late"`
		Audits []struct {
			Scope     string    `json:"scope"`
			StartedAt time.Time `json:"started_at"`
			Seconds   float64   `json:"duration_seconds"`
			Broken    int64     `json:"broken"`
		} `json:"audits"`
	} `json:"runs"`
	Backlog struct {
		Unpublished int64 `json:"unpublished"`
		OrdersDue   int64 `json:"orders_due"`
		WebhooksIn  int64 `json:"webhooks_in"`
		WebhooksOut int64 `json:"webhooks_out"`
	} `json:"backlog"`
}

type wrongGroup struct {
	Gateway string    `json:"payment_gateway"`
	Kind    string    `json:"kind"`
	Reason  string    `json:"reason"`
	Count   int64     `json:"count"`
	Amounts sums      `json:"amounts"`
	Oldest  time.Time `json:"oldest"`
	First   []struct {
		ID string `json:"id"`
	} `json:"first"`
}

type needsLine struct {
	Type     string     `json:"type"`
	ID       string     `json:"id"`
	OrderID  string     `json:"order_id"`
	Gateway  string     `json:"payment_gateway"`
	State    string     `json:"state"`
	Amount   string     `json:"formatted_amount"`
	Reason   string     `json:"reason"`
	Rule     string     `json:"rule"`
	Since    time.Time  `json:"since"`
	Deadline *time.Time `json:"deadline"`
	Next     []string   `json:"next_actions"`
	Verdicts []string   `json:"verdict_ids"`
}

// sums are amounts of several currencies.
type sums []struct {
	Formatted string `json:"formatted_amount"`
}

func (s sums) String() string {
	var all []string
	for _, one := range s {
		all = append(all, one.Formatted)
	}
	return strings.Join(all, " + ")
}

// calls reports whether anything needs a person: what is listed, an invariant
// that is broken, a reconciler that stands still.
func (r report) calls() bool {
	return r.Needs.Count > 0 || len(r.Wrong.Invariants) > 0 || r.Runs.Late
}

// showReport prints the one report. It ends with status 1 when something needs a person.
func showReport(ctx context.Context, remote config.Remote, stdout io.Writer) error {
	var answer struct {
		Attributes json.RawMessage `json:"attributes"`
	}
	if err := call(ctx, remote, http.MethodGet, "/api/report", nil, &answer); err != nil {
		return err
	}
	var r report
	if err := json.Unmarshal(answer.Attributes, &r); err != nil {
		return fmt.Errorf("read the report: %w; are this program and the API of the same version?", err)
	}
	var err error
	if remote.JSON {
		err = printJSON(stdout, answer.Attributes)
	} else {
		err = r.print(stdout)
	}
	if err == nil && r.calls() {
		err = errFailed
	}
	return err
}

// page writes sections of aligned lines, and remembers the first error.
type page struct {
	w   io.Writer
	err error
}

// section writes a title and a table under it; without rows it says none. The
// notes of a row, if there are any, stand under it.
func (p *page) section(title, none, header string, rows []string, notes ...[]string) {
	var table bytes.Buffer
	t := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	switch {
	case len(rows) == 0:
		rows = []string{none}
	case header != "":
		rows, notes = append([]string{header}, rows...), append([][]string{nil}, notes...)
	}
	for _, row := range rows {
		fmt.Fprintln(t, row)
	}
	_ = t.Flush() // to memory
	p.line("")
	p.line(title)
	for i, line := range strings.Split(strings.TrimRight(table.String(), "\n"), "\n") {
		p.line("  " + line)
		if i < len(notes) {
			for _, note := range notes[i] {
				p.line("      " + note)
			}
		}
	}
}

func (p *page) line(text string) {
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.w, strings.TrimRight(text, " "))
	}
}

func row(cells ...any) string {
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = fmt.Sprint(c)
	}
	return strings.Join(texts, "\t")
}

func (r report) print(w io.Writer) error {
	p := &page{w: w}
	p.line("Report of " + r.CreatedAt.UTC().Format("2006-01-02 15:04:05Z"))
	r.printNeeds(p)
	r.printWrong(p)
	var open []string
	for _, g := range r.Open {
		open = append(open, row(g.Gateway, g.Kind, g.State, g.Count, g.Due, g.Amounts, r.age(g.Oldest)))
	}
	p.section("OPEN", "nothing", "GATEWAY\tKIND\tSTATE\tCOUNT\tDUE NOW\tAMOUNT\tOLDEST", open)
	var done []string
	for _, g := range r.Done.Verdicts {
		done = append(done, row(did(g.Verdict), cmp.Or(g.Kind, "-"), g.Operations, g.Count, g.Amounts))
	}
	if n := r.Done.Applied + r.Done.Dismissed; n > 0 {
		done = append(done, row("resolved by people", "verdict", n, n, fmt.Sprintf("%d applied, %d dismissed", r.Done.Applied, r.Done.Dismissed)))
	}
	p.section("DONE IN THE LAST 24 HOURS", "nothing had to be", "WHAT\tKIND\tCOUNT\tTIMES\tAMOUNT", done)
	r.printDeadlines(p)
	r.printGateways(p)
	r.printRuns(p)
	p.line("")
	p.line(r.verdict())
	return p.err
}

// verdict is the last line.
func (r report) verdict() string {
	var why []string
	if r.Needs.Count > 0 {
		why = append(why, counted(r.Needs.Count, "thing needs a person", "things need a person"))
	}
	if n := len(r.Wrong.Invariants); n > 0 {
		why = append(why, counted(n, "invariant is broken", "invariants are broken"))
	}
	if r.Runs.Late {
		why = append(why, "no sweep has ended lately: does a worker run?")
	}
	if len(why) == 0 {
		return "Nothing needs a person."
	}
	return strings.Join(why, "; ")
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func (r report) printNeeds(p *page) {
	var rows []string
	var notes [][]string
	for _, n := range r.Needs.First {
		what := strings.TrimSuffix(n.Type, "s") + " " + n.ID
		if n.Type == "verdicts" && n.OrderID != "" {
			what = "order " + n.OrderID
		}
		ends := ""
		if n.Deadline != nil {
			ends = "in " + span(n.Deadline.Sub(r.CreatedAt))
		}
		rows = append(rows, row(n.Reason, n.Amount, what, n.State, n.Gateway, r.age(n.Since), ends))
		note := []string{n.Rule, "can be done: " + cmp.Or(strings.Join(n.Next, ", "), "settle it at the gateway")}
		if slices.Contains(n.Next, models.ActAssert) {
			note = append(note, fmt.Sprintf("capstan captures assert %s --kind %s --succeeded|--failed --reason …", n.ID, strings.TrimSuffix(n.Type, "s")))
		}
		if len(n.Verdicts) > 0 {
			note = append(note, "capstan verdicts apply|dismiss "+strings.Join(n.Verdicts, " or ")+" --reason …")
		}
		notes = append(notes, slices.DeleteFunc(note, func(s string) bool { return s == "" }))
	}
	p.section(fmt.Sprintf("NEEDS A PERSON (%d)", r.Needs.Count), "nothing", "REASON\tAMOUNT\tWHAT\tSTATE\tGATEWAY\tSINCE\tENDS", rows, notes...)
	if more := r.Needs.Count - len(rows); more > 0 {
		p.line(fmt.Sprintf("  and %d more: capstan verdicts list --status open, capstan captures list --attention", more))
	}
}

func (r report) printWrong(p *page) {
	var rows []string
	for _, groups := range [][]wrongGroup{r.Wrong.Flags, r.Wrong.Findings} {
		for _, g := range groups {
			first := make([]string, len(g.First))
			for i, f := range g.First {
				first[i] = f.ID
			}
			rows = append(rows, row(g.Reason, cmp.Or(g.Kind, "finding"), cmp.Or(g.Gateway, "-"), g.Count, g.Amounts, r.age(g.Oldest), strings.Join(first, " ")))
		}
	}
	for _, i := range r.Wrong.Invariants {
		rows = append(rows, row(i.ID+": "+i.Rule, "invariant", i.Scope+" audit", i.Count, "", r.age(i.FoundAt), strings.Join(i.First[:min(len(i.First), 5)], " ")))
	}
	p.section("WRONG", "nothing", "REASON\tKIND\tWHERE\tCOUNT\tAMOUNT\tOLDEST\tFIRST", rows)
}

func (r report) printDeadlines(p *page) {
	var rows []string
	for _, d := range r.Deadlines {
		rows = append(rows, row(fmt.Sprintf("within %d h", d.WithinHours), d.Amount, counted(int(d.Holds), "hold", "holds")))
	}
	p.section("HOLDS THAT END UNCAPTURED", "none within 48 hours", "", rows)
}

func (r report) printGateways(p *page) {
	var rows []string
	for _, g := range r.Gateways {
		stands := "works"
		if g.PausedAt != nil {
			stands = "PAUSED for " + r.age(*g.PausedAt) + ": " + g.PausedReason
		}
		if g.LookFirstUntil != nil {
			stands += ", looks first for " + span(g.LookFirstUntil.Sub(r.CreatedAt))
		}
		listed := "never listed"
		if g.ListedThrough != nil {
			listed = "listed to " + r.age(*g.ListedThrough) + " ago"
		}
		rows = append(rows, row(g.Slug, g.Provider, stands, listed))
	}
	p.section("GATEWAYS", "none is configured", "", rows)
}

func (r report) printRuns(p *page) {
	var rows []string
	if s := r.Runs.Sweep; s != nil {
		found := []string{}
		for verdict, n := range s.Counts {
			found = append(found, fmt.Sprintf("%d %s", n, verdict))
		}
		slices.Sort(found)
		rows = append(rows, row("sweep", r.age(s.StartedAt)+" ago", fmt.Sprintf("took %.1f s", s.Seconds), cmp.Or(strings.Join(found, ", "), "found nothing")))
	}
	for _, a := range r.Runs.Audits {
		found := "every invariant holds"
		if a.Broken > 0 {
			found = counted(int(a.Broken), "thing breaks an invariant", "things break an invariant")
		}
		rows = append(rows, row(a.Scope+" audit", r.age(a.StartedAt)+" ago", fmt.Sprintf("took %.1f s", a.Seconds), found))
	}
	b := r.Backlog
	rows = append(rows, row("waiting", "now", "", fmt.Sprintf("%d not told to Redis, %d orders to review, %d webhooks in, %d out", b.Unpublished, b.OrdersDue, b.WebhooksIn, b.WebhooksOut)))
	p.section("LAST RUNS", "", "", rows)
}

// did says what a verdict led to.
func did(verdict string) string {
	words := map[string]string{
		"forward": "forwarded", "cancel": "cancelled", "retry": "retried", "republish": "republished", "fail": "failed", "expiring": "about to end", "needs_attention": "flagged",
	}
	return cmp.Or(words[verdict], verdict)
}

func (r report) age(at time.Time) string { return span(r.CreatedAt.Sub(at)) }

// span shortens a duration to its two largest units.
func span(d time.Duration) string {
	d = max(d, 0)
	switch days := int(d.Hours()) / 24; {
	case days > 0:
		return fmt.Sprintf("%dd%02dh", days, int(d.Hours())%24)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%ds", int(d.Seconds()))
}

// cents formats an amount that was read as JSON; nothing for null.
func cents(amount, currency any) string {
	n, isNumber := amount.(float64)
	code, isText := currency.(string)
	if !isNumber || !isText {
		return ""
	}
	return models.FormatMoney(int64(n), code)
}
