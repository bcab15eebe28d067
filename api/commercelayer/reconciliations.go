package commercelayer

import (
	"encoding/json"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/store"
)

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
