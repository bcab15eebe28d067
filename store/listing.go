package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// ErrListing: another process compares this account's list right now, or took
// over after this one's lease ran out.
var ErrListing = errors.New("another process compares this account's list")

// ListingSpan says which time a run compares. All of it is closed: nothing that
// the gateway books from now on belongs to it.
type ListingSpan struct {
	// Settle is how long ago a window ends at the latest.
	Settle time.Duration
	// Overlap is how far a window reaches back into the one before.
	Overlap time.Duration
	// Longest bounds a window, so that a run that dies repeats little.
	Longest time.Duration
	// First is how far back an account's first window begins.
	First time.Duration
}

// ListingRun is one run over an account's own list, under a lease. It goes from
// window to window; what was compared is durable page by page.
type ListingRun struct {
	ID        string // of the reconciliation; empty in a dry run
	GatewayID string
	Slug      string
	Mode      models.Mode
	Counts    map[models.Verdict]int

	owner string
	span  ListingSpan
	now   time.Time
}

// ListingWindow is a stretch of time of a run.
type ListingWindow struct {
	// From and Until are what is listed; the window's own part begins at Begin.
	From, Begin, Until time.Time
	Cursor             string
	// Paged: every page was compared.
	Paged bool
	// Moved is when a page was last turned.
	Moved time.Time
}

const listingLease = "listing "

// BeginListing takes the lease of an account's listing and writes the run.
func (s *Store) BeginListing(ctx context.Context, slug, owner, source string, span ListingSpan) (*ListingRun, error) {
	g, err := s.GatewayBySlug(ctx, slug)
	if err != nil {
		return nil, err
	}
	now, err := s.Now(ctx, nil)
	if err != nil {
		return nil, err
	}
	run := &ListingRun{ID: NewID(), GatewayID: g.ID, Slug: slug, Mode: g.Mode, Counts: map[models.Verdict]int{}, span: span, now: now}
	run.owner = owner + " " + run.ID
	if err := s.beginListing(ctx, run, g, source); err != nil {
		if errors.Is(err, ErrListing) {
			return nil, err
		}
		// The lease may have been taken, though the caller has gone and was not told.
		return nil, errors.Join(err, s.leaveListing(ctx, run))
	}
	return run, nil
}

// beginListing takes the lease and writes what begins.
func (s *Store) beginListing(ctx context.Context, run *ListingRun, g models.PaymentGateway, source string) error {
	n, err := s.exec(ctx, nil, `INSERT INTO leases AS l (name, owner, lease_until) VALUES (?, ?, now() + ? * interval '1 microsecond')
		ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, lease_until = excluded.lease_until WHERE l.lease_until < now()`,
		listingLease+run.Slug, run.owner, s.listingLease().Microseconds())
	if err != nil {
		return fmt.Errorf("take the lease of the listing of %s: %w", run.Slug, err)
	}
	if n == 0 {
		return fmt.Errorf("%s: %w", run.Slug, ErrListing)
	}
	if _, err := s.exec(ctx, nil, `INSERT INTO reconciliations (id, source) VALUES (?, ?)`, run.ID, source); err != nil {
		return fmt.Errorf("begin the listing of %s: %w", run.Slug, err)
	}
	_, err = s.exec(ctx, nil, `INSERT INTO listings (payment_gateway_id, listed_through) VALUES (?, ?) ON CONFLICT DO NOTHING`,
		g.ID, later(run.now.Add(-run.span.Settle-run.span.First), g.CreatedAt.Add(-run.span.Overlap)).Truncate(time.Second))
	if err != nil {
		return fmt.Errorf("begin the listing of %s: %w", run.Slug, err)
	}
	return nil
}

// later is the later of two moments: what was booked before we knew an account
// is nothing of ours.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// listingLease outlasts a page that is asked for several times at a slow
// gateway. It is renewed with every page, and before everything that is done.
func (s *Store) listingLease() time.Duration { return s.tempo.Of(5 * time.Minute) }

// NextWindow returns the window to compare: the one that a run before left, or
// a new one; nil when nothing more is closed.
func (s *Store) NextWindow(ctx context.Context, run *ListingRun) (*ListingWindow, error) {
	var row struct {
		Through time.Time  `bun:"listed_through"`
		From    *time.Time `bun:"window_from"`
		Until   *time.Time `bun:"window_until"`
		Cursor  string     `bun:"cursor"`
		Paged   bool       `bun:"paged"`
		Moved   time.Time  `bun:"updated_at"`
	}
	err := s.one(ctx, nil, &row, "the listing of "+run.Slug, `SELECT listed_through, window_from, window_until, cursor, paged, updated_at FROM listings WHERE payment_gateway_id = ?`, run.GatewayID)
	if err != nil {
		return nil, err
	}
	if row.From != nil && row.Until != nil {
		return &ListingWindow{From: row.From.UTC(), Begin: row.Through.UTC(), Until: row.Until.UTC(), Cursor: row.Cursor, Paged: row.Paged, Moved: row.Moved}, nil
	}
	until := run.now.Add(-run.span.Settle).Truncate(time.Second)
	if longest := row.Through.Add(run.span.Longest); longest.Before(until) {
		until = longest
	}
	if !until.After(row.Through) {
		return nil, nil
	}
	w := &ListingWindow{From: row.Through.Add(-run.span.Overlap).UTC(), Begin: row.Through.UTC(), Until: until.UTC(), Moved: run.now}
	err = s.turn(ctx, run, `UPDATE listings SET window_from = ?, window_until = ?, cursor = '', paged = false, entries = 0, updated_at = now() WHERE payment_gateway_id = ?`,
		w.From, w.Until, run.GatewayID)
	if err != nil {
		return nil, err
	}
	return w, nil
}

// KeepListing renews the run's lease, and says ErrListing when it was lost:
// another run compares the same window, and this one must stop.
func (s *Store) KeepListing(ctx context.Context, run *ListingRun) error { return s.turn(ctx, run, "") }

// TurnPage notes that a page of so many lines was compared. Next is where the
// following page begins; empty after the last.
func (s *Store) TurnPage(ctx context.Context, run *ListingRun, next string, lines int) error {
	return s.turn(ctx, run, `UPDATE listings SET cursor = ?, paged = ?, entries = entries + ?, updated_at = now() WHERE payment_gateway_id = ?`,
		next, next == "", lines, run.GatewayID)
}

// seenFor is how long it is remembered which line explained which operation.
const seenFor = 24 * time.Hour

// CloseWindow notes that all of a window was compared, both ways.
func (s *Store) CloseWindow(ctx context.Context, run *ListingRun, w *ListingWindow) error {
	err := s.turn(ctx, run, `UPDATE listings SET listed_through = window_until, window_from = NULL, window_until = NULL, cursor = '', paged = false, updated_at = now()
		WHERE payment_gateway_id = ? AND window_until = ?`, run.GatewayID, w.Until)
	if err != nil {
		return err
	}
	if _, err = s.exec(ctx, nil, `DELETE FROM listing_seen WHERE payment_gateway_id = ? AND at < ?`, run.GatewayID, w.From.Add(-seenFor)); err != nil {
		return fmt.Errorf("forget the lines of %s that are a day old: %w", run.Slug, err)
	}
	return nil
}

// turn writes a step of a run, under its lease.
func (s *Store) turn(ctx context.Context, run *ListingRun, sql string, args ...any) error {
	err := s.InTx(ctx, func(ctx context.Context, tx Tx) error {
		n, err := s.exec(ctx, tx, `UPDATE leases SET lease_until = now() + ? * interval '1 microsecond' WHERE name = ? AND owner = ?`,
			s.listingLease().Microseconds(), listingLease+run.Slug, run.owner)
		if err != nil || n == 0 {
			return errors.Join(err, ErrListing)
		}
		if sql != "" {
			_, err = s.exec(ctx, tx, sql, args...)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("go on with the listing of %s: %w", run.Slug, err)
	}
	return nil
}

// EndListing writes what a run found and gives its lease back. It is done even
// when the caller's context has ended.
func (s *Store) EndListing(ctx context.Context, run *ListingRun) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.tempo.RecordTimeout())
	defer cancel()
	counts, err := json.Marshal(run.Counts)
	if err != nil {
		return fmt.Errorf("encode the counts of a listing: %w", err)
	}
	if _, err := s.exec(ctx, nil, `UPDATE reconciliations SET finished_at = now(), counts = ? WHERE id = ?`, string(counts), run.ID); err != nil {
		return fmt.Errorf("end the listing of %s: %w", run.Slug, err)
	}
	return s.leaveListing(ctx, run)
}

// leaveListing gives the lease of a run back, if it has it, even when the caller's
// context has ended.
func (s *Store) leaveListing(ctx context.Context, run *ListingRun) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.tempo.RecordTimeout())
	defer cancel()
	if _, err := s.exec(ctx, nil, `DELETE FROM leases WHERE name = ? AND owner = ?`, listingLease+run.Slug, run.owner); err != nil {
		return fmt.Errorf("give the lease of the listing of %s back: %w", run.Slug, err)
	}
	return nil
}

// BeginReport begins the comparison of a report with the ledger. It takes no
// lease: a report has no windows, and whatever is done about its lines is judged
// on the rows as they are. A dry run writes nothing, and has no id.
func (s *Store) BeginReport(ctx context.Context, slug, owner, source string, dry bool) (*ListingRun, error) {
	g, err := s.GatewayBySlug(ctx, slug)
	if err != nil {
		return nil, err
	}
	run := &ListingRun{GatewayID: g.ID, Slug: slug, Mode: g.Mode, Counts: map[models.Verdict]int{}, owner: owner}
	if dry {
		return run, nil
	}
	run.ID = NewID()
	if _, err := s.exec(ctx, nil, `INSERT INTO reconciliations (id, source) VALUES (?, ?)`, run.ID, source); err != nil {
		return nil, fmt.Errorf("begin the comparison of a report of %s: %w", slug, err)
	}
	return run, nil
}

// Seen is a line that explains an operation.
type Seen struct {
	OperationID string    `json:"operation_id"`
	MovementID  string    `json:"movement_id"`
	At          time.Time `json:"at"`
}

// NoteSeen remembers which line explained which operation. It returns those
// that another line had explained before.
func (s *Store) NoteSeen(ctx context.Context, run *ListingRun, seen []Seen) (again map[string]bool, err error) {
	if len(seen) == 0 {
		return nil, nil
	}
	encoded, err := json.Marshal(seen)
	if err != nil {
		return nil, fmt.Errorf("encode %d lines: %w", len(seen), err)
	}
	var rows []struct {
		ID string `bun:"movement_id"`
	}
	// The rows that are there already are read by the statement's snapshot; those
	// of this statement come back from the insert.
	err = s.query(ctx, nil, &rows, `WITH line AS (
			SELECT DISTINCT ON (movement_id) *
			FROM ROWS FROM (json_to_recordset(?0::json) AS (operation_id uuid, movement_id text, at timestamptz)) WITH ORDINALITY AS l (operation_id, movement_id, at, n)
			ORDER BY movement_id, n
		), noted AS (
			INSERT INTO listing_seen (operation_id, payment_gateway_id, movement_id, at)
			SELECT DISTINCT ON (operation_id) operation_id, ?1::uuid, movement_id, at FROM line ORDER BY operation_id, n
			ON CONFLICT (operation_id) DO NOTHING RETURNING operation_id, movement_id
		)
		SELECT l.movement_id FROM line AS l
		LEFT JOIN noted AS n ON n.operation_id = l.operation_id LEFT JOIN listing_seen AS o ON o.operation_id = l.operation_id
		WHERE COALESCE(n.movement_id, o.movement_id) <> l.movement_id AND COALESCE(n.movement_id, o.movement_id) <> ?2`,
		string(encoded), run.GatewayID, LookedUp)
	if err != nil {
		return nil, fmt.Errorf("note %d lines of the list of %s: %w", len(seen), run.Slug, err)
	}
	again = make(map[string]bool, len(rows))
	for _, r := range rows {
		again[r.ID] = true
	}
	return again, nil
}

// LookedUp stands for a line in [Store.NoteSeen] where the gateway was asked.
const LookedUp = "look_up"

// listingLead is how long before its outcome an operation may have been made
// for the sweep to ask about it when the list does not have it. What takes
// longer was recorded by a look-up, which is the gateway's own word.
const listingLead = time.Hour

// Unlisted returns operations of an account that were recorded as successes in
// [from, until), come after the id after, and that no line explained. They are
// found by the range of their ids, which begin with the time they were made.
func (s *Store) Unlisted(ctx context.Context, gatewayID string, kind models.Kind, from, until time.Time, after string, limit int) ([]models.Operation, error) {
	return s.successes(ctx, gatewayID, kind, from, until, listingLead, after, limit, "AND NOT EXISTS (SELECT 1 FROM listing_seen AS n WHERE n.operation_id = o.id)")
}

// Successes returns operations of an account, not of a person beside it, that were recorded as successes in
// [from, until) and made up to a month before, after an id.
func (s *Store) Successes(ctx context.Context, gatewayID string, kind models.Kind, from, until time.Time, after string, limit int) ([]models.Operation, error) {
	return s.successes(ctx, gatewayID, kind, from, until, 31*24*time.Hour, after, limit, "")
}

func (s *Store) successes(ctx context.Context, gatewayID string, kind models.Kind, from, until time.Time, lead time.Duration, after string, limit int, and string) ([]models.Operation, error) {
	if after == "" {
		after = firstID(from.Add(-lead))
	}
	var ops []models.Operation
	err := s.query(ctx, nil, &ops, `SELECT `+s.columns(models.Operation{}, "o")+successesOf(kind, and),
		after, firstID(until.Add(time.Millisecond)), gatewayID, from, until, limit)
	if err != nil {
		return nil, fmt.Errorf("list the %ss that succeeded from %s to %s: %w", kind, from, until, err)
	}
	return ops, nil
}

func successesOf(kind models.Kind, and string) string {
	return ` FROM ` + tables[kind] + ` AS o WHERE o.kind = '` + string(kind) + `' AND o.id > ?0::uuid AND o.id < ?1::uuid AND o.payment_gateway_id = ?2::uuid
		AND o.state = 'succeeded' AND o.mechanism IS NULL AND o.finished_at >= ?3 AND o.finished_at < ?4 ` + and + ` ORDER BY o.id LIMIT ?5`
}

// firstID is the smallest UUIDv7 of a moment.
func firstID(at time.Time) string {
	ms := at.UnixMilli()
	return fmt.Sprintf("%08x-%04x-7000-8000-000000000000", ms>>16, ms&0xffff)
}
