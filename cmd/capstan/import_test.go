package main

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/worker"
)

// TestImportCommand: a report of Stripe's is compared with the ledger, dry and
// for good, and the exit status says whether a person has to act.
func TestImportCommand(t *testing.T) {
	t.Parallel()
	tr := newTrouble(t)
	op, hold := tr.sale(t, tr.late, "")
	c := tr.claim(t, op)
	tr.ask(t, "/v1/payment_intents/"+hold+"/capture", url.Values{"amount_to_capture": {"1500"}, "metadata[capstan_reference]": {op.GatewayReference}})
	tr.record(t, c, models.Evidence{Source: models.FromAnswer, Outcome: models.OutcomeConfirmed, AmountCents: 1500, CurrencyCode: "EUR", GatewayTransactionID: hold})

	const head = "balance_transaction_id,created_utc,reporting_category,currency,gross,payment_intent_id,source_id\n"
	at := time.Now().UTC().Format(time.DateTime)
	good := head + "txn_1," + at + ",charge,eur,15.00," + hold + ",ch_1\ntxn_2," + at + ",payout,eur,-15.00,,po_1\n"
	bad := good + "txn_3," + at + ",refund,eur,-3.00," + hold + ",re_1\ntxn_4," + at + ",charge,eur,9.00,pi_nobody,ch_2\n"
	file := func(name, content string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	run := func(file string, flags ...string) (worker.ListingReport, int) {
		t.Helper()
		out, status := capstan(t, tr.env, append([]string{"reconcile", "import", "--gateway", "stripe", "--json", file}, flags...)...)
		var report worker.ListingReport
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return report, status
	}
	if report, status := run(file("good.csv", good)); status != 0 || report.Lines != 1 || report.Skipped != 1 || report.Counts[models.InSync] != 1 {
		t.Errorf("a report that agrees: status %d, %+v", status, report)
	}
	before, booked := tr.dump(t), tr.booked()
	wrong := file("bad.csv", bad)
	dry, status := run(wrong, "--dry-run")
	if status != 1 || len(dry.Findings) != 2 || dry.Counts[models.NeedsAttention] != 2 {
		t.Errorf("a dry run: status %d, %+v", status, dry)
	}
	if out, status := capstan(t, tr.env, "reconcile", "import", "--gateway", "stripe", file("broken.csv", bad+"txn_5,never,charge,eur,1.00,pi_1,ch_1\n")); status == 0 || out != "" {
		t.Errorf("a broken report: status %d, %s", status, out)
	}
	tr.unchanged(t, before, booked)

	report, status := run(wrong)
	if status != 1 || len(report.Findings) != 2 || !report.Findings[0].New {
		t.Errorf("an import: status %d, %+v", status, report)
	}
	if op := tr.captures(t)[0]; op.NeedsAttention != models.FlagForeignRefund {
		t.Errorf("the capture is flagged %q", op.NeedsAttention)
	}
	tr.exec(t, `INSERT INTO resolutions (verdict_id, action, actor, reason) SELECT id, 'dismissed', 'test', 'known' FROM verdicts WHERE finding IS NOT NULL`)
	if report, status := run(wrong); status != 0 || len(report.Findings) != 2 || report.Findings[0].New || !report.Findings[0].Settled {
		t.Errorf("the same again, when a person has dealt with it: status %d, %+v", status, report)
	}
	out, _ := capstan(t, tr.env, "reconcile", "import", "--gateway", "stripe", wrong)
	for _, want := range []string{"Compared 3 lines of stripe with the ledger; 1 more are no payments.", "needs_attention", "pi_nobody", "3.00 EUR"} {
		if !strings.Contains(out, want) {
			t.Errorf("the table lacks %q:\n%s", want, out)
		}
	}
}
