package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/capstan-pay/capstan/models"
)

// Sweep is one reconciliation pass over open work. It calls no gateway: what is
// due is published again, and the claim looks.
type Sweep struct {
	Owner  string
	Source string // schedule, command, or a person
	DryRun bool
	// CancelAfter is how long an open order's total must have stood before a
	// captured payment that does not fit it is given back.
	CancelAfter time.Duration
	// Now is the time to judge by; the zero time means the database's.
	Now time.Time
}

// lease is who holds the sweep's lease: a run and not its worker, who may be
// asked for two at once.
func (sw Sweep) lease(run string) string { return sw.Owner + " " + run }

// Finding is one thing that a sweep saw.
type Finding struct {
	OperationID string         `bun:"operation_id" json:"operation_id,omitempty"`
	Kind        models.Kind    `bun:"kind" json:"kind,omitempty"`
	OrderID     string         `bun:"order_id" json:"order_id"`
	State       models.State   `bun:"state" json:"state,omitempty"`
	Version     int64          `bun:"version" json:"version,omitempty"`
	Verdict     models.Verdict `bun:"-" json:"verdict"`
	Rule        string         `bun:"-" json:"rule"`
	Since       time.Time      `bun:"since" json:"since,omitzero"`
}

// SweepReport is what a sweep found and did.
type SweepReport struct {
	ID       string                 `json:"id,omitempty"`
	DryRun   bool                   `json:"dry_run"`
	Counts   map[models.Verdict]int `json:"counts"`
	Findings []Finding              `json:"findings"`
}

// ErrSweeping: another process sweeps right now.
var ErrSweeping = errors.New("another sweep is running")

const sweepLease = "sweep"

// sweepBatch bounds one statement, so that a large backlog is many short
// transactions and not a long one.
const sweepBatch = 500

// RunSweep takes the sweep's lease, works open rows and orders, and writes the
// run. A process that dies in the middle leaves finished batches behind and a
// lease that runs out.
func (s *Store) RunSweep(ctx context.Context, sw Sweep) (SweepReport, error) {
	report := SweepReport{DryRun: sw.DryRun, Counts: map[models.Verdict]int{}, Findings: []Finding{}}
	if sw.Now.IsZero() {
		now, err := s.Now(ctx, nil)
		if err != nil {
			return report, err
		}
		sw.Now = now
	}
	if sw.DryRun {
		err := s.survey(ctx, sw, &report)
		return report, err
	}
	run := NewID()
	n, err := s.exec(ctx, nil, `INSERT INTO leases AS l (name, owner, lease_until) VALUES (?, ?, now() + ? * interval '1 microsecond')
		ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, lease_until = excluded.lease_until WHERE l.lease_until < now()`,
		sweepLease, sw.lease(run), s.tempo.Of(2*time.Minute).Microseconds())
	if err != nil {
		return report, fmt.Errorf("take the lease of the sweep: %w", err)
	}
	if n == 0 {
		return report, ErrSweeping
	}
	report.ID = run
	if _, err := s.exec(ctx, nil, `INSERT INTO reconciliations (id, source) VALUES (?, ?)`, report.ID, sw.Source); err != nil {
		return report, fmt.Errorf("begin a reconciliation: %w", err)
	}
	err = errors.Join(s.republish(ctx, sw, &report), s.redeliver(ctx), s.reviewDue(ctx, sw, &report), s.tendPartitions(ctx))
	return report, errors.Join(err, s.endSweep(ctx, sw, report))
}

func (s *Store) endSweep(ctx context.Context, sw Sweep, report SweepReport) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.tempo.RecordTimeout())
	defer cancel()
	counts, err := json.Marshal(report.Counts)
	if err != nil {
		return fmt.Errorf("encode the counts of a sweep: %w", err)
	}
	if _, err := s.exec(ctx, nil, `UPDATE reconciliations SET finished_at = now(), counts = ? WHERE id = ?`, string(counts), report.ID); err != nil {
		return fmt.Errorf("end reconciliation %s: %w", report.ID, err)
	}
	_, err = s.exec(ctx, nil, `DELETE FROM leases WHERE name = ? AND owner = ?`, sweepLease, sw.lease(report.ID))
	return err
}

// overdueWhen is [models.Overdue] as a condition on a row o, its work w and its
// account g: a test compares the two.
const overdueWhen = `w.published_at IS NOT NULL AND w.due_at <= now() AND g.paused_at IS NULL
	  AND w.published_at <= now() - ?1 * interval '1 microsecond'
	  AND (CASE WHEN o.state = 'capturing' THEN o.lease_until < now() ELSE w.due_at <= now() - ?0 * interval '1 microsecond' END)
	  AND (o.state <> 'pending' OR o.needs_attention IS NULL OR o.look_first)`

// overdue selects published work that no living task can be working on: a lease
// that ran out, or a due row whose task is long late. Rows that wait for a
// person and accounts that are paused are left alone. ?0 and ?1 are the grace
// and the republish pause in microseconds.
//
// The operation is looked up from its work row, and never the other way round,
// whatever the planner believes, and by its id alone, for which there is one index:
// a plan made while the ledger was empty would read all of it for ever after.
const overdue = `FROM work AS w
	CROSS JOIN LATERAL (SELECT p.* FROM operations AS p WHERE p.id = w.operation_id OFFSET 0) AS o
	JOIN payment_gateways AS g ON g.id = o.payment_gateway_id
	WHERE o.kind = w.kind AND ` + overdueWhen + `
	ORDER BY w.deadline NULLS LAST, w.operation_id LIMIT ?2`

func overdueRule(state models.State) string {
	_, rule := models.OverdueRule(state)
	return rule
}

// republishWork publishes a batch of overdue work again, each with its verdict.
const republishWork = `WITH late AS (
		SELECT o.id, o.kind, o.order_id, o.mode, o.payment_gateway_id, o.amount_cents, o.currency_code, o.state, o.version, w.due_at ` + overdue + ` FOR UPDATE OF w SKIP LOCKED
	), again AS (
		UPDATE work AS w SET alone = true, generation = w.generation + 1, published_at = NULL FROM late WHERE w.operation_id = late.id RETURNING w.generation
	), said AS (
		INSERT INTO verdicts (id, reconciliation_id, operation_id, kind, order_id, mode, payment_gateway_id, amount_cents, currency_code, verdict, rule, action, outcome, actor, ours)
		SELECT gen_random_uuid(), ?3::uuid, late.id, late.kind, late.order_id, late.mode, late.payment_gateway_id, late.amount_cents, late.currency_code, 'republish', ?4::text || late.state, 'published', late.state, ?5::text,
		       jsonb_build_object('state', late.state, 'version', late.version, 'due_at', late.due_at)
		FROM late
	) SELECT id AS operation_id, kind, order_id, state, version, due_at AS since FROM late, (SELECT count(*) FROM again) AS n`

func (s *Store) republish(ctx context.Context, sw Sweep, report *SweepReport) error {
	for {
		var found []Finding
		// With a pinned plan: planning it anew takes longer the larger the ledger is.
		err := s.patient.query(ctx, &found, republishWork,
			s.tempo.DueGrace().Microseconds(), s.tempo.RepublishAfter().Microseconds(), sweepBatch, report.ID, "no task can be alive: ", clean(sw.Owner))
		if err != nil {
			return fmt.Errorf("republish overdue work: %w", err)
		}
		for _, f := range found {
			f.Verdict, f.Rule = models.Republish, overdueRule(f.State)
			report.add(f)
		}
		if len(found) < sweepBatch {
			return nil
		}
	}
}

func (r *SweepReport) add(f Finding) {
	r.Counts[f.Verdict]++
	r.Findings = append(r.Findings, f)
}

// survey is the dry run: what a sweep would find, without touching anything.
func (s *Store) survey(ctx context.Context, sw Sweep, report *SweepReport) error {
	var found []Finding
	err := s.query(ctx, nil, &found, `SELECT o.id AS operation_id, o.kind, o.order_id, o.state, o.version, w.due_at AS since `+overdue,
		s.tempo.DueGrace().Microseconds(), s.tempo.RepublishAfter().Microseconds(), 100_000)
	if err != nil {
		return fmt.Errorf("survey overdue work: %w", err)
	}
	for _, f := range found {
		f.Verdict, f.Rule = models.Republish, overdueRule(f.State)
		report.add(f)
	}
	ids, err := s.dueChecks(ctx, 100_000)
	if err != nil {
		return err
	}
	for _, id := range ids {
		review, order, err := s.reviewOf(ctx, nil, id, sw)
		if err != nil {
			return err
		}
		for _, n := range append(review.Needs, review.Withheld...) {
			report.add(Finding{OperationID: n.CaptureID, Kind: n.Kind, OrderID: order.ID, Verdict: n.Verdict, Rule: n.Rule})
		}
		if d := review.Difference; d != nil {
			report.add(Finding{OperationID: d.CaptureID, Kind: models.Capture, OrderID: order.ID, State: models.Succeeded, Verdict: models.NeedsAttention, Rule: d.Rule})
		}
		for _, w := range review.Warnings {
			report.add(Finding{OrderID: order.ID, Verdict: models.Expiring, Rule: w.Rule})
		}
		for range review.Expired {
			report.add(Finding{OrderID: order.ID, Verdict: models.Expiring, Rule: models.RuleHoldExpired})
		}
	}
	return nil
}

const checksDue = `SELECT order_id FROM order_checks WHERE due_at <= now() ORDER BY due_at LIMIT ?0`

func (s *Store) dueChecks(ctx context.Context, limit int) ([]string, error) {
	var ids []string
	if err := s.query(ctx, nil, &ids, checksDue, limit); err != nil {
		return nil, fmt.Errorf("list orders to review: %w", err)
	}
	return ids, nil
}

const redeliverLate = `UPDATE deliveries AS d SET generation = generation + 1, published_at = NULL FROM webhooks AS h
	WHERE h.id = d.webhook_id AND h.disabled_at IS NULL AND delivered_at IS NULL AND given_up_at IS NULL AND published_at <= now() - ?0 * interval '1 microsecond'
	  AND due_at <= now() - ?1 * interval '1 microsecond'`

// redeliver publishes outgoing webhooks again whose task is long late.
func (s *Store) redeliver(ctx context.Context) error {
	_, err := s.exec(ctx, nil, redeliverLate, s.tempo.RepublishAfter().Microseconds(), s.tempo.RepublishAfter().Microseconds())
	if err != nil {
		return fmt.Errorf("republish late webhooks: %w", err)
	}
	return nil
}

// Settled returns those of ids, with their versions at the time of a sweep,
// that moved on since or wait for a later time: what `reconcile --once` waits for.
func (s *Store) Settled(ctx context.Context, findings []Finding) (map[string]models.State, error) {
	settled := map[string]models.State{}
	for _, kind := range models.Kinds {
		var ids []string
		var versions []int64
		for _, f := range findings {
			if f.Kind == kind && f.OperationID != "" && f.Version > 0 {
				ids, versions = append(ids, f.OperationID), append(versions, f.Version)
			}
		}
		if len(ids) == 0 {
			continue
		}
		var rows []struct {
			ID    string       `bun:"id"`
			State models.State `bun:"state"`
		}
		err := s.query(ctx, nil, &rows, `SELECT o.id, o.state FROM unnest(?::uuid[], ?::bigint[]) AS f (id, version)
			JOIN `+tables[kind]+` AS o ON o.id = f.id WHERE o.version > f.version AND o.state <> 'capturing'`, pgdialect.Array(ids), pgdialect.Array(versions))
		if err != nil {
			return nil, fmt.Errorf("see what became of %d %ss: %w", len(ids), kind, err)
		}
		for _, r := range rows {
			settled[r.ID] = r.State
		}
	}
	return settled, nil
}
