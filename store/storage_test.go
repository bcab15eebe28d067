package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// An index that no statement reads by costs every write and helps nobody. With
// sequential scans off, what is still not used can be dropped. Unique indexes
// are guards, used or not.
func TestEveryIndexIsUsed(t *testing.T) {
	t.Parallel()
	url := devstacktest.NewDatabase(t, agedLedger)
	b := benchAt(t, onApproval, url)
	must(t, b.Store.Close())
	b.Store = openAt(t, url+"&enable_seqscan=off", models.Tempo{})
	ctx, page := t.Context(), store.Page{Number: 1, Size: 10}
	must(t, b.EnsureWebhook(ctx, "shop", "https://example.com/"))

	// An order's life, a cancelled one, one that is looked up, one that is flagged.
	o, op := b.paid(t)
	refund, err := b.refund(op.ID, 100)
	must(t, err)
	b.record(t, b.claim(t, refund), confirmed(refund))
	void, err := b.void(b.hold(t, b.order(t, 1500).ID, 1500).ID)
	must(t, err)
	b.record(t, b.claim(t, void), confirmed(void))
	cancelled, _ := b.paid(t)
	must(t, b.cancelOrder(cancelled.ID))
	_, lost := b.approved(t)
	b.record(t, b.claim(t, lost), evidence(lost, models.FromAnswer, models.OutcomeLost))
	_, odd := b.approved(t)
	_, err = b.Apply(ctx, store.Move{Op: odd, Decision: models.Decision{Event: models.Flagged, Flag: "x"}, Actor: "test"})
	must(t, err)
	_, err = b.Receive(ctx, "stripe", "evt_1", "x", []byte("{}"))
	must(t, err)
	_, err = b.NextInbox(ctx, 10)
	must(t, err)

	// What relay, sweep, metrics and webhooks ask.
	b.publish(t)
	_, err = b.UnpublishedDeliveries(ctx, 10)
	must(t, err)
	b.pass(t, time.Hour)
	b.sweep(t)
	_, _, err = b.Gauges(ctx)
	must(t, err)
	_, err = b.ValueAtRisk(ctx)
	must(t, err)
	_, err = b.DueRenewals(ctx, []string{"stripe"}, 10)
	must(t, err)
	_, err = b.FindOperation(ctx, "stripe", models.Capture, op.GatewayReference, "")
	must(t, err)
	_, _, err = b.OperationsOfHold(ctx, "stripe", "pi_x")
	must(t, err)

	// What pages and programs list.
	for _, kind := range models.Kinds {
		for _, by := range []store.By{store.ByOrder, store.ByAuthorization, store.ByCapture} {
			_, err := b.OperationsBy(ctx, models.Test, kind, by, []string{o.ID, op.AuthorizationID, op.ID}, 10)
			must(t, err)
		}
		for _, f := range []store.Filter{{OrderID: o.ID}, {AuthorizationID: op.AuthorizationID}, {CaptureID: op.ID}, {NeedsAttention: ptr(true)}} {
			f.Mode = models.Test
			_, _, err := b.Operations(ctx, kind, f, page)
			must(t, err)
		}
	}
	// Enough verdicts for the order of the list not to be the cheapest way to a few.
	b.exec(t, `INSERT INTO verdicts (id, operation_id, order_id, mode, verdict, rule, action, outcome, actor)
		SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'test', 'wait', '', '', '', '' FROM generate_series(1, 3000)`)
	b.exec(t, `ANALYZE verdicts`)
	_, _, err = b.FindVerdicts(ctx, store.VerdictFilter{Mode: models.Test, OrderID: o.ID}, page)
	must(t, err)
	_, _, err = b.FindVerdicts(ctx, store.VerdictFilter{Mode: models.Test, OperationID: op.ID}, page)
	must(t, err)
	_, _, err = b.FindVerdicts(ctx, store.VerdictFilter{Mode: models.Test}, page)
	must(t, err)
	_, _, err = b.FindVerdicts(ctx, store.VerdictFilter{Mode: models.Test, Verdicts: []models.Verdict{models.Forward}}, page)
	must(t, err)
	_, err = b.Report(ctx, models.Test)
	must(t, err)
	_, _, err = b.Reconciliations(ctx, "", true, page)
	must(t, err)
	_, err = b.Authorizations(ctx, o.ID)
	must(t, err)
	listing, err := b.BeginListing(ctx, "stripe", "test", "listing", store.ListingSpan{First: time.Hour, Overlap: time.Hour, Longest: time.Hour})
	must(t, err)
	window, err := b.NextWindow(ctx, listing)
	must(t, err)
	must(t, b.CloseWindow(ctx, listing, window))
	must(t, b.AnchorDays(ctx, 10, func(store.DailyAnchor) {}))
	_, err = b.RunAudit(ctx, store.AuditRun{Scope: store.AuditRecent})
	must(t, err)
	_, err = b.LastAudits(ctx)
	must(t, err)
	_, err = b.PruneRequests(ctx, false)
	must(t, err)
	b.told(t)

	// The parts of a partitioned index count together: some of its tables are empty.
	unused := column[string](t, b, `SELECT COALESCE(p.inhparent::regclass::text, s.indexrelname) FROM pg_stat_user_indexes AS s JOIN pg_index AS i ON i.indexrelid = s.indexrelid
		LEFT JOIN pg_inherits AS p ON p.inhrelid = i.indexrelid
		WHERE s.schemaname = 'public' AND s.relname NOT LIKE 'bun_%' AND NOT i.indisunique GROUP BY 1 HAVING sum(s.idx_scan) = 0 ORDER BY 1`)
	if diff := cmp.Diff([]string(nil), unused); diff != "" {
		t.Errorf("indexes that no statement uses (-want +got):\n%s", diff)
	}
}

// told closes the store and waits for its sessions to end: each tells its
// statistics then.
func (b bench) told(t *testing.T) {
	t.Helper()
	must(t, b.Store.Close())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for read[int](t, b, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'capstan'`) > 0 {
		select {
		case <-ctx.Done():
			t.Fatal("the store's sessions do not end")
		case <-look.C:
		}
	}
}

// Room on the page keeps the updates of a capture's life out of the indexes. It
// is not run beside others: what they hold open keeps pages full.
func TestUpdatesStayOnTheirPages(t *testing.T) {
	const captures, batch = 600, 100
	b := newBench(t, onApproval)
	ctx := t.Context()
	orders := b.stock(t, captures)
	var ids []string
	for i := 0; i < captures; i += batch {
		made, err := b.ApproveAll(ctx, nil, models.Test, orders[i:i+batch], "test")
		must(t, err)
		for _, a := range made {
			must(t, a.Err)
			ids = append(ids, a.Operations[0].ID)
		}
	}
	for i := 0; i < captures; i += batch {
		claims, err := b.ClaimAll(ctx, models.Capture, ids[i:i+batch], "worker")
		must(t, err)
		var moves []store.Move
		for _, c := range claims {
			ev := confirmed(c.Operation)
			moves = append(moves, store.Outcome{Claim: c, Evidence: ev, Decision: models.Judge(c.Operation, ev, c.Facts(b.Tempo(), 0, true)), Worker: "worker"}.Move())
		}
		moved, err := b.ApplyAll(ctx, moves)
		must(t, err)
		if len(moved) != batch {
			t.Fatalf("%d of %d moved", len(moved), batch)
		}
	}
	b.told(t)
	for _, table := range []string{"captures", "authorizations", "orders"} {
		updates := read[int](t, b, `SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = $1`, table)
		hot := read[int](t, b, `SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = $1`, table)
		t.Logf("%s: %d of %d updates stayed", table, hot, updates)
		if updates < 2*captures || 100*hot < 90*updates {
			t.Errorf("%s: %d of %d updates stayed on their page", table, hot, updates)
		}
	}
}

// wantIndexes explains a query, wants it to read no table from end to end, and
// returns its plan.
func wantIndexes(t *testing.T, conn *sql.Conn, name, query string) string {
	t.Helper()
	rows, err := conn.QueryContext(t.Context(), "EXPLAIN "+query)
	must(t, err)
	var plan []string
	for rows.Next() {
		var line string
		must(t, rows.Scan(&line))
		plan = append(plan, line)
	}
	must(t, rows.Err())
	text := strings.Join(plan, "\n")
	t.Logf("%s:\n%s", name, text)
	if scans := wholeTable.FindAllString(text, -1); len(scans) > 0 {
		t.Errorf("%s reads whole tables: %v", name, scans)
	}
	return text
}

var wholeTable = regexp.MustCompile(`Seq Scan on (\S+)`)

// The hot look-ups read by an index, whatever the size of the ledger: of the
// history only the partition that an id belongs to.
func TestPlansOfHotLookUps(t *testing.T) {
	t.Parallel()
	b := benchAt(t, onApproval, devstacktest.NewDatabase(t, agedLedger))
	_, op := b.paid(t)
	conn, err := b.db.Conn(t.Context())
	must(t, err)
	defer conn.Close()
	_, err = conn.ExecContext(t.Context(), `SET enable_seqscan = off`) // as with a ledger worth an index
	must(t, err)
	for name, query := range map[string]string{
		"relay": `SELECT operation_id FROM work WHERE published_at IS NULL ORDER BY deadline NULLS LAST, operation_id LIMIT 500`,
		"sweep": `SELECT w.operation_id FROM work AS w JOIN operations AS o ON o.kind = w.kind AND o.id = w.operation_id
			WHERE w.published_at IS NOT NULL AND w.due_at <= now() ORDER BY w.deadline NULLS LAST LIMIT 500`,
		"claim":   fmt.Sprintf(`SELECT o.id FROM unnest('{%s}'::uuid[]) AS m (id) JOIN captures AS o ON o.id = m.id AND o.kind = 'capture'`, op.ID),
		"history": fmt.Sprintf(`SELECT hash FROM events WHERE operation_id = '%s'`, op.ID),
	} {
		text := wantIndexes(t, conn, name, query)
		if n := strings.Count(text, " on events_"); name == "history" && n != 1 {
			t.Errorf("the history reads %d partitions", n)
		}
	}
}
