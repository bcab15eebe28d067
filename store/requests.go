package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// RequestKey names a request that a client may send again: its own key, apart
// for every caller and mode.
type RequestKey struct {
	Caller string
	Mode   models.Mode
	Key    string
	// Fingerprint is the SHA-256 of all that the request asks for.
	Fingerprint []byte
}

// Request is a request under a key: what [Store.BeginRequest] found.
type Request struct {
	ID    string `bun:"id"`
	Tries int    `bun:"tries"`
	// Mine: the caller runs it now, until its lease is over.
	Mine bool `bun:"-"`
	// Same: it asks for what the first one asked for.
	Same bool `bun:"same"`
	// Finished: there is an answer.
	Finished bool `bun:"finished"`
	Answer
}

// Answer is what a client was told.
type Answer struct {
	Status  int             `bun:"status"`
	Headers json.RawMessage `bun:"headers,type:jsonb"`
	Body    []byte          `bun:"body"`
}

const (
	// RequestLife is how long an answer is given again.
	RequestLife = 24 * time.Hour
	// MaxStoredAnswer bounds the stored body, in bytes.
	MaxStoredAnswer = 256 << 10
	// beginTries bounds how often a row is looked for that another removes.
	beginTries = 3
)

// BeginRequest takes a key for lease, by the database's clock, or tells what
// became of it. One statement if the key is free; two if it is taken. A row whose
// lease ran out without an answer belonged to a process that died, or to an
// answer that was not kept: the request runs again.
func (s *Store) BeginRequest(ctx context.Context, k RequestKey, lease time.Duration) (Request, error) {
	for range beginTries {
		r := Request{Mine: true, Same: true}
		err := s.query(ctx, nil, &r, `INSERT INTO api_requests AS r (id, caller, mode, key, fingerprint, lease_until, expires_at)
			VALUES (?, ?, ?, ?, ?, now() + ? * interval '1 microsecond', now() + ? * interval '1 microsecond')
			ON CONFLICT (caller, mode, key) DO UPDATE SET
				tries = r.tries + 1, lease_until = excluded.lease_until,
				id = CASE WHEN r.expires_at <= now() THEN excluded.id ELSE r.id END,
				fingerprint = excluded.fingerprint, finished_at = NULL, status = NULL, headers = NULL, body = NULL,
				created_at = CASE WHEN r.expires_at <= now() THEN now() ELSE r.created_at END,
				expires_at = CASE WHEN r.expires_at <= now() THEN excluded.expires_at ELSE r.expires_at END
			WHERE r.expires_at <= now() OR (r.finished_at IS NULL AND r.lease_until <= now() AND r.fingerprint = excluded.fingerprint)
			RETURNING r.id, r.tries`,
			NewID(), k.Caller, k.Mode, k.Key, k.Fingerprint, lease.Microseconds(), RequestLife.Microseconds())
		if err == nil {
			return r, nil
		}
		if !errors.Is(err, errNoRows) {
			return r, fmt.Errorf("take an idempotency key: %w", err)
		}
		var there Request
		err = s.query(ctx, nil, &there, `SELECT id, tries, fingerprint = ? AS same, finished_at IS NOT NULL AS finished, COALESCE(status, 0) AS status, COALESCE(headers, '{}') AS headers, body
			FROM api_requests WHERE caller = ? AND mode = ? AND key = ?`, k.Fingerprint, k.Caller, k.Mode, k.Key)
		if err == nil {
			return there, nil
		}
		if !errors.Is(err, errNoRows) {
			return there, fmt.Errorf("read an idempotency key: %w", err)
		}
	}
	return Request{}, fmt.Errorf("take an idempotency key: %w", ErrStale)
}

// FinishRequest keeps the answer. One that lost its lease to another run changes
// nothing.
func (s *Store) FinishRequest(ctx context.Context, r Request, a Answer) error {
	_, err := s.exec(ctx, nil, `UPDATE api_requests SET finished_at = now(), status = ?, headers = ?::jsonb, body = ?
		WHERE id = ? AND tries = ? AND finished_at IS NULL`, a.Status, string(a.Headers), a.Body, r.ID, r.Tries)
	if err != nil {
		return fmt.Errorf("keep the answer of request %s: %w", r.ID, err)
	}
	return nil
}

// ReleaseRequest lets the same request run again at once: its answer is not kept.
func (s *Store) ReleaseRequest(ctx context.Context, r Request) error {
	_, err := s.exec(ctx, nil, `UPDATE api_requests SET lease_until = now() WHERE id = ? AND tries = ? AND finished_at IS NULL`, r.ID, r.Tries)
	if err != nil {
		return fmt.Errorf("release request %s: %w", r.ID, err)
	}
	return nil
}

// PruneRequests removes answers that are not given again, and what is remembered
// of their effects, and tells how many answers those were. With dryRun it counts.
func (s *Store) PruneRequests(ctx context.Context, dryRun bool) (n int64, err error) {
	if dryRun {
		err = s.query(ctx, nil, &n, `SELECT count(*) FROM api_requests WHERE expires_at <= now() AND lease_until <= now()`)
	} else {
		n, err = s.exec(ctx, nil, `DELETE FROM api_requests WHERE expires_at <= now() AND lease_until <= now()`)
	}
	if err == nil && !dryRun {
		_, err = s.exec(ctx, nil, `DELETE FROM api_effects AS e WHERE e.created_at < now() - interval '1 hour'
			AND NOT EXISTS (SELECT 1 FROM api_requests AS r WHERE r.id = e.request_id)`)
	}
	if err != nil {
		return 0, fmt.Errorf("remove the answers of old idempotency keys: %w", err)
	}
	return n, nil
}

type requestKeyType struct{}

// WithRequest lets what is made in ctx be remembered under a request's id, so that
// the same request, run again after a crash, finds it. Only what would be made a
// second time is: whatever else a request does is refused or changes nothing by
// the rules of the ledger.
func WithRequest(ctx context.Context, r Request) context.Context {
	return context.WithValue(ctx, requestKeyType{}, run{r.ID, r.Tries})
}

// run is one run of a request; without an id it is one without a key.
type run struct {
	id    string
	tries int
}

func runOf(ctx context.Context) run {
	r, _ := ctx.Value(requestKeyType{}).(run)
	return r
}

// What a request makes that nothing but its key keeps from being made twice.
const (
	// Operations have the name of their kind.
	effectOrder  = "order"
	effectMethod = "payment_method"
)

// effect is what a request makes, and of what.
type effect struct {
	kind, target, order string
}

// made returns the id of what this request made already of the kind: for the same
// target, or in another run for any target of the order. Another run may have
// changed which hold or capture is chosen, and the request asks for no second
// one; one run may well make several. The caller holds the lock that all
// who make such a thing take, or will see the violation of the effects' key.
func (s *Store) made(ctx context.Context, tx Tx, e effect) (string, error) {
	r := runOf(ctx)
	if r.id == "" {
		return "", nil
	}
	var ids []string
	err := s.query(ctx, tx, &ids, `SELECT made FROM api_effects WHERE request_id = ? AND kind = ? AND (target = ? OR order_id = ? AND run <> ?)
		ORDER BY target = ? DESC, made LIMIT 1`, r.id, e.kind, e.target, e.order, r.tries, e.target)
	if err != nil {
		return "", fmt.Errorf("read what the request made: %w", err)
	}
	if len(ids) == 0 {
		return "", nil
	}
	return ids[0], nil
}

// remember keeps what this request makes, in the transaction that makes it.
func (s *Store) remember(ctx context.Context, tx Tx, e effect, id string) error {
	r := runOf(ctx)
	if r.id == "" {
		return nil
	}
	_, err := s.exec(ctx, tx, `INSERT INTO api_effects (request_id, kind, target, order_id, run, made) VALUES (?, ?, ?, ?, ?, ?)`,
		r.id, e.kind, e.target, e.order, r.tries, id)
	if violated(err, "api_effects_pkey") { // another run of the request was faster: this one makes nothing
		return fmt.Errorf("make a second %s for one request: %w", e.kind, ErrStale)
	}
	if err != nil {
		return fmt.Errorf("remember what the request made: %w", err)
	}
	return nil
}

// madeBefore returns the operation that this request made already of target, a
// hold or a capture of the order, or nil. Without an order it is of target alone.
func (s *Store) madeBefore(ctx context.Context, tx Tx, kind models.Kind, target, orderID string) (*models.Operation, error) {
	id, err := s.made(ctx, tx, effect{string(kind), target, orderID})
	if err != nil || id == "" {
		return nil, err
	}
	op, err := s.operation(ctx, tx, kind, id, "")
	return &op, err
}

// remembered is what create returned, remembered for target if it was made.
func (s *Store) remembered(ctx context.Context, tx Tx, target string, op models.Operation, err error) (models.Operation, error) {
	if err == nil {
		err = s.remember(ctx, tx, effect{string(op.Kind), target, op.OrderID}, op.ID)
	}
	return op, err
}

func valueOf(op *models.Operation) models.Operation {
	if op == nil {
		return models.Operation{}
	}
	return *op
}
