package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/capstan-pay/capstan/models"
)

// Report is one mode's whole state as an operator needs it, of one moment. What
// it costs follows what is open, flagged, found, and was judged in the last day.
type Report struct {
	At time.Time
	// Open groups operations without an outcome by gateway, kind and state.
	Open []Group
	// Flags groups operations that wait for a person by kind and reason, Findings
	// what a gateway listed and no operation of ours explains by verdict.
	Flags, Findings []Group
	// Broken are the invariants that the last audit of a scope found broken.
	Broken []BrokenInvariant
	// Done groups the verdicts of the last day by kind and verdict.
	Done []Group
	// Applied and Dismissed count what people made of verdicts in the last day.
	Applied, Dismissed int
	// People are at most [ReportRows] of the PeopleCount things that need a person.
	People      []Call
	PeopleCount int
	// AtRisk is what ends within 48 and within 24 hours and is not captured.
	AtRisk   []AtRisk
	Gateways []GatewayStand
	Backlog  Backlog
	// Sweep is the last one that ended; nil before the first. Audits are the last of each scope.
	Sweep  *Reconciliation
	Audits []AuditReport
}

// ReportRows is how many things that need a person a report lists.
const ReportRows = 50

// reportNames is how many ids a group names.
const reportNames = 5

// Sum is money of one currency.
type Sum struct {
	CurrencyCode string
	AmountCents  int64
}

// Group is a line of a report.
type Group struct {
	Gateway string       `bun:"gateway"`
	Kind    models.Kind  `bun:"kind"`
	State   models.State `bun:"state"`
	// Name is the reason of a flag, or a verdict.
	Name  string `bun:"name"`
	Count int64  `bun:"count"`
	// Due counts what is due now, Things different operations or findings.
	Due    int64     `bun:"due"`
	Things int64     `bun:"things"`
	Oldest time.Time `bun:"oldest"`
	IDs    []string  `bun:"ids,array"`
	Sums   []Sum     `bun:"-"`
	Sum    `bun:",extend"`
}

// merged joins the lines of one group that differ in currency alone. They come
// one after the other.
func merged(lines []Group) []Group {
	groups := []Group{}
	for _, l := range lines {
		n := len(groups)
		if n == 0 || groups[n-1].Gateway != l.Gateway || groups[n-1].Kind != l.Kind || groups[n-1].State != l.State || groups[n-1].Name != l.Name {
			groups, n = append(groups, Group{Gateway: l.Gateway, Kind: l.Kind, State: l.State, Name: l.Name, Oldest: l.Oldest}), n+1
		}
		g := &groups[n-1]
		g.Count, g.Due, g.Things = g.Count+l.Count, g.Due+l.Due, g.Things+l.Things
		if l.Oldest.Before(g.Oldest) {
			g.Oldest = l.Oldest
		}
		g.IDs = append(g.IDs, l.IDs...)
		if l.CurrencyCode != "" {
			g.Sums = append(g.Sums, l.Sum)
		}
	}
	for i := range groups {
		slices.Sort(groups[i].IDs)
		groups[i].IDs = groups[i].IDs[:min(len(groups[i].IDs), reportNames)]
	}
	return groups
}

// Call is one thing that needs a person: an operation with a flag, or a verdict
// about something that no operation of ours explains.
type Call struct {
	OperationID *string      `bun:"operation_id"`
	Kind        models.Kind  `bun:"kind"`
	State       models.State `bun:"state"`
	OrderID     *string      `bun:"order_id"`
	Gateway     string       `bun:"gateway"`
	AmountCents *int64       `bun:"amount_cents"`
	// Confirmed is what the gateway says it moved.
	ConfirmedCents *int64 `bun:"confirmed_cents"`
	CurrencyCode   string `bun:"currency_code"`
	// Flag is why the operation waits; empty without one.
	Flag    string         `bun:"flag"`
	Verdict models.Verdict `bun:"verdict"`
	Rule    string         `bun:"rule"`
	Since   time.Time      `bun:"since"`
	// Deadline is when the hold that was warned of ends.
	Deadline *time.Time `bun:"deadline"`
	// VerdictIDs can be applied or dismissed. A flag from before verdicts were kept has none.
	VerdictIDs []string `bun:"verdict_ids,array"`
	Total      int      `bun:"total"`
}

// GatewayStand is how one account stands.
type GatewayStand struct {
	Slug           string     `bun:"slug"`
	Provider       string     `bun:"provider"`
	PausedAt       *time.Time `bun:"paused_at"`
	PausedReason   string     `bun:"paused_reason"`
	LookFirstUntil *time.Time `bun:"look_first_until"`
	// ListedThrough is how far its own listing was compared; nil for never.
	ListedThrough *time.Time `bun:"listed_through"`
}

// Backlog is what waits besides operations. It belongs to the deployment, not to
// a mode.
type Backlog struct {
	Unpublished int64      `bun:"unpublished"`
	WebhooksIn  int64      `bun:"webhooks_in"`
	OldestIn    *time.Time `bun:"oldest_in"`
	WebhooksOut int64      `bun:"webhooks_out"`
	OrdersDue   int64      `bun:"orders_due"`
	OldestDueAt *time.Time `bun:"oldest_due"`
}

// BrokenInvariant is one that the last audit of a scope found broken.
type BrokenInvariant struct {
	Invariant
	Scope AuditScope
	At    time.Time
}

// Report reads the report of a mode, all of it as of one moment.
func (s *Store) Report(ctx context.Context, mode models.Mode) (Report, error) {
	var r Report
	err := s.db.RunInTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, func(ctx context.Context, tx bun.Tx) (err error) {
		r = Report{}
		if r.At, err = s.Now(ctx, tx); err != nil {
			return err
		}
		for _, part := range []struct {
			what string
			read func(context.Context, Tx, models.Mode, *Report) error
		}{
			{"what is open", s.reportOpen}, {"what is wrong", s.reportWrong}, {"what was done", s.reportDone}, {"what needs a person", s.reportPeople},
			{"what ends soon", s.reportAtRisk}, {"the gateways", s.reportGateways}, {"the last runs", s.reportRuns},
		} {
			if err := part.read(ctx, tx, mode, &r); err != nil {
				return fmt.Errorf("report %s: %w", part.what, err)
			}
		}
		return nil
	})
	return r, err
}

// reportOpen reads the work table, and the operation of each row by its id: with
// OFFSET no plan begins at the operations, of which there are many more.
func (s *Store) reportOpen(ctx context.Context, tx Tx, mode models.Mode, r *Report) error {
	var lines []Group
	err := s.query(ctx, tx, &lines, `SELECT g.slug AS gateway, o.kind, o.state, o.currency_code, count(*) AS count, sum(o.amount_cents)::bigint AS amount_cents,
			min(o.created_at) AS oldest, count(*) FILTER (WHERE w.due_at <= now()) AS due, '' AS name, 0 AS things, NULL::text[] AS ids
		FROM work AS w CROSS JOIN LATERAL (SELECT o.* FROM operations AS o WHERE o.id = w.operation_id AND o.kind = w.kind OFFSET 0) AS o
		JOIN payment_gateways AS g ON g.id = o.payment_gateway_id
		WHERE o.mode = ? GROUP BY g.slug, o.kind, o.state, o.currency_code ORDER BY g.slug, o.kind, o.state, o.currency_code`, mode)
	if err != nil {
		return err
	}
	r.Open = merged(lines)
	return s.query(ctx, tx, &r.Backlog, `SELECT (SELECT count(*) FROM work WHERE published_at IS NULL) AS unpublished,
			i.webhooks_in, i.oldest_in, (SELECT count(*) FROM deliveries WHERE delivered_at IS NULL AND given_up_at IS NULL) AS webhooks_out, k.orders_due, k.oldest_due
		FROM (SELECT count(*) AS webhooks_in, min(received_at) AS oldest_in FROM inbox WHERE processed_at IS NULL) AS i,
			(SELECT count(*) AS orders_due, min(due_at) AS oldest_due FROM order_checks WHERE due_at <= now()) AS k`)
}

func (s *Store) reportWrong(ctx context.Context, tx Tx, mode models.Mode, r *Report) error {
	var lines []Group
	err := s.query(ctx, tx, &lines, `SELECT '' AS gateway, o.kind, '' AS state, o.needs_attention AS name, o.currency_code, count(*) AS count, sum(o.amount_cents)::bigint AS amount_cents,
			min(o.created_at) AS oldest, 0 AS due, count(*) AS things, (array_agg(o.id::text ORDER BY o.id))[1:?] AS ids
		FROM operations AS o WHERE o.needs_attention IS NOT NULL AND o.mode = ?
		GROUP BY o.kind, o.needs_attention, o.currency_code ORDER BY o.kind, o.needs_attention, o.currency_code`, reportNames, mode)
	if err != nil {
		return err
	}
	r.Flags, lines = merged(lines), nil
	err = s.query(ctx, tx, &lines, `SELECT COALESCE(g.slug, '') AS gateway, v.kind, '' AS state, v.verdict AS name, COALESCE(v.currency_code, '') AS currency_code, count(*) AS count,
			COALESCE(sum(v.amount_cents), 0)::bigint AS amount_cents, min(v.created_at) AS oldest, 0 AS due, count(*) AS things, (array_agg(v.id::text ORDER BY v.id))[1:?] AS ids
		FROM verdicts AS v LEFT JOIN payment_gateways AS g ON g.id = v.payment_gateway_id
		WHERE v.finding IS NOT NULL AND v.verdict IN `+callsPerson+` AND v.mode = ? AND NOT EXISTS (SELECT 1 FROM resolutions AS x WHERE x.verdict_id = v.id)
		GROUP BY g.slug, v.kind, v.verdict, v.currency_code ORDER BY g.slug, v.kind, v.verdict, v.currency_code`, reportNames, mode)
	r.Findings = merged(lines)
	return err
}

// reportDone counts the verdicts of the last day. An operation that was judged
// the same several times is one thing, and its money is counted once.
func (s *Store) reportDone(ctx context.Context, tx Tx, mode models.Mode, r *Report) error {
	var lines []Group
	err := s.query(ctx, tx, &lines, `SELECT '' AS gateway, kind, '' AS state, verdict AS name, COALESCE(currency_code, '') AS currency_code, sum(said)::bigint AS count,
			COALESCE(sum(amount_cents), 0)::bigint AS amount_cents, min(oldest) AS oldest, 0 AS due, count(*) AS things, NULL::text[] AS ids
		FROM (SELECT v.kind, v.verdict, v.currency_code, COALESCE(v.operation_id, v.id) AS thing, count(*) AS said, max(v.amount_cents) AS amount_cents, min(v.created_at) AS oldest
			FROM verdicts AS v WHERE v.created_at > now() - interval '1 day' AND `+verdictMode+` AND v.verdict NOT IN ('in_sync', 'wait')
			GROUP BY v.kind, v.verdict, v.currency_code, COALESCE(v.operation_id, v.id)) AS t
		GROUP BY kind, verdict, currency_code ORDER BY kind, verdict, currency_code`, mode, mode)
	if err != nil {
		return err
	}
	r.Done = merged(lines)
	var counts struct {
		Applied   int `bun:"applied"`
		Dismissed int `bun:"dismissed"`
	}
	err = s.query(ctx, tx, &counts, `SELECT count(*) FILTER (WHERE x.action = 'applied') AS applied, count(*) FILTER (WHERE x.action = 'dismissed') AS dismissed
		FROM resolutions AS x JOIN verdicts AS v ON v.id = x.verdict_id WHERE x.created_at > now() - interval '1 day' AND `+verdictMode, mode, mode)
	r.Applied, r.Dismissed = counts.Applied, counts.Dismissed
	return err
}

// reportPeople lists flagged operations with their open verdicts, and open
// verdicts whose operation has no flag or that have none.
func (s *Store) reportPeople(ctx context.Context, tx Tx, mode models.Mode, r *Report) error {
	var flagged, lone []Call
	err := s.query(ctx, tx, &flagged, `SELECT o.id AS operation_id, o.kind, o.state, o.order_id, g.slug AS gateway, o.amount_cents, o.confirmed_cents, o.currency_code,
			o.needs_attention AS flag, COALESCE(v.verdict, '') AS verdict, COALESCE(v.rule, '') AS rule, COALESCE(v.created_at, o.updated_at) AS since, NULL::timestamptz AS deadline,
			COALESCE(f.ids, '{}') AS verdict_ids, count(*) OVER () AS total
		FROM operations AS o JOIN payment_gateways AS g ON g.id = o.payment_gateway_id
		LEFT JOIN LATERAL (SELECT n.id, n.verdict, n.rule, n.created_at FROM verdicts AS n WHERE n.operation_id = o.id AND n.verdict IN `+callsPerson+`
			ORDER BY n.created_at DESC, n.id DESC LIMIT 1) AS v ON true
		CROSS JOIN LATERAL (SELECT array_agg(n.id::text ORDER BY n.created_at DESC, n.id) AS ids FROM verdicts AS n
			WHERE n.operation_id = o.id AND (n.id = v.id OR n.finding IS NOT NULL AND n.verdict IN `+callsPerson+`) AND NOT EXISTS (SELECT 1 FROM resolutions AS x WHERE x.verdict_id = n.id)) AS f
		WHERE o.needs_attention IS NOT NULL AND o.mode = ? AND (v.id IS NULL OR f.ids IS NOT NULL)
		ORDER BY since, o.id LIMIT ?`, mode, ReportRows)
	if err != nil {
		return err
	}
	err = s.query(ctx, tx, &lone, `SELECT v.operation_id, v.kind, COALESCE(o.state, '') AS state, v.order_id, COALESCE(g.slug, '') AS gateway, v.amount_cents, o.confirmed_cents,
			COALESCE(v.currency_code, '') AS currency_code, '' AS flag, v.verdict, v.rule, v.created_at AS since, k.deadline, ARRAY[v.id::text] AS verdict_ids, count(*) OVER () AS total
		FROM open_verdicts AS w JOIN verdicts AS v ON v.id = w.verdict_id LEFT JOIN operations AS o ON o.id = v.operation_id
		LEFT JOIN payment_gateways AS g ON g.id = v.payment_gateway_id LEFT JOIN order_checks AS k ON k.order_id = v.order_id AND v.verdict = 'expiring' AND v.finding IS NULL
		WHERE `+verdictMode+` AND o.needs_attention IS NULL ORDER BY k.deadline NULLS LAST, since, v.id LIMIT ?`, mode, mode, ReportRows)
	if err != nil {
		return err
	}
	for _, calls := range [][]Call{lone, flagged} { // what has a deadline comes first
		if len(calls) > 0 {
			r.PeopleCount += calls[0].Total
		}
		r.People = append(r.People, calls...)
	}
	r.People = r.People[:min(len(r.People), ReportRows)]
	return nil
}

func (s *Store) reportAtRisk(ctx context.Context, tx Tx, mode models.Mode, r *Report) (err error) {
	r.AtRisk, err = s.valueAtRisk(ctx, tx, mode)
	return err
}

func (s *Store) reportGateways(ctx context.Context, tx Tx, mode models.Mode, r *Report) error {
	return s.query(ctx, tx, &r.Gateways, `SELECT g.slug, g.provider, g.paused_at, COALESCE(g.paused_reason, '') AS paused_reason,
			CASE WHEN g.look_first_until > now() THEN g.look_first_until END AS look_first_until, l.listed_through
		FROM payment_gateways AS g LEFT JOIN listings AS l ON l.payment_gateway_id = g.id WHERE g.mode = ? ORDER BY g.slug`, mode)
}

// reportRuns reads the last sweep and the last audits.
func (s *Store) reportRuns(ctx context.Context, tx Tx, _ models.Mode, r *Report) error {
	var sweeps []Reconciliation
	err := s.query(ctx, tx, &sweeps, `SELECT `+s.columns(Reconciliation{}, "r")+` FROM reconciliations AS r WHERE r.finished_at IS NOT NULL AND r.source !~ '^(listing|report) ' ORDER BY r.started_at DESC LIMIT 1`)
	if err != nil {
		return err
	}
	if len(sweeps) > 0 {
		r.Sweep = &sweeps[0]
	}
	if r.Audits, err = s.lastAudits(ctx, tx); err != nil {
		return err
	}
	for _, a := range r.Audits {
		for _, i := range a.Invariants {
			if i.BrokenCount > 0 {
				r.Broken = append(r.Broken, BrokenInvariant{Invariant: i, Scope: a.Scope, At: a.FinishedAt})
			}
		}
	}
	return nil
}
