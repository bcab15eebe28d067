package commercelayer

import (
	"encoding/json"

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
	OrderID          string          `json:"order_id"`
	ReconciliationID *string         `json:"reconciliation_id"`
	Ours             json.RawMessage `json:"ours"`
	Theirs           json.RawMessage `json:"theirs"`
	CreatedAt        string          `json:"created_at"`
}

func (c *call) verdict(v store.VerdictRow) *resource {
	return c.render(c.api.verdictType, v.ID, verdictAttributes{
		Verdict: string(v.Verdict), Rule: v.Rule, Action: v.Action, Outcome: v.Outcome, Actor: v.Actor, Kind: orNull(string(v.Kind)),
		OperationID: v.OperationID, OrderID: v.OrderID, ReconciliationID: v.ReconciliationID, Ours: v.Ours, Theirs: v.Theirs,
		CreatedAt: moment{v.CreatedAt}.String(),
	}, v)
}

func (a *API) verdictResource() *resourceType {
	return &resourceType{
		name: "verdicts", filters: []string{"id_eq", "order_id_eq", "operation_id_eq", "reconciliation_id_eq", "verdict_eq"},
		find: func(c *call, id string) (*resource, error) {
			rows, _, err := c.api.store.FindVerdicts(c.Context(), store.VerdictFilter{Mode: c.who.Mode, ID: id}, store.Page{Size: 1})
			if err != nil {
				return nil, err
			}
			if id == "" || len(rows) == 0 {
				return nil, api.NotFound("the requested resource was not found")
			}
			return c.verdict(rows[0]), nil
		},
	}
}

func (c *call) listVerdicts() error {
	t := c.api.verdictType
	q, err := readQuery(c.Request, t, true)
	if err != nil {
		return err
	}
	rows, total, err := c.api.store.FindVerdicts(c.Context(), store.VerdictFilter{
		Mode: c.who.Mode, ID: q.filters["id_eq"], OrderID: q.filters["order_id_eq"], OperationID: q.filters["operation_id_eq"],
		ReconciliationID: q.filters["reconciliation_id_eq"], Verdict: models.Verdict(q.filters["verdict_eq"]), Newest: q.newest,
	}, q.page)
	if err != nil {
		return err
	}
	rs := make([]*resource, len(rows))
	for i, row := range rows {
		rs[i] = c.verdict(row)
	}
	return c.list(t, rs, total, q)
}

type reconciliationAttributes struct {
	Source     string          `json:"source"`
	DryRun     bool            `json:"dry_run"`
	StartedAt  string          `json:"started_at"`
	FinishedAt *string         `json:"finished_at"`
	Counts     json.RawMessage `json:"counts"`
}

func (c *call) reconciliation(r store.Reconciliation) *resource {
	return c.render(c.api.reconciliationType, r.ID, reconciliationAttributes{
		Source: r.Source, DryRun: r.DryRun, StartedAt: moment{r.StartedAt}.String(), FinishedAt: momentOrNull(r.FinishedAt), Counts: r.Counts,
	}, r)
}

func (a *API) reconciliationResource() *resourceType {
	return &resourceType{
		name: "reconciliations", modeless: true,
		find: func(c *call, id string) (*resource, error) {
			rows, _, err := c.api.store.Reconciliations(c.Context(), id, true, store.Page{Size: 1})
			if err != nil {
				return nil, err
			}
			if id == "" || len(rows) == 0 {
				return nil, api.NotFound("the requested resource was not found")
			}
			return c.reconciliation(rows[0]), nil
		},
	}
}

func (c *call) listReconciliations() error {
	t := c.api.reconciliationType
	q, err := readQuery(c.Request, t, true)
	if err != nil {
		return err
	}
	rows, total, err := c.api.store.Reconciliations(c.Context(), "", q.newest, q.page)
	if err != nil {
		return err
	}
	rs := make([]*resource, len(rows))
	for i, row := range rows {
		rs[i] = c.reconciliation(row)
	}
	return c.list(t, rs, total, q)
}
