package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/capstan-pay/capstan/models"
)

// After a restore this database does not know what happened between the moment
// it was restored to and the end of the one before it. What it believes was
// never sent may have been: it is looked up first. References are derived, so
// that the look finds what a lost row did.

// restored says of an operation o of the account g that this database may have
// been restored since something was sent for it. What was restored stays in
// doubt until it is looked up; what is made anew, an order that the shop sends
// again say, is in doubt while the mode lasts.
const restored = `COALESCE(g.look_first_until > now() OR o.created_at < g.look_first_since, false)`

// proven says that a pending operation's last step was a look that conclusively
// found nothing: whatever was in doubt before it is settled.
const proven = `(o.state = 'pending' AND EXISTS (
	SELECT 1 FROM attempts AS t JOIN attempt_results AS u ON u.operation_id = t.operation_id AND u.version = t.version
	WHERE t.operation_id = o.id AND t.version = o.version - 1 AND t.call = 'look_up' AND u.outcome IN ('none', 'declined')))`

// weigh completes what the rows of pending captures say about what was sent for
// them. Those in doubt after a restore are marked to be looked up first, in
// memory. It returns those of which a look proved that nothing has an effect:
// they may be withdrawn, sent before or not.
func (s *Store) weigh(ctx context.Context, tx Tx, captures []models.Operation) (map[string]bool, error) {
	at := map[string]int{}
	ids := make([]string, 0, len(captures))
	for i, c := range captures {
		if c.State == models.Pending {
			at[c.ID], ids = i, append(ids, c.ID)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	var rows []struct {
		ID       string `bun:"id"`
		Restored bool   `bun:"restored"`
		Proven   bool   `bun:"proven"`
	}
	err := s.query(ctx, tx, &rows, `SELECT o.id, `+restored+` AS restored, `+proven+` AS proven
		FROM captures AS o JOIN payment_gateways AS g ON g.id = o.payment_gateway_id WHERE o.id = ANY(?::uuid[])`, uuidArray(ids))
	if err != nil {
		return nil, fmt.Errorf("weigh what was sent for %d captures: %w", len(ids), err)
	}
	settled := map[string]bool{}
	for _, r := range rows {
		c := &captures[at[r.ID]]
		settled[r.ID] = r.Proven
		c.LookFirst = c.LookFirst || r.Restored && !r.Proven
	}
	return settled, nil
}

// OpenOutcome is an operation that may have been sent and has no outcome.
type OpenOutcome struct {
	models.Operation
	// Account is the slug of its payment gateway.
	Account string `bun:"account"`
}

// OpenOutcomes lists the operations of an order whose outcome is open, the
// oldest first, at most limit: those that may have been sent, under nobody's
// lease, without a look since that proved something, of gateways that may be
// asked.
func (s *Store) OpenOutcomes(ctx context.Context, mode models.Mode, orderID string, limit int) ([]OpenOutcome, error) {
	if !ValidID(orderID) {
		return nil, fmt.Errorf("order %q: %w", orderID, ErrNotFound)
	}
	var ops []OpenOutcome
	err := s.query(ctx, nil, &ops, `SELECT `+s.columns(models.Operation{}, "o")+`, g.slug AS account
		FROM operations AS o JOIN payment_gateways AS g ON g.id = o.payment_gateway_id
		WHERE o.order_id = ? AND o.mode = ? AND g.paused_at IS NULL AND o.state IN `+live+`
		  AND CASE o.state WHEN 'pending' THEN (o.sent_version IS NOT NULL OR o.look_first OR `+restored+`) AND NOT `+proven+`
		                   WHEN 'capturing' THEN o.lease_until < now() ELSE true END
		ORDER BY o.id LIMIT ?`, orderID, mode, limit)
	if err != nil {
		return nil, fmt.Errorf("list the open outcomes of order %s: %w", orderID, err)
	}
	return ops, nil
}

// LookFirst begins the look-first mode of an account, or with slug "" of all,
// until a moment, and ends it with the zero moment. While it lasts, everything
// is looked up before it is sent, and a look that finds nothing is proof only
// well after its begin: a call made before the restore may still land. It
// returns the accounts as they are now.
//
// No operation is changed. The open work is published anew, under names that no
// Redis remembers, whatever happened to it before the restore.
func (s *Store) LookFirst(ctx context.Context, slug string, until time.Time, actor string) ([]models.PaymentGateway, error) {
	var accounts []models.PaymentGateway
	err := s.InTx(ctx, func(ctx context.Context, tx Tx) (err error) {
		accounts, err = s.lookFirst(ctx, tx, slug, until, actor)
		return err
	})
	if err != nil || until.IsZero() {
		return accounts, err
	}
	return accounts, s.rename(ctx, accounts)
}

func (s *Store) lookFirst(ctx context.Context, tx Tx, slug string, until time.Time, actor string) ([]models.PaymentGateway, error) {
	var end *time.Time
	action, rule := "look_first_off", "nothing is doubted any more for a restore"
	if !until.IsZero() {
		end, action = &until, "look_first_on"
		rule = "after a restore: whatever this database believes was never sent is looked up first, until " + until.UTC().Format(time.RFC3339)
	}
	var accounts []models.PaymentGateway
	err := s.query(ctx, tx, &accounts, `WITH changed AS (
			UPDATE payment_gateways AS g SET look_first_since = CASE WHEN ?0::timestamptz IS NULL THEN NULL ELSE now() END, look_first_until = ?0::timestamptz, updated_at = now()
			WHERE ?1 IN ('', g.slug) RETURNING `+s.columns(models.PaymentGateway{}, "g")+`
		), said AS (
			INSERT INTO verdicts (id, mode, payment_gateway_id, verdict, rule, action, outcome, actor)
			SELECT gen_random_uuid(), g.mode, g.id, ?2, ?3, ?4, 'done', ?5 FROM changed AS g
		) SELECT * FROM changed ORDER BY slug`, end, slug, models.Wait, rule, action, actor)
	if err != nil {
		return nil, fmt.Errorf("set the look-first mode: %w", err)
	}
	if len(accounts) == 0 && slug != "" {
		return nil, fmt.Errorf("payment gateway %q: %w", slug, ErrNotFound)
	}
	return accounts, nil
}

// renameBatch is how much open work one statement names anew.
const renameBatch = 5000

// rename publishes the open work of accounts anew, under generations that were
// never used. A Redis that was not restored knows tasks of generations that this
// database has forgotten: it would take the next ones for those, and an
// archived one would block its name. Generations count up from one, so the
// minutes of the calendar are beyond all of them, and a later restore's are
// beyond an earlier one's. Dying in the middle leaves the rest to the sweep,
// which gets past each name in turn.
func (s *Store) rename(ctx context.Context, accounts []models.PaymentGateway) error {
	now, err := s.Now(ctx, nil)
	if err != nil {
		return err
	}
	ids := make([]string, len(accounts))
	for i, g := range accounts {
		ids[i] = g.ID
	}
	for last := "00000000-0000-0000-0000-000000000000"; ; {
		var done []string
		err := s.query(ctx, nil, &done, `WITH part AS (
				SELECT w.operation_id FROM work AS w WHERE w.operation_id > ?::uuid AND w.payment_gateway_id = ANY(?::uuid[])
				ORDER BY w.operation_id LIMIT ? FOR UPDATE
			), renamed AS (
				UPDATE work AS w SET generation = greatest(w.generation + 1, ?), published_at = NULL FROM part WHERE w.operation_id = part.operation_id
			) SELECT operation_id FROM part ORDER BY operation_id`, last, pgdialect.Array(ids), renameBatch, now.Unix()/60)
		if err != nil {
			return fmt.Errorf("publish the open work anew: %w", err)
		}
		if len(done) < renameBatch {
			return nil
		}
		last = done[len(done)-1]
	}
}

// LookingFirst lists the accounts whose look-first mode is on.
func (s *Store) LookingFirst(ctx context.Context) ([]models.PaymentGateway, error) {
	var gs []models.PaymentGateway
	err := s.query(ctx, nil, &gs, `SELECT `+s.columns(models.PaymentGateway{}, "g")+` FROM payment_gateways AS g WHERE g.look_first_until > now() ORDER BY g.slug`)
	if err != nil {
		return nil, fmt.Errorf("list the accounts that look first: %w", err)
	}
	return gs, nil
}

// Origin tells one run of a database from another: every cluster has its own
// identifier, and a restore to a point in time, like a promotion, begins a new
// timeline.
type Origin struct {
	SystemIdentifier int64 `bun:"system_identifier"`
	Timeline         int64 `bun:"timeline_id"`
}

func (o Origin) String() string {
	return fmt.Sprintf("system %d, timeline %d", o.SystemIdentifier, o.Timeline)
}

// ErrOriginHidden: the server does not tell its origin to this role. A restore
// cannot be noticed then.
var ErrOriginHidden = errors.New("the server does not tell which timeline it is on")

// origin asks for the timeline that is being written: the control file learns of
// a new one only with the first checkpoint after a promotion.
func (s *Store) origin(ctx context.Context) (Origin, error) {
	var o Origin
	err := s.query(ctx, nil, &o, `SELECT system_identifier, ('x' || lpad(substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), 16, '0'))::bit(64)::bigint AS timeline_id
		FROM pg_control_system()`)
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return o, fmt.Errorf("%w: %s", ErrOriginHidden, pg.Message)
	}
	if err != nil {
		return o, fmt.Errorf("read the server's timeline: %w", err)
	}
	return o, nil
}

// Restoration is what [Store.NoticeRestore] found.
type Restoration struct {
	Before, Now Origin
	// Accounts are those that look first from now on.
	Accounts []models.PaymentGateway
}

// NoticeRestore compares where this database comes from with what was noted in
// it last. When that differs it was restored, or a standby was promoted, and
// commits may be missing: every account looks first for a while. It returns nil
// when nothing changed; of several callers, one gets the answer.
func (s *Store) NoticeRestore(ctx context.Context, lookFor time.Duration, actor string) (*Restoration, error) {
	now, err := s.origin(ctx)
	if err != nil {
		return nil, err
	}
	noted, err := s.noted(ctx, nil, "")
	if err == nil && noted == now {
		return nil, nil
	}
	var found *Restoration
	if err == nil || errors.Is(err, ErrNotFound) {
		err = s.InTx(ctx, func(ctx context.Context, tx Tx) (err error) {
			found, err = s.note(ctx, tx, now, lookFor, actor)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("compare the origin of this database with the one noted: %w", err)
	}
	if found == nil {
		return nil, nil
	}
	return found, s.rename(ctx, found.Accounts)
}

func (s *Store) noted(ctx context.Context, tx Tx, lock string) (Origin, error) {
	var o Origin
	err := s.one(ctx, tx, &o, "the origin of this database", `SELECT system_identifier, timeline_id FROM origin`+lock)
	return o, err
}

// note writes where the database comes from. If that was noted otherwise, every
// account looks first.
func (s *Store) note(ctx context.Context, tx Tx, now Origin, lookFor time.Duration, actor string) (*Restoration, error) {
	isNew, err := s.exec(ctx, tx, `INSERT INTO origin (system_identifier, timeline_id) VALUES (?, ?) ON CONFLICT DO NOTHING`, now.SystemIdentifier, now.Timeline)
	if err != nil || isNew == 1 {
		return nil, err
	}
	before, err := s.noted(ctx, tx, " FOR UPDATE")
	if err != nil || before == now {
		return nil, err
	}
	at, err := s.Now(ctx, tx)
	if err != nil {
		return nil, err
	}
	found := &Restoration{Before: before, Now: now}
	if found.Accounts, err = s.lookFirst(ctx, tx, "", at.Add(lookFor), actor); err != nil {
		return nil, err
	}
	_, err = s.exec(ctx, tx, `UPDATE origin SET system_identifier = ?, timeline_id = ?, noted_at = now()`, now.SystemIdentifier, now.Timeline)
	return found, err
}
