package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
)

// DailyAnchor stands for what happened on one day, UTC, to the operations of
// one month of history. Its hash vouches for it and for every anchor before it:
// kept outside the database, it proves later that nothing was changed, by
// whoever owns the server.
type DailyAnchor struct {
	Number int64  `bun:"number" json:"number"`
	Day    string `bun:"day" json:"day"`
	// Month is the month of history that the operations belong to.
	Month      string    `bun:"month" json:"month"`
	Steps      int64     `bun:"steps" json:"steps"`
	AnchoredAt time.Time `bun:"anchored_at" json:"anchored_at"`
	Hash       string    `bun:"hash" json:"hash"` // hex
}

const anchorColumns = `a.number, to_char(a.day, 'YYYY-MM-DD') AS day, to_char(a.month, 'YYYY-MM') AS month, a.steps, a.anchored_at, encode(a.hash, 'hex') AS hash`

// anchorDelay is how long after midnight a day is anchored at the earliest: a
// step carries the time at which its transaction began.
const anchorDelay = time.Hour

// anchorSpan is how many days one statement folds.
const anchorSpan = 7

// AnchorDays anchors the days that have ended and are not anchored yet, oldest
// first, at most so many that had any step, and tells each of what it wrote.
//
// A step carries the time at which its transaction began. So a day may be
// anchored once no transaction that began before its end is open any more, or
// else one of its steps would come afterwards and break the anchor; days for
// which that cannot be told are left for the next time. What remains is a
// database clock that is set back by more than an hour, by a failover perhaps:
// steps then come to a day that is anchored, and I15 names the day.
func (s *Store) AnchorDays(ctx context.Context, limit int, each func(DailyAnchor)) error {
	now, err := s.Now(ctx, s.slow)
	if err != nil {
		return err
	}
	oldest, err := s.awaitOldest(ctx, now)
	if err != nil {
		return err
	}
	end := dayOf(now.Add(-anchorDelay))
	if oldest.Before(end) {
		end = dayOf(oldest)
	}
	for days := 0; days < limit; {
		made, err := s.anchorNext(ctx, end, min(anchorSpan, limit-days))
		if errors.Is(err, ErrStale) { // somebody else got further: go on from there
			continue
		}
		if err != nil || len(made) == 0 {
			return err
		}
		for i, a := range made {
			each(a)
			if i == 0 || a.Day != made[i-1].Day {
				days++
			}
		}
	}
	return nil
}

// anchorNext anchors the next days that had any step, so many or fewer, before
// the end; none are left when it made none.
func (s *Store) anchorNext(ctx context.Context, end time.Time, span int) ([]DailyAnchor, error) {
	base, err := s.lastAnchor(ctx, s.slow)
	if err != nil {
		return nil, err
	}
	for from := base.next; from.Before(end); {
		to := from.AddDate(0, 0, span)
		if to.After(end) {
			to = end
		}
		made, err := s.anchorSpan(ctx, base, from, to)
		if err != nil {
			return nil, fmt.Errorf("anchor the days from %s to %s: %w", from.Format(time.DateOnly), to.Format(time.DateOnly), err)
		}
		if len(made) > 0 {
			return made, nil
		}
		from = to
	}
	return nil, nil
}

func dayOf(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// anchorBase is what the next anchor is chained to.
type anchorBase struct {
	number   int64
	detached int
	next     time.Time // the first day that is not anchored
}

func (s *Store) lastAnchor(ctx context.Context, tx Tx) (anchorBase, error) {
	var row struct {
		Number   int64      `bun:"number"`
		Detached int        `bun:"detached"`
		Last     *time.Time `bun:"last"`
		First    *time.Time `bun:"first"`
	}
	// Before the first anchor the ledger begins with its oldest operation, whose
	// id a process made by a clock of its own.
	err := s.query(ctx, tx, &row, `SELECT COALESCE((SELECT max(number) FROM daily_anchors), 0) AS number,
			COALESCE((SELECT max(number) FROM history_anchors), 0) AS detached, (SELECT max(day)::timestamp AT TIME ZONE 'UTC' FROM daily_anchors) AS last,
			(SELECT history_month(id)::timestamp AT TIME ZONE 'UTC' FROM operations ORDER BY id LIMIT 1) AS first`)
	if err != nil {
		return anchorBase{}, fmt.Errorf("read the last anchor: %w", err)
	}
	base := anchorBase{number: row.Number, detached: row.Detached, next: time.Now().UTC().AddDate(1, 0, 0)}
	switch {
	case row.Last != nil:
		base.next = row.Last.UTC().AddDate(0, 0, 1)
	case row.First != nil:
		base.next = row.First.UTC().AddDate(0, 0, -1)
		if early := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC); base.next.Before(early) {
			base.next = early
		}
	}
	return base, nil
}

// anchorSpan folds some days without a lock, and writes their anchors if
// neither another process anchored nor a month was detached meanwhile.
func (s *Store) anchorSpan(ctx context.Context, base anchorBase, from, to time.Time) ([]DailyAnchor, error) {
	var folds []struct {
		Day   string `bun:"day"`
		Month string `bun:"month"`
		Steps int64  `bun:"steps"`
		Heads string `bun:"heads"`
	}
	err := s.query(ctx, s.slow, &folds, `SELECT f.day::text, f.month::text, f.steps, encode(f.heads, 'hex') AS heads FROM daily_folds(?, ?) AS f ORDER BY f.day, f.month`,
		from.Format(time.DateOnly), to.Format(time.DateOnly))
	if err != nil || len(folds) == 0 {
		return nil, err
	}
	var made []DailyAnchor
	err = s.slow.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		made = nil
		if err := s.statements(ctx, tx, `LOCK TABLE daily_anchors IN SHARE ROW EXCLUSIVE MODE; LOCK TABLE history_anchors IN SHARE MODE`); err != nil {
			return err
		}
		now, err := s.lastAnchor(ctx, tx)
		if err != nil {
			return err
		}
		if now.number != base.number || now.detached != base.detached {
			return fmt.Errorf("the anchors: %w", ErrStale)
		}
		for i, f := range folds {
			var a DailyAnchor
			err := s.query(ctx, tx, &a, `INSERT INTO daily_anchors AS a (number, day, month, steps, heads, detached, anchored_at, hash)
				SELECT (m.a).number, (m.a).day, (m.a).month, (m.a).steps, (m.a).heads, (m.a).detached, (m.a).anchored_at,
				       daily_anchor_hash(COALESCE((SELECT hash FROM daily_anchors ORDER BY number DESC LIMIT 1), ''), m.a)
				FROM (SELECT ROW(?::bigint, ?::date, ?::date, ?::bigint, decode(?, 'hex'), ?::integer, now(), ''::bytea)::daily_anchors AS a) AS m
				RETURNING `+anchorColumns, base.number+int64(i)+1, f.Day, f.Month, f.Steps, f.Heads, base.detached)
			if err != nil {
				return err
			}
			made = append(made, a)
		}
		return nil
	})
	return made, err
}

// anchorPatience is how long transactions whose beginning is hidden are waited
// for before the days are left for the next time.
const anchorPatience = 10 * time.Second

// ErrOpenTransactions: transactions are open of which this role may not see
// when they began, so no day can be anchored right now.
var ErrOpenTransactions = errors.New("transactions are open whose beginning this role may not see; GRANT pg_read_all_stats to it, or COMMIT what was prepared")

// awaitOldest returns the beginning of the oldest transaction that is open in
// this database beside our own, or now. Where a role may not see when others
// began, it waits until all that are open now have ended.
func (s *Store) awaitOldest(ctx context.Context, now time.Time) (time.Time, error) {
	var seen []string
	for deadline := time.Now().Add(s.tempo.Of(anchorPatience)); ; {
		open, err := s.openTransactions(ctx, s.slow, seen)
		if err != nil {
			return now, err
		}
		if len(open.Hidden) == 0 && open.Prepared == 0 {
			if open.Oldest != nil && open.Oldest.Before(now) {
				return *open.Oldest, nil
			}
			return now, nil
		}
		if time.Now().After(deadline) {
			return now, ErrOpenTransactions
		}
		seen = open.Hidden
		select {
		case <-ctx.Done():
			return now, context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

type openTransactions struct {
	Oldest   *time.Time `bun:"oldest"`
	Hidden   []string   `bun:"hidden,array"`
	Prepared int        `bun:"prepared"`
}

// openTransactions tells what is open: the oldest beginning that may be seen,
// and which of seen, or all if there are none yet, are open with one that may not.
func (s *Store) openTransactions(ctx context.Context, tx Tx, seen []string) (openTransactions, error) {
	var open openTransactions
	err := s.query(ctx, tx, &open, `WITH other AS (
			SELECT pid, xact_start, state FROM pg_stat_activity WHERE datid = (SELECT oid FROM pg_database WHERE datname = current_database())
				AND pid <> pg_backend_pid() AND COALESCE(backend_type, '') NOT IN ('autovacuum worker', 'parallel worker', 'walsender')
		) SELECT (SELECT min(xact_start) FROM other) AS oldest, (SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()) AS prepared,
			(SELECT COALESCE(array_agg(l.virtualtransaction), '{}') FROM other AS o JOIN pg_locks AS l ON l.pid = o.pid AND l.locktype = 'virtualxid' AND l.granted
			 WHERE o.xact_start IS NULL AND COALESCE(o.state, 'disabled') = 'disabled' AND (?0::text[] = '{}' OR l.virtualtransaction = ANY (?0::text[]))) AS hidden`,
		pgdialect.Array(append([]string{}, seen...)))
	if err != nil {
		return open, fmt.Errorf("list open transactions: %w", err)
	}
	return open, nil
}

// DailyAnchors lists the last anchors of days, newest first.
func (s *Store) DailyAnchors(ctx context.Context, limit int) ([]DailyAnchor, error) {
	var all []DailyAnchor
	if err := s.query(ctx, nil, &all, `SELECT `+anchorColumns+` FROM daily_anchors AS a ORDER BY a.number DESC LIMIT ?`, limit); err != nil {
		return nil, fmt.Errorf("list the anchors of days: %w", err)
	}
	return all, nil
}

// dailyChain checks the anchors of days for themselves.
const dailyChain = `SELECT 'the anchor of day ' || a.day || ', itself' AS name, a.hash <> daily_anchor_hash(COALESCE(lag(a.hash) OVER w, ''), a)
		OR a.number <> row_number() OVER w OR COALESCE(a.day < lag(a.day) OVER w, false) AS broken
	FROM daily_anchors AS a WINDOW w AS (ORDER BY a.number)`

// dailyFolds folds every anchored day again. A month that was detached after its
// day was anchored is not there to be folded: its steps are in its dump.
const dailyFolds = `SELECT 'the anchor of day ' || COALESCE(a.day, f.day) || ', history of ' || to_char(COALESCE(a.month, f.month), 'YYYY-MM') AS name,
		a.steps IS DISTINCT FROM f.steps OR a.heads IS DISTINCT FROM f.heads AS broken
	FROM (SELECT d.* FROM daily_anchors AS d WHERE NOT EXISTS (SELECT 1 FROM history_anchors AS n WHERE n.month = d.month AND n.number > d.detached)) AS a
	FULL JOIN daily_folds('2000-01-01', (SELECT max(day) + 1 FROM daily_anchors)) AS f ON f.day = a.day AND f.month = a.month`
