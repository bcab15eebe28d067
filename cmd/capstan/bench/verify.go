package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/capstan-pay/capstan/devstack/meter"
	"github.com/capstan-pay/capstan/gateway/till"
	"github.com/capstan-pay/capstan/store"
)

// proof is one count that has to come out, over the captures of this run: those
// from $1 on, since a ledger may hold others before them.
type proof struct {
	what, sql string
	want      func(e expected) int
}

// expected is what the failure plan makes of the captures.
type expected struct {
	all, succeeded, failed int
	// certain: no call failed, so each capture was claimed exactly once.
	certain bool
}

var proofs = []proof{
	{"captures succeeded", "SELECT count(*) FROM captures WHERE id >= $1 AND state = 'succeeded' AND confirmed_cents = amount_cents AND finished_at IS NOT NULL", func(e expected) int { return e.succeeded }},
	{"captures failed", "SELECT count(*) FROM captures WHERE id >= $1 AND state = 'failed' AND error_code IS NOT NULL AND reserved_cents = 0", func(e expected) int { return e.failed }},
	{"captures flagged", "SELECT count(*) FROM captures WHERE id >= $1 AND needs_attention IS NOT NULL", func(expected) int { return 0 }},
	{"gateway ids", "SELECT count(DISTINCT gateway_transaction_id) FROM captures WHERE id >= $1 AND state = 'succeeded'", func(e expected) int { return e.succeeded }},
	{"confirmed events", "SELECT count(*) FROM events WHERE operation_id >= $1 AND event = 'confirmed'", func(e expected) int { return e.succeeded }},
	{"refused events", "SELECT count(*) FROM events WHERE operation_id >= $1 AND event = 'refused'", func(e expected) int { return e.failed }},
	{"attempts without a result", `SELECT count(*) FROM attempts AS a WHERE a.operation_id >= $1
		AND NOT EXISTS (SELECT 1 FROM attempt_results AS r WHERE r.operation_id = a.operation_id AND r.version = a.version)`, func(expected) int { return 0 }},
	{"captures without an attempt", `SELECT count(*) FROM captures AS c WHERE c.id >= $1
		AND NOT EXISTS (SELECT 1 FROM attempts AS a WHERE a.operation_id = c.id)`, func(expected) int { return 0 }},
	{"steps without their row", `SELECT count(*) FROM captures AS c WHERE c.id >= $1 AND c.version <>
		(SELECT count(*) FROM events WHERE operation_id = c.id) + (SELECT count(*) FROM attempts WHERE operation_id = c.id)`, func(expected) int { return 0 }},
	{"orders paid", `SELECT count(*) FROM orders AS o JOIN captures AS c ON c.order_id = o.id WHERE c.id >= $1
		AND o.payment_status = 'paid' AND o.live_cents = 0 AND o.live_operations = 0 AND o.captured_cents = c.confirmed_cents`, func(e expected) int { return e.succeeded }},
	{"orders with work left", `SELECT count(*) FROM orders AS o JOIN captures AS c ON c.order_id = o.id WHERE c.id >= $1
		AND (o.live_cents <> 0 OR o.live_operations <> 0)`, func(expected) int { return 0 }},
	{"holds captured", `SELECT count(*) FROM authorizations AS a JOIN captures AS c ON c.authorization_id = a.id WHERE c.id >= $1
		AND a.closed_reason = 'captured' AND a.live_operation_id IS NULL AND a.confirmed_cents = c.confirmed_cents`, func(e expected) int { return e.succeeded }},
	{"open work", "SELECT count(*) FROM work WHERE operation_id >= $1", func(expected) int { return 0 }},
}

// certainProofs hold where no call failed: every row exactly once.
var certainProofs = []proof{
	{"attempts", "SELECT count(*) FROM attempts WHERE operation_id >= $1", func(e expected) int { return e.all }},
	{"attempt results", "SELECT count(*) FROM attempt_results WHERE operation_id >= $1 AND outcome = 'confirmed' AND NOT fenced", func(e expected) int { return e.all }},
	{"captures at version 3", "SELECT count(*) FROM captures WHERE id >= $1 AND version = 3", func(e expected) int { return e.all }},
}

// ErrUnproven is how a run fails that worked, but not right.
var ErrUnproven = errors.New("the run's rows are not as they must be")

// verify compares every row of a run with what it has to be, and the gateway's
// own book with the ledger. first is the run's first capture.
func verify(ctx context.Context, target string, c Case, n int, first string, r meter.Report) (err error) {
	conn, err := pgx.Connect(ctx, target)
	if err != nil {
		return fmt.Errorf("connect to verify: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	e, wrong, err := expect(ctx, conn, c, first)
	if err != nil {
		return err
	}
	if e.all != n {
		wrong = append(wrong, fmt.Sprintf("captures: %d, not %d", e.all, n))
	}
	checks := proofs
	if e.certain {
		checks = append(append([]proof{}, proofs...), certainProofs...)
	}
	for _, p := range checks {
		var got int
		if err := conn.QueryRow(ctx, p.sql, first).Scan(&got); err != nil {
			return fmt.Errorf("verify %s: %w", p.what, err)
		}
		if want := p.want(e); got != want {
			wrong = append(wrong, fmt.Sprintf("%s: %d, not %d", p.what, got, want))
		}
	}
	if inProcess := !c.Sandbox && c.Name != caseMemory; inProcess && (r.Booked != e.succeeded || r.Twice != 0) {
		wrong = append(wrong, fmt.Sprintf("the gateway's book: %d taken, not %d, and %d twice", r.Booked, e.succeeded, r.Twice))
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%s: %w: %s", c.Name, ErrUnproven, strings.Join(wrong, "; "))
	}
	return nil
}

// expect reads every capture of the run and compares its end with its fate.
func expect(ctx context.Context, conn *pgx.Conn, c Case, first string) (expected, []string, error) {
	e, plan := expected{certain: c.FailuresPerMille == 0}, till.Plan{PerMille: c.FailuresPerMille}
	wrongEnds, wrongIDs := 0, 0
	rows, err := conn.Query(ctx, "SELECT gateway_reference, state, COALESCE(gateway_transaction_id, '') FROM captures WHERE id >= $1", first)
	if err != nil {
		return e, nil, fmt.Errorf("read the captures: %w", err)
	}
	var reference, state, id string
	_, err = pgx.ForEachRow(rows, []any{&reference, &state, &id}, func() error {
		e.all++
		want := "succeeded"
		if plan.Fate(reference) == till.Refused {
			want = "failed"
			e.failed++
		} else {
			e.succeeded++
		}
		if state != want {
			wrongEnds++
		}
		if want == "succeeded" && !c.Sandbox && id != till.TransactionID(reference) {
			wrongIDs++
		}
		return nil
	})
	if err != nil {
		return e, nil, fmt.Errorf("read the captures: %w", err)
	}
	var wrong []string
	if wrongEnds > 0 || wrongIDs > 0 {
		wrong = append(wrong, fmt.Sprintf("%d captures ended otherwise than planned, %d under another id of the gateway's", wrongEnds, wrongIDs))
	}
	return e, wrong, nil
}

// audit has the whole ledger checked as `capstan audit` does.
func audit(ctx context.Context, target string, c Case) error {
	s, err := store.Open(ctx, target, store.Options{MaxConns: 2})
	if err != nil {
		return err
	}
	invariants, err := s.Audit(ctx)
	if err = errors.Join(err, s.Close()); err != nil {
		return err
	}
	for _, i := range invariants {
		if i.BrokenCount > 0 {
			return fmt.Errorf("%s: %w: %s (%s) is broken by %d, among them %s", c.Name, ErrUnproven, i.ID, i.Rule, i.BrokenCount, strings.Join(i.Broken, ", "))
		}
	}
	return nil
}

// firstCapture is where this run's captures begin: the oldest that is open.
func firstCapture(ctx context.Context, target string) (id string, err error) {
	conn, err := pgx.Connect(ctx, target)
	if err != nil {
		return "", fmt.Errorf("connect to verify: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	err = conn.QueryRow(ctx, "SELECT COALESCE(min(operation_id::text), '00000000-0000-0000-0000-000000000000') FROM work").Scan(&id)
	if err != nil {
		return "", fmt.Errorf("find the run's first capture: %w", err)
	}
	return id, nil
}
