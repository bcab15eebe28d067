package store

import (
	"context"
	"strconv"
	"strings"

	"github.com/capstan-pay/capstan/models"
)

// DropIdleChecks is the part of a sweep that ends reviews of finished orders.
func (s *Store) DropIdleChecks(ctx context.Context) error { return s.dropIdleChecks(ctx) }

// PlanSettings are the settings of the connections that batches run on.
func PlanSettings() map[string]string { return planSettings }

// BatchStatements are the statements whose plans are pinned, as Postgres reads
// them, by what they do.
func (s *Store) BatchStatements() map[string]string {
	all := map[string]string{"record captures": numbered(applyStatements[models.Capture]), "publish overdue work again": numbered(republishWork)}
	for kind, statements := range s.claims {
		all["take "+tables[kind]] = numbered(statements[0])
		all["send "+tables[kind]+" after a look"] = numbered(statements[1])
	}
	return all
}

// SweepStatement is what a sweep asks the ledger, as Postgres reads it.
type SweepStatement struct {
	What   string
	SQL    string
	Args   []any
	Pinned bool // by [PlanSettings]
}

// SweepStatements are those that find what is stuck. With nothing stuck they are
// all of a sweep but its own row.
func (s *Store) SweepStatements() []SweepStatement {
	grace, again := s.tempo.DueGrace().Microseconds(), s.tempo.RepublishAfter().Microseconds()
	return []SweepStatement{
		{"publish overdue work again", numbered(republishWork), []any{grace, again, sweepBatch, NewID(), "no task can be alive: ", "bench"}, true},
		{"drop the reviews of finished orders", numbered(dropIdle), []any{idleBatch}, false},
		{"list orders to review", numbered(checksDue), []any{sweepBatch}, false},
		{"publish late webhooks again", numbered(redeliverLate), []any{again, again}, false},
	}
}

// OverdueAmong selects by the sweep's own condition among rows given as (number,
// state, needs_attention, look_first, paused_at, published_at, due_at, lease_until).
func OverdueAmong(t models.Tempo, rows string) string {
	condition := strings.NewReplacer("?0", strconv.FormatInt(t.DueGrace().Microseconds(), 10), "?1", strconv.FormatInt(t.RepublishAfter().Microseconds(), 10)).Replace(overdueWhen)
	return `SELECT o.n FROM (` + rows + `) AS o (n, state, needs_attention, look_first, paused_at, published_at, due_at, lease_until)
		CROSS JOIN LATERAL (SELECT o.published_at, o.due_at) AS w CROSS JOIN LATERAL (SELECT o.paused_at) AS g WHERE ` + condition
}

// ListingQueries are what a page of a gateway's list asks of the ledger, with
// values put in.
func ListingQueries(values map[string]string) map[string]string {
	with := func(sql string, names ...string) string {
		for i := len(names) - 1; i >= 0; i-- {
			sql = strings.ReplaceAll(sql, "?"+strconv.Itoa(i), values[names[i]])
		}
		return "SELECT 1" + sql
	}
	const unlisted = "AND NOT EXISTS (SELECT 1 FROM listing_seen AS n WHERE n.operation_id = o.id)"
	values["limit"], values["kind"] = "200", "0"
	return map[string]string{
		"holds by the gateway's id": with(holdsListed, "account", "holds"), "holds by the id before a renewal": with(holdsBefore, "account", "holds"),
		"holds by our reference": with(holdsNamed, "account", "references"), "refunds of holds": with(refundsListed, "hold ids"),
		"captures of holds":    `SELECT 1 FROM captures AS o WHERE o.authorization_id = ANY (` + values["hold ids"] + `)`,
		"captures without one": with(successesOf(models.Capture, unlisted), "first", "last", "account", "from", "until", "limit"),
		"refunds without one":  with(successesOf(models.Refund, unlisted), "first", "last", "account", "from", "until", "limit"),
		"a finding":            `SELECT 1 FROM verdicts WHERE finding = 'stripe:txn_1:forward'`,
	}
}
