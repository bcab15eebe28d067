package commercelayer

import (
	"encoding/json"
	"maps"
	"net/http"
	"time"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// reportAttributes are the report: what is open, what is wrong, what was done
// and what needs a person. Times are UTC; amounts are minor units.
type reportAttributes struct {
	CreatedAt string        `json:"created_at"`
	Open      []openGroup   `json:"open"`
	Wrong     wrong         `json:"wrong"`
	Done      done          `json:"done"`
	Needs     needs         `json:"needs_person"`
	Deadlines []deadline    `json:"deadlines"`
	Gateways  []gatewayLine `json:"gateways"`
	Runs      runs          `json:"runs"`
	Backlog   backlog       `json:"backlog"`
}

type sum struct {
	CurrencyCode    string `json:"currency_code"`
	AmountCents     int64  `json:"amount_cents"`
	FormattedAmount string `json:"formatted_amount"`
}

type openGroup struct {
	PaymentGateway string `json:"payment_gateway"`
	Kind           string `json:"kind"`
	State          string `json:"state"`
	Count          int64  `json:"count"`
	Due            int64  `json:"due"`
	Amounts        []sum  `json:"amounts"`
	Oldest         string `json:"oldest"`
}

type wrong struct {
	Flags      []wrongGroup      `json:"flags"`
	Findings   []wrongGroup      `json:"findings"`
	Invariants []brokenInvariant `json:"invariants"`
}

// wrongGroup are the operations of a kind with one flag, or the findings of a
// gateway with one verdict.
type wrongGroup struct {
	PaymentGateway *string     `json:"payment_gateway,omitempty"`
	Kind           *string     `json:"kind"`
	Reason         string      `json:"reason"`
	Count          int64       `json:"count"`
	Amounts        []sum       `json:"amounts"`
	Oldest         string      `json:"oldest"`
	First          []namedLink `json:"first"`
}

// namedLink names a resource and where it is.
type namedLink struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Link string `json:"link"`
}

type brokenInvariant struct {
	ID      string   `json:"id"`
	Rule    string   `json:"rule"`
	Scope   string   `json:"scope"`
	Count   int64    `json:"count"`
	First   []string `json:"first"`
	FoundAt string   `json:"found_at"`
}

type done struct {
	Since     string      `json:"since"`
	Verdicts  []doneGroup `json:"verdicts"`
	Applied   int         `json:"applied"`
	Dismissed int         `json:"dismissed"`
}

type doneGroup struct {
	Kind    *string `json:"kind"`
	Verdict string  `json:"verdict"`
	// Count is how often, Things of how many different operations.
	Count   int64 `json:"count"`
	Things  int64 `json:"operations"`
	Amounts []sum `json:"amounts"`
}

type needs struct {
	Count int        `json:"count"`
	First []needsRow `json:"first"`
}

// needsRow is one thing that needs a person.
type needsRow struct {
	namedLink
	OrderID         *string  `json:"order_id"`
	PaymentGateway  *string  `json:"payment_gateway"`
	State           *string  `json:"state"`
	CurrencyCode    *string  `json:"currency_code"`
	AmountCents     *int64   `json:"amount_cents"`
	FormattedAmount *string  `json:"formatted_amount"`
	Reason          string   `json:"reason"`
	Rule            string   `json:"rule"`
	Since           string   `json:"since"`
	Deadline        *string  `json:"deadline"`
	NextActions     []string `json:"next_actions"`
	Verdicts        []string `json:"verdict_ids"`
}

// deadline is the value that is lost unless it is captured within some hours.
type deadline struct {
	WithinHours     int    `json:"within_hours"`
	CurrencyCode    string `json:"currency_code"`
	AmountCents     int64  `json:"amount_cents"`
	FormattedAmount string `json:"formatted_amount"`
	Holds           int64  `json:"holds"`
}

type gatewayLine struct {
	Slug           string  `json:"slug"`
	Provider       string  `json:"provider"`
	PausedAt       *string `json:"paused_at"`
	PausedReason   *string `json:"paused_reason"`
	LookFirstUntil *string `json:"look_first_until"`
	ListedThrough  *string `json:"listed_through"`
}

type runs struct {
	Sweep  *sweepRun  `json:"sweep"` // null: none has ended yet
	Late   bool       `json:"sweep_is_late"`
	Audits []auditRun `json:"audits"`
}

type sweepRun struct {
	ID              string          `json:"id"`
	StartedAt       string          `json:"started_at"`
	DurationSeconds float64         `json:"duration_seconds"`
	Counts          json.RawMessage `json:"counts"`
}

type auditRun struct {
	ID              string  `json:"id"`
	Scope           string  `json:"scope"`
	StartedAt       string  `json:"started_at"`
	DurationSeconds float64 `json:"duration_seconds"`
	Broken          int64   `json:"broken"`
}

// backlog is what waits in the whole deployment, beside operations.
type backlog struct {
	Unpublished int64   `json:"unpublished"`
	OrdersDue   int64   `json:"orders_due"`
	OldestDue   *string `json:"oldest_order_due"`
	WebhooksIn  int64   `json:"webhooks_in"`
	OldestIn    *string `json:"oldest_webhook_in"`
	WebhooksOut int64   `json:"webhooks_out"`
}

// sweepLate is how old the last sweep's end may be before the report calls for a
// person: a reconciler that stands still finds nothing, which looks like peace.
const sweepLate = 3 * time.Minute

// report answers GET /api/report.
func (c *call) report() error {
	if _, err := readQuery(c.Request, &resourceType{name: "reports"}, false); err != nil {
		return err
	}
	r, err := c.api.store.Report(c.Context(), c.who.Mode)
	if err != nil {
		return err
	}
	people, err := c.needsPerson(r)
	if err != nil {
		return err
	}
	attributes := reportAttributes{
		CreatedAt: moment{r.At}.String(), Open: []openGroup{}, Wrong: c.wrong(r), Needs: people, Deadlines: []deadline{}, Gateways: []gatewayLine{}, Runs: runsOf(r),
		Done: done{Since: moment{r.At.Add(-24 * time.Hour)}.String(), Verdicts: []doneGroup{}, Applied: r.Applied, Dismissed: r.Dismissed},
		Backlog: backlog{
			Unpublished: r.Backlog.Unpublished, OrdersDue: r.Backlog.OrdersDue, OldestDue: momentOrNull(r.Backlog.OldestDueAt),
			WebhooksIn: r.Backlog.WebhooksIn, OldestIn: momentOrNull(r.Backlog.OldestIn), WebhooksOut: r.Backlog.WebhooksOut,
		},
	}
	for _, g := range r.Open {
		attributes.Open = append(attributes.Open, openGroup{
			PaymentGateway: g.Gateway, Kind: string(g.Kind), State: string(g.State), Count: g.Count, Due: g.Due, Amounts: sums(g), Oldest: moment{g.Oldest}.String(),
		})
	}
	for _, g := range r.Done {
		attributes.Done.Verdicts = append(attributes.Done.Verdicts, doneGroup{Kind: orNull(string(g.Kind)), Verdict: g.Name, Count: g.Count, Things: g.Things, Amounts: sums(g)})
	}
	for _, a := range r.AtRisk {
		attributes.Deadlines = append(attributes.Deadlines, deadline{
			WithinHours: a.Hours, CurrencyCode: a.CurrencyCode, AmountCents: a.Cents, FormattedAmount: models.FormatMoney(a.Cents, a.CurrencyCode), Holds: a.Holds,
		})
	}
	for _, g := range r.Gateways {
		attributes.Gateways = append(attributes.Gateways, gatewayLine{
			Slug: g.Slug, Provider: g.Provider, PausedAt: momentOrNull(g.PausedAt), PausedReason: orNull(g.PausedReason),
			LookFirstUntil: momentOrNull(g.LookFirstUntil), ListedThrough: momentOrNull(g.ListedThrough),
		})
	}
	api.WriteJSON(c.w, http.StatusOK, api.MediaType, struct {
		Data resource     `json:"data"`
		Meta resourceMeta `json:"meta"`
	}{resource{Type: "reports", ID: "now", Links: &links{Self: c.base + "/api/report"}, Attributes: attributes}, resourceMeta{Mode: c.who.Mode}})
	return nil
}

func sums(g store.Group) []sum {
	all := []sum{}
	for _, s := range g.Sums {
		all = append(all, sum{CurrencyCode: s.CurrencyCode, AmountCents: s.AmountCents, FormattedAmount: models.FormatMoney(s.AmountCents, s.CurrencyCode)})
	}
	return all
}

func (c *call) named(typ, id string) namedLink {
	return namedLink{Type: typ, ID: id, Link: c.base + "/api/" + typ + "/" + id}
}

func (c *call) wrong(r store.Report) wrong {
	w := wrong{Flags: []wrongGroup{}, Findings: []wrongGroup{}, Invariants: []brokenInvariant{}}
	group := func(g store.Group, typ string) wrongGroup {
		line := wrongGroup{
			PaymentGateway: orNull(g.Gateway), Kind: orNull(string(g.Kind)), Reason: g.Name, Count: g.Count, Amounts: sums(g), Oldest: moment{g.Oldest}.String(), First: []namedLink{},
		}
		for _, id := range g.IDs {
			line.First = append(line.First, c.named(typ, id))
		}
		return line
	}
	for _, g := range r.Flags {
		w.Flags = append(w.Flags, group(g, c.api.typeOf(g.Kind).name))
	}
	for _, g := range r.Findings {
		w.Findings = append(w.Findings, group(g, c.api.verdictType.name))
	}
	for _, b := range r.Broken {
		first := b.Broken
		if first == nil {
			first = []string{}
		}
		w.Invariants = append(w.Invariants, brokenInvariant{ID: b.ID, Rule: b.Rule, Scope: string(b.Scope), Count: b.BrokenCount, First: first, FoundAt: moment{b.At}.String()})
	}
	return w
}

// needsPerson lists what calls for somebody, with what each can do about it.
func (c *call) needsPerson(r store.Report) (needs, error) {
	ids := map[models.Kind][]string{}
	for _, p := range r.People {
		if p.OperationID != nil {
			ids[p.Kind] = append(ids[p.Kind], *p.OperationID)
		}
	}
	next := map[string][]string{}
	for _, kind := range models.Kinds {
		if len(ids[kind]) == 0 {
			continue
		}
		ops, err := c.api.store.OperationsBy(c.Context(), c.who.Mode, kind, store.ByID, ids[kind], len(ids[kind]))
		if err != nil {
			return needs{}, err
		}
		of, err := c.nextActions(ops)
		if err != nil {
			return needs{}, err
		}
		maps.Copy(next, of)
	}
	n := needs{Count: r.PeopleCount, First: []needsRow{}}
	for _, p := range r.People {
		n.First = append(n.First, c.needsRow(p, next))
	}
	return n, nil
}

func (c *call) needsRow(p store.Call, next map[string][]string) needsRow {
	amount := amountOf(p.AmountCents, p.CurrencyCode)
	row := needsRow{
		OrderID: p.OrderID, PaymentGateway: orNull(p.Gateway), State: orNull(string(p.State)), CurrencyCode: orNull(p.CurrencyCode),
		AmountCents: p.AmountCents, FormattedAmount: amount.formatted(), Reason: p.Flag, Rule: p.Rule, Since: moment{p.Since}.String(),
		Deadline: momentOrNull(p.Deadline), NextActions: []string{}, Verdicts: append([]string{}, p.VerdictIDs...),
	}
	if row.Reason == "" {
		row.Reason = string(p.Verdict)
	}
	if p.OperationID != nil {
		row.namedLink = c.named(c.api.typeOf(p.Kind).name, *p.OperationID)
		row.NextActions = append(row.NextActions, next[*p.OperationID]...)
		return row
	}
	row.namedLink = c.named(c.api.verdictType.name, p.VerdictIDs[0])
	switch {
	case p.Deadline != nil && p.Deadline.After(c.api.now()):
		row.NextActions = append(row.NextActions, models.ActCapture)
	case p.Deadline != nil:
		row.NextActions = append(row.NextActions, models.ActNewAuthorization)
	}
	return row
}

func runsOf(r store.Report) runs {
	all := runs{Late: r.Sweep == nil || r.At.Sub(*r.Sweep.FinishedAt) > sweepLate, Audits: []auditRun{}}
	if r.Sweep != nil {
		all.Sweep = &sweepRun{
			ID: r.Sweep.ID, StartedAt: moment{r.Sweep.StartedAt}.String(), DurationSeconds: r.Sweep.FinishedAt.Sub(r.Sweep.StartedAt).Seconds(), Counts: r.Sweep.Counts,
		}
	}
	for _, a := range r.Audits {
		all.Audits = append(all.Audits, auditRun{
			ID: a.ID, Scope: string(a.Scope), StartedAt: moment{a.StartedAt}.String(), DurationSeconds: a.FinishedAt.Sub(a.StartedAt).Seconds(), Broken: a.Broken,
		})
	}
	return all
}
