package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
)

// Invariant is one rule of the ledger as it was found.
type Invariant struct {
	ID   string `json:"id"`
	Rule string `json:"rule"`
	// Checked is how many rows the rule was tried on.
	Checked int64 `json:"checked"`
	// Broken names rows that break it, at most [auditNames] of them. Each name
	// begins with an id.
	Broken []string `json:"broken"`
	// BrokenCount is how many there are.
	BrokenCount int64 `json:"broken_count"`
}

// auditNames bounds how many offenders an audit names.
const auditNames = 20

// AuditScope says how much an audit reads.
type AuditScope string

// The scopes.
const (
	// AuditFull reads the whole ledger.
	AuditFull AuditScope = "full"
	// AuditRecent reads the orders with open work and those on which something
	// happened lately. Its cost follows their number.
	AuditRecent AuditScope = "recent"
)

// newSlow opens the pool of statements that read much: at most two at once,
// each as long as it takes.
func newSlow(cfg *pgx.ConnConfig) *bun.DB {
	cfg = cfg.Copy()
	cfg.RuntimeParams["statement_timeout"] = fmt.Sprint((6 * time.Hour).Milliseconds())
	cfg.RuntimeParams["work_mem"] = "64MB"
	pool := connect(cfg)
	pool.SetMaxOpenConns(2)
	pool.SetMaxIdleConns(1)
	pool.SetConnMaxIdleTime(2 * time.Minute)
	return bun.NewDB(pool, pgdialect.New())
}

// Audit checks every invariant that the ledger alone can show, but for those
// about how long something waits: a ledger that nobody works on is no broken
// one. It reads all of the ledger; each rule is one statement and one snapshot.
func (s *Store) Audit(ctx context.Context) ([]Invariant, error) {
	return s.audit(ctx, audit{scope: AuditFull, idle: true})
}

// audit is one pass over the rules.
type audit struct {
	scope AuditScope
	// since is where what happened lately begins, for AuditRecent.
	since time.Time
	// idle: nobody works on the ledger, so waiting is no fault.
	idle bool
	// each is told of every rule as it was found.
	each func(Invariant)
	// within runs what reads a small part of the ledger, under settings that keep
	// it to that part.
	within func(ctx context.Context, settings string, fn func(ctx context.Context, tx Tx) error) error
	// on is what reads all of it run on.
	on Tx
}

// secondLook is how long what waits too long is given before it is looked at
// again: it may have been published a moment ago, and a relay needs its moment.
const secondLook = 5 * time.Second

func (s *Store) audit(ctx context.Context, a audit) ([]Invariant, error) {
	if a.on == nil {
		a.on, a.within = s.slow, s.atOneMoment
	}
	if a.each == nil {
		a.each = func(Invariant) {}
	}
	var chunks []auditChunk
	if a.scope == AuditRecent {
		err := a.within(ctx, byProbe, func(ctx context.Context, tx Tx) (err error) {
			chunks, err = s.touched(ctx, tx, a.since)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	found := make([]Invariant, 0, len(invariants))
	for _, r := range invariants {
		inv := Invariant{ID: r.id, Rule: r.rule, Broken: []string{}}
		for _, p := range r.parts {
			if err := s.auditPart(ctx, a, p, chunks, &inv); err != nil {
				return nil, fmt.Errorf("check invariant %s: %w", r.id, err)
			}
		}
		found = append(found, inv)
		a.each(inv)
	}
	return found, nil
}

func (s *Store) auditPart(ctx context.Context, a audit, p auditPart, chunks []auditChunk, inv *Invariant) error {
	switch {
	case p.reach == onlyFull && a.scope != AuditFull, p.reach == waiting && a.idle:
		return nil
	case p.reach == waiting:
		return s.checkWaiting(ctx, a, p, inv)
	case p.reach == small:
		return a.within(ctx, byProbe, func(ctx context.Context, tx Tx) error {
			return s.checkPart(ctx, tx, "", s.auditSQL(p.sql, s.recently(a)), inv)
		})
	case a.scope == AuditFull:
		return s.checkPart(ctx, a.on, "", s.auditSQL(p.sql, wholeLedger), inv)
	}
	for _, c := range chunks {
		err := a.within(ctx, byIndex, func(ctx context.Context, tx Tx) error {
			return s.checkPart(ctx, tx, c.with(), s.auditSQL(p.sql, c.ledger()), inv)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// checkWaiting names what waits too long, and still does at a second look.
func (s *Store) checkWaiting(ctx context.Context, a audit, p auditPart, inv *Invariant) error {
	sql := s.auditSQL(p.sql, wholeLedger)
	look := func(found *Invariant) error {
		return a.within(ctx, byProbe, func(ctx context.Context, tx Tx) error { return s.checkPart(ctx, tx, "", sql, found) })
	}
	first := Invariant{}
	if err := look(&first); err != nil {
		return err
	}
	if first.BrokenCount > 0 && a.on == Tx(s.slow) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(s.tempo.Of(secondLook)):
		}
		again := Invariant{}
		if err := look(&again); err != nil {
			return err
		}
		if first.BrokenCount <= auditNames || again.BrokenCount <= auditNames {
			again.Broken = slices.DeleteFunc(again.Broken, func(name string) bool { return !slices.Contains(first.Broken, name) })
			again.BrokenCount = int64(len(again.Broken))
		}
		first = again
	}
	inv.add(first)
	return nil
}

func (i *Invariant) add(part Invariant) {
	i.Checked += part.Checked
	i.BrokenCount += part.BrokenCount
	for _, name := range part.Broken {
		if len(i.Broken) < auditNames {
			i.Broken = append(i.Broken, name)
		}
	}
}

// checkPart tries one query and adds what it found. What is neither true nor
// false is broken: nothing that is compared may be missing.
func (s *Store) checkPart(ctx context.Context, tx Tx, with, sql string, inv *Invariant) error {
	var rows []struct {
		Checked     int64   `bun:"checked"`
		BrokenCount int64   `bun:"broken_count"`
		Name        *string `bun:"name"`
	}
	err := s.query(ctx, tx, &rows, `WITH `+with+`checks (name, broken) AS MATERIALIZED (`+sql+`), total AS (
			SELECT count(*) AS checked, count(*) FILTER (WHERE broken IS NOT FALSE) AS broken_count FROM checks
		) SELECT t.checked, t.broken_count, b.name FROM total AS t
		LEFT JOIN LATERAL (SELECT name FROM checks WHERE broken IS NOT FALSE ORDER BY name LIMIT ?) AS b ON true`, auditNames)
	if err != nil {
		return err
	}
	part := Invariant{}
	for _, r := range rows {
		part.Checked, part.BrokenCount = r.Checked, r.BrokenCount
		if r.Name != nil {
			part.Broken = append(part.Broken, *r.Name)
		}
	}
	inv.add(part)
	return nil
}

// auditChunkSize is how many orders a statement of a recent audit reads.
const auditChunkSize = 2000

// auditChunk is a part of what a recent audit reads: some orders, and the
// operations that they had a moment ago. One that came since is for the next.
type auditChunk struct{ orders, operations []string }

// touched lists the orders that a recent audit reads, in chunks: those with open
// work, those that came into being since, or any of whose rows did, and those
// that something happened to. Every branch reads by an index.
func (s *Store) touched(ctx context.Context, tx Tx, since time.Time) ([]auditChunk, error) {
	var orders []string
	if err := s.query(ctx, tx, &orders, touchedSQL, since, firstID(since)); err != nil {
		return nil, fmt.Errorf("list what happened since %s: %w", since.Format(time.RFC3339), err)
	}
	var chunks []auditChunk
	for some := range slices.Chunk(orders, auditChunkSize) {
		c := auditChunk{orders: some}
		if err := s.query(ctx, tx, &c.operations, `SELECT o.id::text FROM operations AS o WHERE o.order_id = ANY (?::uuid[]) ORDER BY 1`, uuidArray(some)); err != nil {
			return nil, fmt.Errorf("list the operations of %d orders: %w", len(some), err)
		}
		chunks = append(chunks, c)
	}
	return chunks, nil
}

// OFFSET 0 keeps a branch from being turned around: from what happened to the
// operation, and never through all operations.
const touchedSQL = `
	SELECT o.order_id::text FROM work AS w CROSS JOIN LATERAL (SELECT order_id FROM operations AS o WHERE o.id = w.operation_id OFFSET 0) AS o
	UNION SELECT id::text FROM orders WHERE id >= ?1
	UNION SELECT order_id::text FROM authorizations WHERE id >= ?1
	UNION SELECT order_id::text FROM operations WHERE id >= ?1
	UNION SELECT o.order_id::text FROM events AS e CROSS JOIN LATERAL (SELECT order_id FROM operations AS o WHERE o.id = e.operation_id OFFSET 0) AS o WHERE e.occurred_at >= ?0
	UNION SELECT o.order_id::text FROM attempts AS a CROSS JOIN LATERAL (SELECT order_id FROM operations AS o WHERE o.id = a.operation_id OFFSET 0) AS o WHERE a.claimed_at >= ?0
	UNION SELECT order_id::text FROM verdicts WHERE created_at >= ?0 AND order_id IS NOT NULL
	ORDER BY 1`

// atOneMoment runs fn in a transaction that reads one state of the ledger.
func (s *Store) atOneMoment(ctx context.Context, settings string, fn func(ctx context.Context, tx Tx) error) error {
	return s.slow.RunInTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, func(ctx context.Context, tx bun.Tx) error {
		if err := s.statements(ctx, tx, settings); err != nil {
			return err
		}
		return fn(ctx, tx)
	})
}

// What reads a small part of the ledger reads it by indexes, whatever the
// statistics say. byProbe is for what begins with a small table and asks for a
// row of a large one at a time.
const (
	byIndex = `SET LOCAL enable_seqscan = off; SET LOCAL enable_mergejoin = off; SET LOCAL max_parallel_workers_per_gather = 0`
	byProbe = byIndex + `; SET LOCAL enable_hashjoin = off`
)

// with are the parts of a statement that the tables of a chunk's ledger read
// from.
func (c auditChunk) with() string {
	return `touched_orders AS MATERIALIZED (SELECT unnest('` + uuidArray(c.orders) + `'::uuid[]) AS id), `
}

// wholeLedger is what a full audit reads.
var wholeLedger = map[string]string{
	"orders": "orders", "authorizations": "authorizations", "operations": "operations", "tracked": "operations", "captures": "captures", "refunds": "refunds",
	"events": "events", "attempts": "attempts", "attempt_results": "attempt_results", "bases": "history_bases", "inbox": "inbox",
}

// ledger is what a chunk stands for of each table. History is asked for by a list
// of ids, which leaves out the months that none of them is of.
func (c auditChunk) ledger() map[string]string {
	ids := `ANY ('` + uuidArray(c.operations) + `'::uuid[])`
	return map[string]string{
		"orders":          `(SELECT x.* FROM touched_orders AS t JOIN orders AS x ON x.id = t.id)`,
		"authorizations":  `(SELECT x.* FROM touched_orders AS t JOIN authorizations AS x ON x.order_id = t.id)`,
		"operations":      `(SELECT x.* FROM touched_orders AS t JOIN operations AS x ON x.order_id = t.id)`,
		"tracked":         `(SELECT x.* FROM operations AS x WHERE x.id = ` + ids + `)`,
		"captures":        `(SELECT x.* FROM touched_orders AS t JOIN captures AS x ON x.order_id = t.id)`,
		"refunds":         `(SELECT x.* FROM touched_orders AS t JOIN refunds AS x ON x.order_id = t.id)`,
		"events":          `(SELECT x.* FROM events AS x WHERE x.operation_id = ` + ids + `)`,
		"attempts":        `(SELECT x.* FROM attempts AS x WHERE x.operation_id = ` + ids + `)`,
		"attempt_results": `(SELECT x.* FROM attempt_results AS x WHERE x.operation_id = ` + ids + `)`,
		// As the view has it, but from the few: a range of ids is no way to find them.
		"bases": `(SELECT o.id, COALESCE(r.version, o.version) AS version, COALESCE(r.state, o.state) AS state, COALESCE(r.hash, o.chain_hash) AS hash
			FROM operations AS o JOIN history_anchors AS a ON o.id >= a.from_id AND o.id < a.to_id LEFT JOIN history_resumed AS r ON r.operation_id = o.id
			WHERE o.id = ` + ids + `)`,
	}
}

// recently is what the small parts read, which choose by id and by what is open.
func (s *Store) recently(a audit) map[string]string {
	if a.scope == AuditFull {
		return wholeLedger
	}
	return map[string]string{
		"inbox": `(SELECT * FROM inbox WHERE processed_at IS NULL UNION ALL SELECT * FROM inbox WHERE processed_at IS NOT NULL AND id >= '` + firstID(a.since) + `')`,
	}
}

// auditSQL puts tables and limits into a query.
func (s *Store) auditSQL(sql string, tables map[string]string) string {
	return auditOf(strings.ReplaceAll(sql, "{late}", fmt.Sprintf("interval '%d microseconds'", s.lateAfter().Microseconds())), tables)
}

// lateAfter is how long nobody may have touched what is due.
func (s *Store) lateAfter() time.Duration { return max(s.tempo.Of(5*time.Minute), 10*time.Second) }

// auditOf puts tables into an invariant, by name: those of the ledger, or what
// stands for a part of it.
func auditOf(sql string, tables map[string]string) string {
	for name, table := range tables {
		sql = strings.ReplaceAll(sql, "{"+name+"}", table)
	}
	return sql
}
