package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// planted writes a verdict as some part of the program would.
func (b bench) planted(t *testing.T, v models.Verdict, operation, order, finding string) string {
	t.Helper()
	id := store.NewID()
	b.exec(t, fmt.Sprintf(`INSERT INTO verdicts (id, operation_id, kind, order_id, mode, amount_cents, currency_code, finding, verdict, rule, action, outcome, actor)
		VALUES ('%s', NULLIF('%s', '')::uuid, 'capture', NULLIF('%s', '')::uuid, 'test', 100, 'EUR', NULLIF('%s', ''), '%s', 'planted', '', '', 'test')`,
		id, operation, order, finding, v))
	return id
}

// What calls for a person is said in one place: the view, the attribute of a
// single verdict and the domain agree on every verdict there is.
func TestOpenVerdicts(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	ctx := t.Context()
	want := map[string]bool{}
	for _, v := range models.Verdicts {
		calls := v.CallsPerson()
		_, plain := b.approved(t)
		want[b.planted(t, v, plain.ID, plain.OrderID, "")] = false // no flag stands
		_, flagged := b.approved(t)
		want[b.planted(t, v, flagged.ID, flagged.OrderID, "")] = false // not the last one
		want[b.planted(t, v, flagged.ID, flagged.OrderID, "")] = calls
		want[b.planted(t, models.Wait, flagged.ID, flagged.OrderID, "")] = false
		_, dismissed := b.approved(t)
		id := b.planted(t, v, dismissed.ID, dismissed.OrderID, "")
		want[id] = false
		must(t, b.Resolve(ctx, nil, id, store.VerdictDismissed, "person", "seen", ""))
		b.exec(t, fmt.Sprintf(`UPDATE captures SET needs_attention = 'x' WHERE id IN ('%s', '%s')`, flagged.ID, dismissed.ID))
		want[b.planted(t, v, "", "", "stripe:found:"+string(v))] = calls
		settled := b.planted(t, v, "", "", "stripe:settled:"+string(v))
		want[settled] = false
		must(t, b.Resolve(ctx, nil, settled, store.VerdictApplied, "person", "settled", ""))
		warned, calm := b.order(t, 100), b.order(t, 100)
		want[b.planted(t, v, "", warned.ID, "")] = v == models.Expiring
		want[b.planted(t, v, "", calm.ID, "")] = false
		b.exec(t, fmt.Sprintf(`INSERT INTO order_checks (order_id, due_at, deadline) VALUES ('%s', now(), now())`, warned.ID))
	}
	open := column[string](t, b, `SELECT verdict_id::text FROM open_verdicts ORDER BY 1`)
	var expected []string
	for id, is := range want {
		if is {
			expected = append(expected, id)
		}
	}
	slices.Sort(expected)
	if diff := cmp.Diff(expected, open); diff != "" {
		t.Errorf("the view (-want +got):\n%s", diff)
	}
	for page := 1; ; page++ {
		rows, total, err := b.FindVerdicts(ctx, store.VerdictFilter{Mode: models.Test}, store.Page{Number: page, Size: 100})
		must(t, err)
		if total != len(want) {
			t.Fatalf("%d verdicts, want %d", total, len(want))
		}
		for _, v := range rows {
			if is, ok := want[v.ID]; !ok || v.Open != is || (v.Status() == store.VerdictOpen) != is {
				t.Errorf("verdict %s %s: open %t, want %t", v.Verdict, v.ID, v.Open, is)
			}
		}
		if len(rows) < 100 {
			break
		}
	}
	_, total, err := b.FindVerdicts(ctx, store.VerdictFilter{Mode: models.Test, Status: store.VerdictOpen}, store.Page{Number: 1, Size: 10})
	must(t, err)
	if total != len(expected) {
		t.Errorf("%d are listed as open, want %d", total, len(expected))
	}
	report, err := b.Report(ctx, models.Test)
	must(t, err)
	if report.PeopleCount != len(expected)+flagsOnly(t, b) {
		t.Errorf("%d things need a person, want %d and %d flags without a verdict", report.PeopleCount, len(expected), flagsOnly(t, b))
	}
}

// flagsOnly counts flagged operations with no verdict that says why.
func flagsOnly(t *testing.T, b bench) int {
	t.Helper()
	return read[int](t, b, `SELECT count(*) FROM operations AS o WHERE o.needs_attention IS NOT NULL AND NOT EXISTS (
		SELECT 1 FROM verdicts AS v WHERE v.operation_id = o.id AND v.verdict IN ('amount_conflict', 'duplicate', 'late_success', 'expiring', 'needs_attention'))`)
}

// A list of very many is not counted to its end, and a verdict is resolved once.
func TestVerdictsAreCountedToALimit(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	b.exec(t, `INSERT INTO verdicts (id, mode, verdict, rule, action, outcome, actor)
		SELECT gen_random_uuid(), 'test', CASE WHEN n % 2 = 0 THEN 'wait' ELSE 'in_sync' END, '', '', '', '' FROM generate_series(1, 10100) AS n`)
	for _, tt := range []struct {
		verdicts []models.Verdict
		total    int
	}{{nil, store.CountLimit + 1}, {[]models.Verdict{models.Wait}, 5050}, {[]models.Verdict{models.Wait, models.InSync}, store.CountLimit + 1}, {[]models.Verdict{models.Fail}, 0}} {
		rows, total, err := b.FindVerdicts(t.Context(), store.VerdictFilter{Mode: models.Test, Verdicts: tt.verdicts}, store.Page{Number: 2, Size: 10})
		must(t, err)
		if total != tt.total || len(rows) != min(10, tt.total) {
			t.Errorf("%v: %d of %d, want %d", tt.verdicts, len(rows), total, tt.total)
		}
	}
	id := b.planted(t, models.Duplicate, "", "", "stripe:twice")
	must(t, b.Resolve(t.Context(), nil, id, store.VerdictApplied, "one", "first", "done"))
	refused(t, b.Resolve(t.Context(), nil, id, store.VerdictDismissed, "another", "second", ""), "already_resolved")
	v, err := b.Verdict(t.Context(), models.Test, id)
	must(t, err)
	if v.ResolvedBy != "one" || v.Status() != store.VerdictApplied || v.Open {
		t.Errorf("%+v", v)
	}
}

// Every verdict names mode, gateway, amount and currency, whoever writes it.
func TestVerdictsNameWhatTheyAreAbout(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	_, lost := b.unknownCapture(t)
	b.sendAfterLook(t, b.claim(t, lost))
	b.pass(t, time.Hour)
	b.sweep(t)
	cancelled, _ := b.paid(t)
	must(t, b.cancelOrder(cancelled.ID))
	b.sweep(t)
	bare := column[string](t, b, `SELECT DISTINCT verdict || ': ' || rule FROM verdicts WHERE mode IS NULL OR payment_gateway_id IS NULL OR amount_cents IS NULL OR currency_code IS NULL ORDER BY 1`)
	if len(bare) > 0 {
		t.Errorf("verdicts that do not say what they are about: %v", bare)
	}
	if kinds := column[string](t, b, `SELECT DISTINCT verdict FROM verdicts ORDER BY 1`); len(kinds) < 3 {
		t.Errorf("the story made verdicts %v only", kinds)
	}
}
