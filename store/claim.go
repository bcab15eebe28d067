package store

import (
	"context"
	_ "embed"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/capstan-pay/capstan/models"
)

// Claim is an operation that this process holds under a lease, with what a
// gateway call needs to know. Its Version is the fence: whatever is recorded
// names it, and is refused when the row has moved on.
type Claim struct {
	// Operation has what a call and its judgement need to know. Labels, messages
	// and times of what is past are left in the ledger.
	models.Operation
	// Look: it may have been sent before, so it is looked up before anything.
	Look bool `bun:"look"`
	// Account is the slug of the payment gateway.
	Account            string     `bun:"account"`
	Hold               string     `bun:"hold"`
	HoldCents          int64      `bun:"hold_cents"`
	HoldConfirmedCents int64      `bun:"hold_confirmed_cents"`
	HoldBefore         *time.Time `bun:"hold_before"`
	HoldClosed         bool       `bun:"hold_closed"`
	// HoldEstimate is when a hold like this one ends as a rule. It moves looks only.
	HoldEstimate *time.Time `bun:"hold_estimate"`
	MultiCapture bool       `bun:"multi_capture"`
	// Asked is how many operations of this kind were ever asked of the hold.
	Asked int `bun:"asked"`
	// CaptureAsked: a capture was ever asked of the hold.
	CaptureAsked bool `bun:"capture_asked"`
	// Capture is the gateway's id of the capture a refund returns.
	Capture string `bun:"capture_transaction"`
	// CaptureCents is what that capture took.
	CaptureCents int64 `bun:"capture_cents"`
	// CaptureGone: all of it has gone back already.
	CaptureGone bool `bun:"capture_gone"`
	// MaySend: nothing stood against a send when the claim was made.
	MaySend bool `bun:"may_send"`
	Closing bool `bun:"closing"`
	// NoneSince is the latest moment, beside the last send, that a look must be
	// well after for "none" to be proof: the start of the look-first mode, or when
	// something that happened without us was adopted. Nil where there is none.
	NoneSince *time.Time `bun:"none_since"`
	// Now is the database's time of the claim.
	Now time.Time `bun:"db_now"`
	// LeaseEnds is the lease's end by this process's monotonic clock, counted
	// from before the claim was asked for, so never too late.
	LeaseEnds time.Time `bun:"-"`
	// InBatch is set by whoever claimed for a task of several captures, which does
	// not come again for one of them: what stays open goes on as a task of its own.
	InBatch bool `bun:"-"`
}

//go:embed claim.sql
var claimSQL string

// tables maps a kind to its table.
var tables = map[models.Kind]string{models.Capture: "captures", models.Refund: "refunds", models.Void: "voids"}

// sendable is what must hold, per kind, for something to be sent. ?3 is the
// budget in microseconds. What was adopted happened at the gateway without us:
// it is recorded with proof, and never sent. Of a capture that the gateway took
// back nothing is returned: see models.Operation.TakenBackFlag.
var sendable = map[models.Kind]string{
	models.Capture: `(o.needs_attention IS NULL AND o.not_before <= now() AND o.cause <> 'adopted' AND a.closed_at IS NULL
        AND (a.capture_before IS NULL OR a.capture_before > now() + ?3 * interval '1 microsecond')
        AND r.status <> 'cancelled' AND r.cancel_requested_at IS NULL AND r.version = o.order_version)`,
	models.Refund: `(o.needs_attention IS NULL AND o.not_before <= now() AND o.cause <> 'adopted' AND EXISTS (SELECT 1 FROM captures AS c
        WHERE c.id = o.capture_id AND c.state = 'succeeded' AND COALESCE(c.needs_attention NOT IN ('reversed', 'partly_reversed'), true)))`,
	models.Void: `(o.needs_attention IS NULL AND o.not_before <= now() AND o.cause <> 'adopted' AND a.closed_at IS NULL)`,
}

// sends says that a claim from the open is one to send. What was never sent is,
// unless a hint, or a restore of this database, casts doubt on that.
const sends = `(o.sent_version IS NULL AND NOT o.look_first AND NOT ` + restored + `)`

// takeGuard lets a row be taken: due, not leased, its gateway not paused; fit to
// be sent if it never was, else fit to be looked up. After a hint it is looked
// up whatever its time. A flagged pending row has nothing to look up and waits
// for a person.
const takeGuard = `g.paused_at IS NULL
      AND CASE WHEN o.state = 'capturing' THEN o.lease_until < now()
               WHEN o.state IN ('pending', 'submitted', 'unknown') THEN o.next_at <= now() OR (o.state = 'pending' AND o.look_first)
               ELSE false END
      AND CASE WHEN ` + sends + ` THEN ?sendable
               ELSE o.look_first OR o.state <> 'pending' OR o.needs_attention IS NULL END`

// sendGuard lets a claim that looked go on to send: still ours, and everything
// that a send needs checked afresh.
const sendGuard = `g.paused_at IS NULL AND o.version = want.version AND o.state = 'capturing' AND ?sendable`

// lookedParts close the look that a send follows: its attempt, and the verdict
// with what the gateway said.
const lookedParts = `, looked AS (
    INSERT INTO attempt_results (operation_id, version, outcome, status, error_code, request_id)
    SELECT want.id, want.version, ?6, ?7, ?8, ?9 FROM want JOIN taken AS o ON o.id = want.id
    ON CONFLICT DO NOTHING
), judged AS (
    INSERT INTO verdicts (id, operation_id, kind, order_id, mode, payment_gateway_id, amount_cents, currency_code, verdict, rule, action, outcome, actor, ours, theirs)
    SELECT gen_random_uuid(), o.id, o.kind, o.order_id, o.mode, o.payment_gateway_id, o.amount_cents, o.currency_code, ?10, ?11, 'sent again', o.state, ?4,
           jsonb_build_object('state', 'capturing', 'version', want.version, 'amount_cents', o.amount_cents, 'currency_code', o.currency_code,
                              'reference', o.gateway_reference), ?12::jsonb
    FROM want JOIN taken AS o ON o.id = want.id
)`

// claimColumns are the columns of an operation that a claim brings along: for
// batches of hundreds the rest would cost as much as the claim.
const claimColumns = `o.kind, o.id, o.mode, o.number, o.order_id, o.authorization_id, o.payment_gateway_id, o.capture_id, o.cause, o.gateway_reference, o.key_epoch,
       o.amount_cents, o.currency_code, o.confirmed_cents, o.reserved_cents, o.refund_requested_cents, o.order_version, o.state, o.version,
       o.sent_version, o.last_sent_at, o.look_first, o.replayed, o.lease_until, o.lease_owner, o.not_before, o.tries, o.look_ups, o.unsent,
       o.unknown_since, o.needs_attention, o.gateway_transaction_id`

const claimFacts = `g.slug AS account, a.gateway_transaction_id AS hold, a.amount_cents AS hold_cents,
       a.confirmed_cents AS hold_confirmed_cents, a.capture_before AS hold_before, a.estimated_before AS hold_estimate, a.closed_at IS NOT NULL AS hold_closed,
       a.multi_capture, ?capture AS capture_transaction, ?taken AS capture_cents, ?gone AS capture_gone,
       CASE o.kind WHEN 'capture' THEN a.capture_sequence WHEN 'refund' THEN a.refund_sequence ELSE a.void_sequence END AS asked, a.capture_sequence > 0 AS capture_asked,
       CASE WHEN o.cause = 'adopted' THEN greatest(o.created_at, g.look_first_since) ELSE g.look_first_since END AS none_since,
       ?sendable AS may_send, (r.status = 'cancelled' OR r.cancel_requested_at IS NOT NULL) AS closing, now() AS db_now`

// claimStatements writes both statements of each kind: to take from the open,
// and to send after a look.
func claimStatements() map[models.Kind][2]string {
	statements := map[models.Kind][2]string{}
	for _, kind := range models.Kinds {
		statements[kind] = [2]string{claimStatement(kind, true), claimStatement(kind, false)}
	}
	return statements
}

func claimStatement(kind models.Kind, takes bool) string {
	guard, sending, first, looks, looked := sendGuard, "true", "false", "false", lookedParts
	locked, orders := `, locked AS (
    SELECT r.* FROM orders AS r WHERE r.id IN (SELECT o.order_id FROM want JOIN ?table AS o ON o.id = want.id) FOR SHARE
)`, "locked"
	if takes {
		locked, orders = "", "orders"
		guard, sending, looked = takeGuard, sends, ""
		first = "(o.look_first OR (o.sent_version IS NULL AND " + restored + "))"
		looks = "(o.sent_version IS DISTINCT FROM o.version)" // of the row as it is after the update
	}
	sql := strings.NewReplacer("?guard", guard, "?sends", sending, "?first", first, "?locked", locked, "?orders", orders, "?looks", looks, "?looked", looked, "?facts", claimFacts).Replace(stripComments(claimSQL))
	capture, taken, gone := "''", "0::bigint", "false"
	if kind == models.Refund {
		taken = "COALESCE((SELECT c.confirmed_cents FROM captures AS c WHERE c.id = o.capture_id), 0)"
		gone = "EXISTS (SELECT 1 FROM captures AS c WHERE c.id = o.capture_id AND c.state IN ('reversed', 'reset'))"
		capture = "COALESCE((SELECT c.gateway_transaction_id FROM captures AS c WHERE c.id = o.capture_id), '')"
	}
	return strings.NewReplacer("?table", tables[kind], "?sendable", sendable[kind], "?taken", taken, "?gone", gone, "?capture", capture, "?columns", claimColumns).Replace(sql)
}

// stripComments drops the comment above a statement: bun reads question marks.
func stripComments(sql string) string {
	var kept []string
	for line := range strings.Lines(sql) {
		if !strings.HasPrefix(strings.TrimSpace(line), "--") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// columns lists the columns of a row type under an alias, never a star.
func (s *Store) columns(row any, alias string) string {
	var names []string
	for _, f := range s.db.Dialect().Tables().Get(reflect.TypeOf(row)).Fields {
		names = append(names, alias+"."+string(f.SQLName))
	}
	return strings.Join(names, ", ")
}

// ClaimAll takes those of ids that are due and free, in one commit, and returns
// them. Which of them are missing, and why, is what [Store.WhyNot] tells. If
// the process dies after the commit, the lease runs out and the sweep brings
// the rows back, to be looked up first.
func (s *Store) ClaimAll(ctx context.Context, kind models.Kind, ids []string, owner string) ([]Claim, error) {
	return s.claim(ctx, s.patient, kind, ids, make([]int64, len(ids)), owner, nil)
}

// ClaimSend turns a claim that looked, and found conclusively nothing, into one
// that may send: a new version, a new lease, the intent committed, and what the
// look found beside it. It returns ErrStale when the row moved on or something
// now stands against sending.
func (s *Store) ClaimSend(ctx context.Context, look Outcome) (Claim, error) {
	c := look.Claim
	again, err := s.claim(ctx, s.patient, c.Kind, []string{c.ID}, []int64{c.Version}, look.Worker, &look)
	if err != nil {
		return Claim{}, err
	}
	if len(again) == 0 {
		return Claim{}, fmt.Errorf("%s %s: %w before it could be sent again", c.Kind, c.ID, ErrStale)
	}
	again[0].InBatch = c.InBatch
	return again[0], nil
}

// claim takes from the open, or after a look to send.
func (s *Store) claim(ctx context.Context, on *pinned, kind models.Kind, ids []string, versions []int64, owner string, look *Outcome) ([]Claim, error) {
	args := []any{
		uuidArray(ids), intArray(versions), s.tempo.Lease().Microseconds(), s.tempo.Budget().Microseconds(), clean(owner),
		(s.tempo.Lease() - s.tempo.Budget() - s.tempo.SendMargin()).Microseconds(),
	}
	if look != nil {
		ev, d := look.Evidence, look.Decision
		args = append(args, ev.Outcome.String(), ev.Status, clean(ev.ErrorCode), clean(ev.RequestID), string(d.Verdict), d.Rule, string(cleanEvidence(ev).JSON()))
	}
	before := time.Now()
	var claims []Claim
	err := s.retry(ctx, func() error {
		claims = nil
		return on.query(ctx, &claims, s.claims[kind][count(look != nil)], args...)
	})
	if err != nil {
		return nil, fmt.Errorf("claim %d %ss: %w", len(ids), kind, err)
	}
	for i := range claims {
		claims[i].LeaseEnds = before.Add(s.tempo.Lease())
	}
	return claims, nil
}

// uuidArray writes ids as an array literal. What is no id makes it one that no
// row has: the caller is told that there is nothing to take.
func uuidArray(ids []string) string {
	valid := make([]string, len(ids))
	for i, id := range ids {
		if valid[i] = id; !ValidID(id) {
			valid[i] = uuid.Nil.String()
		}
	}
	return "{" + strings.Join(valid, ",") + "}"
}

// intArray writes numbers as an array literal.
func intArray(ns []int64) string {
	text := []byte{'{'}
	for i, n := range ns {
		if i > 0 {
			text = append(text, ',')
		}
		text = strconv.AppendInt(text, n, 10)
	}
	return string(append(text, '}'))
}

// retry repeats a single statement that a deadlock ended.
func (s *Store) retry(ctx context.Context, fn func() error) error {
	var err error
	for range transactionTries {
		if err = fn(); !repeatable(err) || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// Enough reports whether the lease still covers a call and its margin. A send
// without it could land after someone else has taken the row.
func (c Claim) Enough(t models.Tempo) bool {
	return time.Until(c.LeaseEnds) > t.Budget()+t.SendMargin()
}

// Facts are what [models.Judge] needs to know about a claim.
func (c Claim) Facts(t models.Tempo, settleAfter time.Duration, replaysErrors bool) models.Facts {
	f := models.Facts{
		Tempo: t, Now: c.Now, Fenced: true, MaySend: c.MaySend, Closing: c.Closing, CaptureGone: c.CaptureGone, ReplaysErrors: replaysErrors,
		HoldEnded:         c.HoldClosed || (c.HoldBefore != nil && c.HoldBefore.Before(c.Now.Add(t.HoldMargin()))),
		HoldOver:          c.HoldEstimate != nil && c.HoldEstimate.Before(c.Now),
		HoldLeftConfirmed: c.HoldCents - c.HoldConfirmedCents,
		NoneConclusive:    true,
	}
	if last := latest(c.LastSentAt, c.NoneSince); last != nil {
		settles := last.Add(t.Budget() + t.Of(settleAfter))
		f.NoneConclusive = !c.Now.Before(settles)
		f.NoneSettlesIn = settles.Sub(c.Now)
	}
	return f
}

// KeyAge is how long ago something was sent, or may have been, under an
// idempotency key of an operation for the first time, by the database's clock;
// zero when nothing was. What a restore lost may be as old as the operation.
func (s *Store) KeyAge(ctx context.Context, id, key string) (time.Duration, error) {
	var age float64
	err := s.db.NewRaw(`SELECT COALESCE(extract(epoch FROM now() - CASE WHEN o.created_at < g.look_first_since AND COALESCE(t.first >= g.look_first_since, true)
			THEN o.created_at ELSE t.first END), 0)::float8
		FROM operations AS o JOIN payment_gateways AS g ON g.id = o.payment_gateway_id CROSS JOIN
			(SELECT min(claimed_at) AS first FROM attempts WHERE operation_id = ?0 AND call = 'send' AND idempotency_key = ?1) AS t
		WHERE o.id = ?0`, id, key).Scan(ctx, &age)
	if err != nil {
		return 0, fmt.Errorf("read when %s was first sent under its key: %w", id, err)
	}
	return time.Duration(age * float64(time.Second)), nil
}

// latest is the later of two moments, either of which may be missing.
func latest(a, b *time.Time) *time.Time {
	if a == nil || b != nil && b.After(*a) {
		return b
	}
	return a
}
