package store_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// toldLedger is a ledger in which much has happened: months before, some of them
// detached, their days anchored, and lately one order of each kind. Its members
// are ids.
type toldLedger struct {
	bench
	paid, paidOrder, paidHold          string
	other, refunded, refund            string
	unknown, unknownHold, looked       string
	failed, bare, voidHold, inbox, old string
	told                               string
}

func tellAll(t *testing.T) toldLedger {
	t.Helper()
	b := benchAt(t, onApproval, devstacktest.NewDatabase(t, retiredLedger))
	ctx := t.Context()
	must(t, b.AnchorDays(ctx, 1000, func(store.DailyAnchor) {}))
	must(t, b.EnsureWebhook(ctx, "shop", "https://example.com/"))
	b.exec(t, `UPDATE webhooks SET enabled_at = now() - interval '1 day'`)
	l := toldLedger{bench: b}

	order, paid := b.paid(t)
	l.paid, l.paidOrder, l.paidHold = paid.ID, order.ID, paid.AuthorizationID
	_, other := b.paid(t)
	l.other = other.ID
	_, refunded := b.paid(t)
	refund, err := b.refund(refunded.ID, 100)
	must(t, err)
	b.record(t, b.claim(t, refund), confirmed(refund))
	l.refunded, l.refund = refunded.ID, refund.ID
	cancelled, _ := b.paid(t)
	must(t, b.cancelOrder(cancelled.ID))
	back := b.refundOf(t, cancelled.ID)
	b.record(t, b.claim(t, back), confirmed(back))
	void, err := b.void(b.hold(t, b.order(t, 1500).ID, 1500).ID)
	must(t, err)
	b.record(t, b.claim(t, void), confirmed(void))
	l.voidHold = void.AuthorizationID
	_, failed := b.approved(t)
	b.record(t, b.claim(t, failed), evidence(failed, models.FromAnswer, models.OutcomeRefused))
	l.failed = failed.ID
	_, told := b.approved(t)
	_, err = b.Assert(ctx, nil, models.Test, store.Word{Kind: told.Kind, ID: told.ID, Happened: true, Mechanism: models.MechanismManual, By: "person", Reason: "a wire"})
	must(t, err)
	l.told = told.ID
	lowered, _ := b.approved(t)
	must(t, b.changeTotal(lowered.ID, 1000))

	_, looked := b.approved(t)
	b.record(t, b.claim(t, looked), evidence(looked, models.FromAnswer, models.OutcomeLost))
	b.exec(t, `UPDATE captures SET next_at = now() WHERE id = $1`, looked.ID)
	again := b.claim(t, looked)
	if !again.Look {
		t.Fatal("it was not looked up")
	}
	b.record(t, again, evidence(looked, models.FromLookUp, models.OutcomeLost))
	l.looked = looked.ID
	_, unknown := b.approved(t)
	b.record(t, b.claim(t, unknown), evidence(unknown, models.FromAnswer, models.OutcomeLost))
	l.unknown, l.unknownHold = unknown.ID, unknown.AuthorizationID
	_, flagged := b.approved(t)
	_, err = b.Apply(ctx, store.Move{Op: flagged, Decision: models.Decision{Event: models.Flagged, Flag: "x"}, Actor: "test"})
	must(t, err)
	l.bare = b.order(t, 1500).ID
	b.hold(t, l.bare, 1500)
	b.publish(t)

	_, err = b.Receive(ctx, "stripe", "evt_1", "x", []byte("{}"))
	must(t, err)
	l.inbox = read[string](t, b, `SELECT id FROM inbox`)
	must(t, b.FinishInbox(ctx, l.inbox, "applied", ""))
	l.old = read[string](t, b, `SELECT operation_id FROM `+months("events", -1, -1)[0]+` ORDER BY 1 LIMIT 1`)
	return l
}

// Every breakage is found, by the invariants it breaks and by id, and nothing
// beside it: in a full audit, and in a recent one where it is of today. Without
// -prove one of three is tried in both.
func TestPlantedBreakages(t *testing.T) {
	l := tellAll(t)
	both := []store.AuditScope{store.AuditFull, store.AuditRecent}
	full := both[:1]
	found := func(broken ...string) map[string][]string { // invariant, id, invariant, id, …
		all := map[string][]string{}
		for i := 0; i < len(broken); i += 2 {
			all[broken[i]] = append(all[broken[i]], broken[i+1])
		}
		return all
	}
	everywhere := func(id string, invariants ...string) map[string][]string {
		all := map[string][]string{}
		for _, i := range invariants {
			all[i] = []string{id}
		}
		return all
	}
	p := l.paid
	for i, c := range []struct {
		name      string
		scopes    []store.AuditScope
		want      map[string][]string
		statement string
		args      []any
	}{
		{"nothing", both, found(), `SELECT 1`, nil},
		{"a hold asked for less", both, found("I1", l.paidHold), `UPDATE authorizations SET requested_cents = 1 WHERE id = $1`, []any{l.paidHold}},
		{"a reservation beside its state", both, found("I1", l.unknown, "I1", l.unknownHold), `UPDATE captures SET reserved_cents = 1 WHERE id = $1`, []any{l.unknown}},
		{"more than the hold, booked by hand", both, found("I1", l.paidHold, "I2", l.paidOrder, "I9", p), `WITH c AS (UPDATE captures SET confirmed_cents = 1600 WHERE id = $1),
			h AS (UPDATE authorizations SET confirmed_cents = 1600 WHERE id = $2) UPDATE orders SET captured_cents = 1600 WHERE id = $3`, []any{p, l.paidHold, l.paidOrder}},
		{"a capture that is gone", full, found("I1", l.paidHold, "I2", l.paidHold, "I13", l.paidOrder, "I14", l.paidHold, "I15", p), `DELETE FROM captures WHERE id = $1`, []any{p}},
		{"the newest capture that is gone", both[1:], found("I1", l.paidHold, "I2", l.paidHold, "I13", l.paidOrder, "I14", l.paidHold), `DELETE FROM captures WHERE id = $1`, []any{p}},
		{"one transaction for two", both, found("I2", min(p, l.other), "I9", p), `UPDATE captures SET gateway_transaction_id = 'tx_' || $2::text WHERE id = $1`, []any{p, l.other}},
		{"a double capture", both, found("I1", l.paidHold, "I2", l.paidHold, "I7", l.paidHold, "I9", twin, "I10", twin, "I13", l.paidOrder, "I15", twin),
			`INSERT INTO captures SELECT (jsonb_populate_record(c, jsonb_build_object('id', $2::text, 'gateway_reference', 'cap_twin', 'sequence', 2, 'cause', 'manual', 'state', 'pending',
				'version', 1, 'confirmed_cents', NULL, 'finished_at', NULL, 'sent_version', NULL))).* FROM captures AS c WHERE id = $1`, []any{p, twin}},
		{"an approval without a capture", both, found("I3", l.bare), `UPDATE orders SET status = 'approved', approved_at = now() WHERE id = $1`, []any{l.bare}},
		{"an end without a reason", both, everywhere(l.failed, "I3", "I15"), `WITH c AS (UPDATE captures SET error_code = NULL, message = NULL WHERE id = $1)
			UPDATE events SET reason = '' WHERE operation_id = $1 AND to_state = 'failed'`, []any{l.failed}},
		{"an attempt that is gone", both, everywhere(p, "I5", "I6", "I9", "I15"), `DELETE FROM attempts WHERE operation_id = $1`, []any{p}},
		{"an answer to no attempt", both, found("I5", l.unknown), `INSERT INTO attempt_results (operation_id, version, outcome) VALUES ($1, 99, 'confirmed')`, []any{l.unknown}},
		{"an answer before its attempt", both, found("I5", p), `UPDATE attempt_results SET recorded_at = now() - interval '1 day' WHERE operation_id = $1`, []any{p}},
		{"a success without a call", both, everywhere(p, "I5", "I6", "I9", "I15"), `WITH s AS (UPDATE captures SET sent_version = NULL WHERE id = $1), r AS (DELETE FROM attempt_results WHERE operation_id = $1)
			DELETE FROM attempts WHERE operation_id = $1`, []any{p}},
		{"an edge that is not there", both, everywhere(p, "I6", "I9", "I15"), `UPDATE events SET event = 'accepted' WHERE operation_id = $1 AND version = 1`, []any{p}},
		{"a step from elsewhere", both, everywhere(p, "I6", "I15"), `UPDATE events SET from_state = 'unknown' WHERE operation_id = $1 AND version = 3`, []any{p}},
		{"a live operation that its hold forgot", both, found("I7", l.unknownHold), `UPDATE authorizations SET live_operation_id = NULL WHERE id = $1`, []any{l.unknownHold}},
		{"a live operation that is none", both, found("I7", l.paidHold), `UPDATE authorizations SET live_operation_id = $2 WHERE id = $1`, []any{l.paidHold, p}},
		{"a look that was a send", both, found("I8", l.looked), `UPDATE attempts SET call = 'send' WHERE operation_id = $1 AND call = 'look_up'`, []any{l.looked}},
		{"a look that found nothing, it says", both, found("I8", l.looked), `UPDATE attempt_results SET outcome = 'none' WHERE operation_id = $1 AND version = 4`, []any{l.looked}},
		{"another's key", both, everywhere(p, "I8", "I15"), `UPDATE attempts SET idempotency_key = 'cap_other_e0' WHERE operation_id = $1`, []any{p}},
		{"a key of an epoch to come", both, everywhere(p, "I8", "I15"), `UPDATE attempts SET idempotency_key = replace(idempotency_key, '_e0', '_e1') WHERE operation_id = $1`, []any{p}},
		{"another amount", both, everywhere(p, "I1", "I9"), `UPDATE captures SET amount_cents = 1400 WHERE id = $1`, []any{p}},
		{"another confirmed amount", both, found("I9", p, "I13", l.paidOrder, "I14", l.paidHold), `UPDATE captures SET confirmed_cents = 1400 WHERE id = $1`, []any{p}},
		{"another version", both, found("I9", p), `UPDATE captures SET version = 4 WHERE id = $1`, []any{p}},
		{"an event that is gone", both, everywhere(p, "I9", "I15"), `DELETE FROM events WHERE operation_id = $1 AND version = 3`, []any{p}},
		{"an end without a time", both, found("I9", p), `UPDATE captures SET finished_at = NULL WHERE id = $1`, []any{p}},
		{"lost work", both, found("I10", l.unknown), `DELETE FROM work WHERE operation_id = $1`, []any{l.unknown}},
		{"work for nothing", both, found("I10", p), `INSERT INTO work (operation_id, kind, payment_gateway_id, due_at, published_at) VALUES ($1, 'capture', $2, now(), now())`, []any{p, l.gateway.ID}},
		{"work of another account", both, found("I10", l.unknown), `UPDATE work SET payment_gateway_id = $2 WHERE operation_id = $1`, []any{l.unknown, p}},
		{"work that nobody publishes", both, found("I10", l.unknown), `WITH c AS (UPDATE captures SET updated_at = now() - interval '1 hour' WHERE id = $1)
			UPDATE work SET published_at = NULL, due_at = now() - interval '1 hour' WHERE operation_id = $1`, []any{l.unknown}},
		{"work that nobody takes", both, found("I10", l.unknown), `UPDATE work SET published_at = now() - interval '1 hour', due_at = now() - interval '1 hour' WHERE operation_id = $1`, []any{l.unknown}},
		{"a webhook in without an outcome", both, found("I11", l.inbox), `UPDATE inbox SET outcome = ''`, nil},
		{"a webhook in that was parked without a reason", both, found("I11", l.inbox), `UPDATE inbox SET outcome = 'parked'`, nil},
		{"a webhook in that nobody takes", both, found("I11", l.inbox), `UPDATE inbox SET processed_at = NULL, outcome = '', received_at = now() - interval '1 hour', due_at = now() - interval '1 hour'`, nil},
		{"a webhook out that is missing", both, found("I12", p), `DELETE FROM deliveries WHERE operation_id = $1`, []any{p}},
		{"a webhook out that was refused and counts as delivered", both, found("I12", p), `UPDATE deliveries SET delivered_at = now(), tries = 1, last_status = 500 WHERE operation_id = $1`, []any{p}},
		{"a webhook out of another state", both, found("I12", p), `UPDATE deliveries SET topic = 'captures.failed' WHERE operation_id = $1`, []any{p}},
		{"an order's captured sum", both, found("I13", l.paidOrder), `UPDATE orders SET captured_cents = 1499 WHERE id = $1`, []any{l.paidOrder}},
		{"an order's voided sum", both, found("I13", l.paidOrder), `UPDATE orders SET voided_cents = 1 WHERE id = $1`, []any{l.paidOrder}},
		{"an order's held sum", both, found("I13", l.paidOrder), `UPDATE orders SET held_cents = 1 WHERE id = $1`, []any{l.paidOrder}},
		{"an order's numbers", both, found("I13", l.paidOrder), `UPDATE orders SET transactions = 7 WHERE id = $1`, []any{l.paidOrder}},
		{"a hold's returned sum", both, found("I14", l.paidHold), `UPDATE authorizations SET returned_cents = 1 WHERE id = $1`, []any{l.paidHold}},
		{"a hold closed for no reason", both, found("I14", l.paidHold), `UPDATE authorizations SET closed_reason = NULL WHERE id = $1`, []any{l.paidHold}},
		{"a capture's refunded sum", both, found("I14", l.refunded), `UPDATE captures SET refunded_cents = 99 WHERE id = $1`, []any{l.refunded}},
		{"a word that nobody said", both, found("I9", p), `UPDATE captures SET asserted_by = 'nobody' WHERE id = $1`, []any{p}},
		{"another mechanism than was said", both, found("I9", l.told), `UPDATE captures SET mechanism = NULL WHERE id = $1`, []any{l.told}},
		{"a word without a name", both, everywhere(l.told, "I9"), `UPDATE captures SET asserted_by = NULL, mechanism = NULL WHERE id = $1`, []any{l.told}},
		{"another currency", both, everywhere(p, "I9", "I14"), `UPDATE captures SET currency_code = 'USD' WHERE id = $1`, []any{p}},
		{"an event's evidence", both, everywhere(p, "I15"), `UPDATE events SET evidence = evidence || '{"message": "paid"}' WHERE operation_id = $1 AND version = 3`, []any{p}},
		{"an event's transaction", both, everywhere(p, "I9", "I15"), `UPDATE events SET gateway_transaction_id = 'tx_mine' WHERE operation_id = $1 AND version = 3`, []any{p}},
		{"a capture's last hash", both, everywhere(p, "I15"), `UPDATE captures SET chain_hash = sha256('x') WHERE id = $1`, []any{p}},
		{"an old step, its chain made anew", full, found("I15", "the anchor of day"), `WITH e AS (
				UPDATE events AS e SET actor = 'nobody', hash = step_hash(a.hash, e.operation_id, 3, event, from_state, to_state, e.amount_cents, e.currency_code, 'nobody', reason || E'\x1e' || evidence::text, occurred_at)
				FROM attempts AS a WHERE a.operation_id = $1 AND e.operation_id = $1 AND e.version = 3 RETURNING e.hash
			) UPDATE captures SET chain_hash = e.hash FROM e WHERE id = $1`, []any{l.old}},
		{"an old send that was a look", full, found("I5", l.old, "I15", "the anchor of day"), `UPDATE attempts SET call = 'look_up' WHERE operation_id = $1`, []any{l.old}},
		{"a step that came to an anchored day", full, found("I15", p, "I15", "the anchor of day"), `UPDATE events SET occurred_at = (SELECT max(day) FROM daily_anchors) WHERE operation_id = $1 AND version = 3`, []any{p}},
		{"an anchor's figure", full, found("I15", "the anchor of day"), `UPDATE daily_anchors SET steps = steps + 1 WHERE number = (SELECT max(number) FROM daily_anchors)`, nil},
		{"an anchor that is gone", full, found("I15", "the anchor of day"), `DELETE FROM daily_anchors WHERE number = 1`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			l.rolledBack(t, func(tx *sql.Tx) {
				for _, set := range []string{`SET LOCAL session_replication_role = replica`, `SET LOCAL jit = off`} {
					_, err := tx.Exec(set)
					must(t, err)
				}
				_, err := tx.Exec(c.statement, c.args...)
				must(t, err)
				if !*prove && i%3 > 0 {
					c.scopes = c.scopes[:1]
				}
				for _, scope := range c.scopes {
					got := l.brokenIn(t, tx, scope)
					if diff := cmp.Diff(c.want, got, cmpopts.SortSlices(strings.Compare)); diff != "" {
						t.Errorf("%s audit (-want +got):\n%s", scope, diff)
					}
				}
			})
		})
	}
}

const twin = "01999999-9999-7999-8999-999999999999"

// brokenIn names what an audit finds, by invariant: the id that each name begins
// with, each once.
func (b bench) brokenIn(t *testing.T, tx store.Tx, scope store.AuditScope) map[string][]string {
	t.Helper()
	found, err := b.AuditIn(context.Background(), tx, scope, time.Now().Add(-10*time.Minute))
	must(t, err)
	wrong := map[string][]string{}
	for _, i := range found {
		for _, name := range i.Broken {
			id := strings.Fields(name)[0]
			if id == "the" {
				id = "the anchor of day"
			}
			if last := wrong[i.ID]; len(last) == 0 || last[len(last)-1] != id {
				wrong[i.ID] = append(last, id)
			}
		}
	}
	return wrong
}
