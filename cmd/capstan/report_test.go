package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/capstan-pay/capstan/store"
)

// reportOnATerminal is an answer of the API and the page that is made of it.
const reportOnATerminal = `Report of 2026-11-22 14:00:00Z

NEEDS A PERSON (51)
  REASON           AMOUNT  WHAT         STATE      GATEWAY  SINCE  ENDS
  expiring         €6,00   order o-1               stripe   2h00m  in 1d20h
      the hold ends soon
      can be done: capture
      capstan verdicts apply|dismiss v-1 --reason …
  amount_conflict  €15,00  capture c-1  succeeded  stripe   3m00s
      the gateway moved another amount
      can be done: acknowledge
      capstan verdicts apply|dismiss v-2 or v-3 --reason …
  needs_attention  ¥900    verdict v-4             stripe   10s
      a capture without a row
      can be done: settle it at the gateway
      capstan verdicts apply|dismiss v-4 --reason …
  and 48 more: capstan verdicts list --status open, capstan captures list --attention

WRONG
  REASON           KIND       WHERE       COUNT  AMOUNT  OLDEST  FIRST
  amount_conflict  capture    -           1      €15,00  3m00s   c-1
  needs_attention  finding    stripe      1              10s
  I13: sums fold   invariant  full audit  2              12h00m  a b

OPEN
  GATEWAY  KIND     STATE    COUNT  DUE NOW  AMOUNT         OLDEST
  stripe   capture  unknown  2      1        €7,00 + $1.00  3d01h

DONE IN THE LAST 24 HOURS
  WHAT                KIND     COUNT  TIMES  AMOUNT
  forwarded           capture  2      3      €30,00
  resolved by people  verdict  1      1      1 applied, 0 dismissed

HOLDS THAT END UNCAPTURED
  within 48 h  €6,00  1 hold

GATEWAYS
  stripe  stripe  PAUSED for 1h00m: credentials refused  listed to 30m00s ago

LAST RUNS
  sweep       20s ago     took 0.3 s   4 republish
  full audit  12h00m ago  took 65.2 s  1 thing breaks an invariant
  waiting     now                      1 not told to Redis, 2 orders to review, 3 webhooks in, 4 out

51 things need a person; 1 invariant is broken
`

func TestReportReadsWell(t *testing.T) {
	var r report
	if err := json.Unmarshal([]byte(`{"created_at":"2026-11-22T14:00:00.000Z",
		"open":[{"payment_gateway":"stripe","kind":"capture","state":"unknown","count":2,"due":1,"amounts":[{"formatted_amount":"€7,00"},{"formatted_amount":"$1.00"}],"oldest":"2026-11-19T13:00:00.000Z"}],
		"wrong":{"flags":[{"kind":"capture","reason":"amount_conflict","count":1,"amounts":[{"formatted_amount":"€15,00"}],"oldest":"2026-11-22T13:57:00.000Z","first":[{"type":"captures","id":"c-1","link":"x"}]}],
			"findings":[{"payment_gateway":"stripe","kind":null,"reason":"needs_attention","count":1,"amounts":[],"oldest":"2026-11-22T13:59:50.000Z","first":[]}],
			"invariants":[{"id":"I13","rule":"sums fold","scope":"full","count":2,"first":["a","b"],"found_at":"2026-11-22T02:00:00.000Z"}]},
		"done":{"verdicts":[{"kind":"capture","verdict":"forward","count":3,"operations":2,"amounts":[{"formatted_amount":"€30,00"}]}],"applied":1,"dismissed":0},
		"needs_person":{"count":51,"first":[
			{"type":"verdicts","id":"v-1","order_id":"o-1","payment_gateway":"stripe","state":null,"formatted_amount":"€6,00","reason":"expiring","rule":"the hold ends soon","since":"2026-11-22T12:00:00.000Z","deadline":"2026-11-24T10:00:00.000Z","next_actions":["capture"],"verdict_ids":["v-1"]},
			{"type":"captures","id":"c-1","order_id":"o-2","payment_gateway":"stripe","state":"succeeded","formatted_amount":"€15,00","reason":"amount_conflict","rule":"the gateway moved another amount","since":"2026-11-22T13:57:00.000Z","deadline":null,"next_actions":["acknowledge"],"verdict_ids":["v-2","v-3"]},
			{"type":"verdicts","id":"v-4","order_id":null,"payment_gateway":"stripe","state":null,"formatted_amount":"¥900","reason":"needs_attention","rule":"a capture without a row","since":"2026-11-22T13:59:50.000Z","deadline":null,"next_actions":[],"verdict_ids":["v-4"]}]},
		"deadlines":[{"within_hours":48,"currency_code":"EUR","formatted_amount":"€6,00","holds":1}],
		"gateways":[{"slug":"stripe","provider":"stripe","paused_at":"2026-11-22T13:00:00.000Z","paused_reason":"credentials refused","look_first_until":null,"listed_through":"2026-11-22T13:30:00.000Z"}],
		"runs":{"sweep":{"id":"s","started_at":"2026-11-22T13:59:40.000Z","duration_seconds":0.31,"counts":{"republish":4}},"sweep_is_late":false,
			"audits":[{"id":"a","scope":"full","started_at":"2026-11-22T02:00:00.000Z","duration_seconds":65.2,"broken":1}]},
		"backlog":{"unpublished":1,"orders_due":2,"webhooks_in":3,"webhooks_out":4}}`), &r); err != nil {
		t.Fatal(err)
	}
	var page bytes.Buffer
	if err := r.print(&page); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(reportOnATerminal, page.String()); diff != "" {
		t.Error(diff)
	}
	quiet := report{}
	if quiet.calls() || quiet.verdict() != "Nothing needs a person." || !r.calls() {
		t.Errorf("%q, %q", quiet.verdict(), r.verdict())
	}
}

// showsReport is what an operator types when something needs them: the report,
// the verdict behind it, and the report again.
func (p *production) showsReport(t *testing.T, remote map[string]string, capture string) {
	t.Helper()
	eventually(t, "a sweep has ended and nothing needs a person", func() bool {
		out, status := capstan(t, remote, "report")
		return status == exitOK && strings.Contains(out, "Nothing needs a person.")
	})
	if out, status := capstan(t, remote, "captures", "check", capture); status != exitOK || !strings.Contains(out, "in_sync") {
		t.Fatalf("captures check: %d\n%s", status, out)
	}
	if out, status := capstan(t, remote, "captures", "check", capture, store.NewID(), "--json"); status != exitFailed || !strings.Contains(out, "RECORD_NOT_FOUND") {
		t.Fatalf("captures check of nothing: %d\n%s", status, out)
	}
	for trigger, guard := range map[string]string{"forward": "ALREADY_SUCCEEDED", "cancel": "ORDER_APPROVED"} {
		cmd := program(t.Context(), t, remote, "captures", trigger, capture)
		if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != exitFailed || !strings.Contains(string(out), guard) {
			t.Errorf("captures %s: status %d, and does not name the guard %s: %s", trigger, cmd.ProcessState.ExitCode(), guard, out)
		}
	}
	conn, err := pgx.Connect(t.Context(), p.env["DATABASE_URL"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	verdict := store.NewID()
	if _, err := conn.Exec(t.Context(), fmt.Sprintf(`WITH flagged AS (UPDATE captures SET needs_attention = 'late_success' WHERE id = '%s' RETURNING *)
		INSERT INTO verdicts (id, operation_id, kind, order_id, mode, payment_gateway_id, amount_cents, currency_code, verdict, rule, action, outcome, actor)
		SELECT '%s', id, kind, order_id, mode, payment_gateway_id, amount_cents, currency_code, 'late_success', 'planted', 'confirmed', state, 'test' FROM flagged`, capture, verdict)); err != nil {
		t.Fatal(err)
	}
	out, status := capstan(t, remote, "report")
	for _, part := range []string{"NEEDS A PERSON (1)", "late_success", "€15,00", capture, verdict, "1 thing needs a person"} {
		if status != exitFailed || !strings.Contains(out, part) {
			t.Fatalf("report: status %d, %q:\n%s", status, part, out)
		}
	}
	if out, status = capstan(t, remote, "report", "--json"); status != exitFailed || !json.Valid([]byte(out)) {
		t.Fatalf("report --json: %d\n%s", status, out)
	}
	if out, status = capstan(t, remote, "verdicts", "list", "--status", "open", "--verdict", "late_success,duplicate", "--gateway", "stripe", "--newer-than", "1h", "--at-least", "1"); status != 0 || !strings.Contains(out, verdict) {
		t.Fatalf("verdicts list: %d\n%s", status, out)
	}
	if out, status = capstan(t, remote, "verdicts", "show", verdict); status != 0 || !strings.Contains(out, "acknowledge") {
		t.Fatalf("verdicts show: %d\n%s", status, out)
	}
	if _, status = capstan(t, remote, "verdicts", "apply", verdict); status != exitUsage {
		t.Fatalf("verdicts apply without a reason: %d", status)
	}
	if out, status = capstan(t, remote, "verdicts", "apply", verdict, "--reason", "seen", "--by", "Jo Doe"); status != 0 || !strings.Contains(out, "applied by api:admin (Jo Doe)") {
		t.Fatalf("verdicts apply: %d\n%s", status, out)
	}
	if _, status = capstan(t, remote, "verdicts", "dismiss", verdict, "--reason", "again"); status != exitFailed {
		t.Fatalf("verdicts dismiss of an applied one: %d", status)
	}
	if out, status = capstan(t, remote, "report"); status != exitOK || !strings.Contains(out, "resolved by people") {
		t.Fatalf("report afterwards: %d\n%s", status, out)
	}
}
