package commercelayer

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

type verdictAttributes struct {
	Verdict          string          `json:"verdict"`
	Rule             string          `json:"rule"`
	Action           string          `json:"action"`
	Outcome          string          `json:"outcome"`
	Actor            string          `json:"actor"`
	Kind             *string         `json:"kind"`
	OperationID      *string         `json:"operation_id"`
	OrderID          *string         `json:"order_id"`
	ReconciliationID *string         `json:"reconciliation_id"`
	PaymentGateway   *string         `json:"payment_gateway"`
	CurrencyCode     *string         `json:"currency_code"`
	AmountCents      *int64          `json:"amount_cents"`
	AmountFloat      any             `json:"amount_float"`
	FormattedAmount  *string         `json:"formatted_amount"`
	Finding          *string         `json:"finding"`
	NeedsAttention   *string         `json:"needs_attention"`
	Status           *string         `json:"status"`
	Resolution       *resolution     `json:"resolution"`
	Remedy           *string         `json:"remedy"`
	NextActions      []string        `json:"next_actions"`
	Ours             json.RawMessage `json:"ours"`
	Theirs           json.RawMessage `json:"theirs"`
	CreatedAt        string          `json:"created_at"`
}

// resolution is what a person made of a verdict.
type resolution struct {
	Action    string `json:"action"`
	Actor     string `json:"actor"`
	Reason    string `json:"reason"`
	Outcome   string `json:"outcome"`
	CreatedAt string `json:"created_at"`
}

// amountOf is the money of a verdict, which one about nothing of ours may lack.
func amountOf(cents *int64, currency string) money {
	if currency == "" {
		cents = nil
	}
	return money{cents, currency}
}

// verdict renders a row; op is its operation as it stands now, nil without one,
// and next what a person can do about that.
func (c *call) verdict(v store.VerdictRow, op *models.Operation, next []string) *resource {
	amount := amountOf(v.AmountCents, v.CurrencyCode)
	a := verdictAttributes{
		Verdict: string(v.Verdict), Rule: v.Rule, Action: v.Action, Outcome: v.Outcome, Actor: v.Actor, Kind: orNull(string(v.Kind)),
		OperationID: v.OperationID, OrderID: v.OrderID, ReconciliationID: v.ReconciliationID, PaymentGateway: orNull(v.Gateway),
		CurrencyCode: orNull(v.CurrencyCode), AmountCents: v.AmountCents, AmountFloat: amount.float(), FormattedAmount: amount.formatted(), Finding: v.Finding,
		NeedsAttention: orNull(v.Flag), Status: orNull(string(v.Status())), NextActions: []string{}, Ours: v.Ours, Theirs: v.Theirs,
		CreatedAt: moment{v.CreatedAt}.String(),
	}
	if v.ResolvedAt != nil {
		a.Resolution = &resolution{Action: v.Resolved, Actor: v.ResolvedBy, Reason: v.Reason, Outcome: v.ResolutionOutcome, CreatedAt: moment{*v.ResolvedAt}.String()}
	} else if op != nil || v.OperationID == nil {
		a.Remedy = orNull(remedyOf(v, op))
	}
	if op != nil {
		a.NextActions = append(a.NextActions, next...)
	} else if a.Remedy != nil {
		a.NextActions = []string{*a.Remedy}
	}
	return c.render(c.api.verdictType, v.ID, a, v)
}

// verdicts renders rows with their operations, read in a query for each kind.
func (c *call) verdicts(rows []store.VerdictRow) ([]*resource, error) {
	ids := map[models.Kind][]string{}
	for _, v := range rows {
		if v.OperationID != nil && v.Kind != "" {
			ids[v.Kind] = append(ids[v.Kind], *v.OperationID)
		}
	}
	ops, next := map[string]*models.Operation{}, map[string][]string{}
	for kind, of := range ids {
		if !slices.Contains(models.Kinds, kind) {
			continue
		}
		found, err := c.api.store.OperationsBy(c.Context(), c.who.Mode, kind, store.ByID, of, len(of))
		if err != nil {
			return nil, err
		}
		for i := range found {
			ops[found[i].ID] = &found[i]
		}
		can, err := c.nextActions(found)
		if err != nil {
			return nil, err
		}
		maps.Copy(next, can)
	}
	rs := make([]*resource, len(rows))
	for i, v := range rows {
		var op *models.Operation
		var can []string
		if v.OperationID != nil {
			op, can = ops[*v.OperationID], next[*v.OperationID]
		}
		rs[i] = c.verdict(v, op, can)
	}
	return rs, nil
}

func (a *API) verdictResource() *resourceType {
	return &resourceType{
		name: "verdicts", attributes: attributeNames(verdictAttributes{}),
		filters: []string{
			"id_eq", "order_id_eq", "operation_id_eq", "reconciliation_id_eq", "verdict_eq", "verdict_in", "payment_gateway_eq", "status_eq", "currency_code_eq",
			"created_at_gt", "created_at_gteq", "created_at_lt", "created_at_lteq", "amount_cents_gteq", "amount_cents_lteq",
		},
		find: func(c *call, id string) (*resource, error) {
			row, err := c.api.store.Verdict(c.Context(), c.who.Mode, id)
			if err != nil {
				return nil, err
			}
			rs, err := c.verdicts([]store.VerdictRow{row})
			if err != nil {
				return nil, err
			}
			return rs[0], nil
		},
	}
}

func (c *call) listVerdicts() error {
	t := c.api.verdictType
	q, err := readQuery(c.Request, t, true)
	if err != nil {
		return err
	}
	f, err := verdictFilter(q)
	if err != nil {
		return err
	}
	f.Mode = c.who.Mode
	rows, total, err := c.api.store.FindVerdicts(c.Context(), f, q.page)
	if err != nil {
		return err
	}
	rs, err := c.verdicts(rows)
	if err != nil {
		return err
	}
	if total > store.CountLimit {
		return c.listOfMany(rs, q)
	}
	return c.list(t, rs, total, q)
}

// listOfMany answers with a page of a list that was not counted to its end: it
// has a next page while its pages are full, and no last one.
func (c *call) listOfMany(rs []*resource, q query) error {
	pages := max(store.CountLimit/q.page.Size+1, q.page.Number)
	if len(rs) == q.page.Size {
		pages = max(pages, q.page.Number+1)
	}
	l := c.pages(q.page.Number, pages)
	l.Last = ""
	return c.write(200, document{Data: rs, Links: l, Meta: &listMeta{RecordCount: store.CountLimit + 1, PageCount: pages, Estimate: true}})
}

// verdictFilter reads the filters of a list of verdicts. A word that is none is
// refused: an empty list would say that nothing is wrong.
func verdictFilter(q query) (store.VerdictFilter, error) {
	f := store.VerdictFilter{
		ID: q.filters["id_eq"], OrderID: q.filters["order_id_eq"], OperationID: q.filters["operation_id_eq"], ReconciliationID: q.filters["reconciliation_id_eq"],
		Gateway: q.filters["payment_gateway_eq"], CurrencyCode: strings.ToUpper(q.filters["currency_code_eq"]), Newest: q.newest,
	}
	words := strings.Split(q.filters["verdict_in"], ",")
	if v, there := q.filters["verdict_eq"]; there {
		if _, both := q.filters["verdict_in"]; both {
			return f, badFilter("verdict_in", "cannot be sent together with verdict_eq")
		}
		words = []string{v}
	}
	for _, word := range words {
		if word == "" {
			continue
		}
		if !slices.Contains(models.Verdicts, models.Verdict(word)) {
			return f, badFilter("verdict_in", "must name verdicts: "+joined(models.Verdicts))
		}
		f.Verdicts = append(f.Verdicts, models.Verdict(word))
	}
	if f.Status = store.VerdictStatus(q.filters["status_eq"]); f.Status != "" && !slices.Contains(store.VerdictStatuses, f.Status) {
		return f, badFilter("status_eq", "must be one of "+joined(store.VerdictStatuses))
	}
	for name, into := range map[string]**time.Time{"created_at_gt": &f.After, "created_at_gteq": &f.From, "created_at_lt": &f.Before, "created_at_lteq": &f.Until} {
		if text, there := q.filters[name]; there {
			at, err := time.Parse(time.RFC3339, text)
			if err != nil {
				return f, badFilter(name, "must be a time such as 2030-01-31T12:00:00Z")
			}
			*into = &at
		}
	}
	for name, into := range map[string]**int64{"amount_cents_gteq": &f.AtLeast, "amount_cents_lteq": &f.AtMost} {
		if text, there := q.filters[name]; there {
			cents, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return f, badFilter(name, "must be a whole number of the smallest unit")
			}
			*into = &cents
		}
	}
	return f, nil
}

func badFilter(name, detail string) *api.Problem {
	return badParameter("FILTER_NOT_ALLOWED", "filter[q]["+name+"]", detail)
}

func joined[T ~string](words []T) string {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = string(w)
	}
	return strings.Join(texts, ", ")
}
