package worker_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
)

// planted is an error put straight into the ledger or into the gateway's book,
// behind the program's back, and what has to come of it.
type planted struct {
	name  string
	plant func(t *testing.T, w *world) purchase
	// by is who finds it: sweep, listing or audit.
	by string
	// verdict is among those on the order, or in the finding where there is none.
	verdict models.Verdict
	// broken are the invariants that the audit names for it, before the sweep and,
	// as nobody mends a ledger by guessing, after it.
	broken string
	// end is where it ends. What is not said is as when nothing is wrong.
	end ending
}

// ending is what both books say when nothing moves any more.
type ending struct {
	State     models.State // of the capture; "" when there is none
	Confirmed int64
	Flag      string
	Payment   models.PaymentStatus
	Others    string // refunds and voids: kind, state, cause, amount
	Booked    string // by the gateway: captures - refunds - releases - disputes
}

func (e ending) String() string {
	return fmt.Sprintf("%-9s %-17s %-18s booked %-26s %s", e.State, e.Flag, e.Payment, e.Booked, e.Others)
}

// plantedErrors are the kinds that have been thought of.
var plantedErrors = []planted{
	{
		name: "lost task", by: "sweep", verdict: models.Republish, end: paidFor(total),
		plant: func(t *testing.T, w *world) purchase { return w.order(t, "") },
	},
	{
		name: "stuck call", by: "sweep", verdict: models.Retry, end: paidFor(total),
		plant: func(t *testing.T, w *world) purchase { return w.abandoned(t, "", 0) },
	},
	{
		name: "booked and unrecorded", by: "sweep", verdict: models.Forward, end: paidFor(total),
		plant: func(t *testing.T, w *world) purchase { return w.abandoned(t, "", total) },
	},
	{
		name: "wrong amount", by: "sweep", verdict: models.AmountConflict,
		end:   ending{State: models.Succeeded, Confirmed: 1200, Flag: models.FlagAmount, Payment: models.PartiallyPaid, Booked: "1200eur - - -"},
		plant: func(t *testing.T, w *world) purchase { return w.abandoned(t, "", 1200) },
	},
	{
		name: "wrong currency", by: "sweep", verdict: models.AmountConflict,
		end:   ending{State: models.Unknown, Flag: models.FlagCurrency, Payment: models.Authorized, Booked: "1500usd - - -"},
		plant: func(t *testing.T, w *world) purchase { return w.abandoned(t, "wrong_currency", total) },
	},
	{
		name: "expired hold", by: "sweep", verdict: models.Fail,
		end:   ending{State: models.Failed, Payment: models.Voided, Booked: "- - 1500eur -"},
		plant: plantExpired,
	},
	{
		name: "total changed under an open order's capture", by: "sweep", verdict: models.Cancel,
		end:   ending{State: models.Reset, Confirmed: total, Payment: models.Unpaid, Others: "refund succeeded cancel 1500", Booked: "1500eur 1500eur - -"},
		plant: plantChanged,
	},
	{
		name: "captured after cancel", by: "listing", verdict: models.LateSuccess,
		end: ending{
			State: models.Reset, Confirmed: total, Flag: models.FlagLateSuccess, Payment: models.Refunded,
			Others: "refund succeeded cancel 1500, void failed cancel 1500", Booked: "1500eur 1500eur - -",
		},
		plant: plantCancelled,
	},
	{
		name: "double capture at the gateway", by: "listing", verdict: models.AmountConflict,
		end:   ending{State: models.Succeeded, Confirmed: total, Flag: models.FlagAmount, Payment: models.Paid, Booked: "1500eur+1500eur - - -"},
		plant: plantDouble,
	},
	{
		name: "recorded and not booked", by: "listing", verdict: models.NeedsAttention,
		end:   ending{State: models.Succeeded, Confirmed: total, Flag: models.FlagNotBooked, Payment: models.Paid, Booked: "- - - -"},
		plant: func(t *testing.T, w *world) purchase { return w.invented(t, 0) },
	},
	{
		name: "recorded with another amount", by: "listing", verdict: models.AmountConflict,
		end:   ending{State: models.Succeeded, Confirmed: total, Flag: models.FlagAmount, Payment: models.Paid, Booked: "1200eur - - -"},
		plant: func(t *testing.T, w *world) purchase { return w.invented(t, 1200) },
	},
	{
		name: "refund unknown to us, by the gateway's people", by: "listing", verdict: models.NeedsAttention,
		end:   ending{State: models.Succeeded, Confirmed: total, Flag: models.FlagForeignRefund, Payment: models.Paid, Booked: "1500eur 500eur - -"},
		plant: func(t *testing.T, w *world) purchase { return w.happened(t, "refund", returned) },
	},
	{
		name: "refund unknown to us, under our own name", by: "listing", verdict: models.Forward,
		end: ending{
			State: models.Succeeded, Confirmed: total, Payment: models.PartiallyRefunded, Others: "refund succeeded adopted 500", Booked: "1500eur 500eur - -",
		},
		plant: plantRefund,
	},
	{
		name: "chargeback", by: "listing", verdict: models.NeedsAttention,
		end:   ending{State: models.Reversed, Confirmed: total, Flag: models.FlagReversed, Payment: models.Unpaid, Booked: "1500eur - - 1500eur"},
		plant: func(t *testing.T, w *world) purchase { return w.happened(t, "dispute", 0) },
	},
	{
		name: "orphan capture of an unknown hold", by: "listing", verdict: models.NeedsAttention,
		end:   ending{Booked: "1500eur - - -"},
		plant: plantOrphan,
	},
	{
		name: "own capture without a row", by: "listing", verdict: models.Forward, end: paidFor(total),
		plant: plantOwn,
	},
	{
		name: "a step of the history changed", by: "audit", broken: "I15", end: paidFor(total),
		plant: corrupted(`UPDATE events SET reason = 'nothing to see here' WHERE operation_id = $1 AND version = 1`),
	},
	{
		name: "a step of the history removed", by: "audit", broken: "I15 I6 I9", end: paidFor(total),
		plant: corrupted(`DELETE FROM events WHERE operation_id = $1 AND version = 1`),
	},
	{
		name: "a chain's head changed", by: "audit", broken: "I15", end: paidFor(total),
		plant: corrupted(`UPDATE captures SET chain_hash = '\x00' WHERE id = $1`),
	},
	{
		name: "a hold's sum that does not fold", by: "audit", broken: "I14", end: paidFor(total),
		plant: corrupted(`UPDATE authorizations SET confirmed_cents = confirmed_cents - 1 WHERE id = (SELECT authorization_id FROM captures WHERE id = $1)`),
	},
	{
		name: "approved order without a capture", by: "audit", broken: "I3",
		end:   ending{Payment: models.Authorized, Booked: "- - - -"},
		plant: plantApproved,
	},
	{
		name: "work row missing for an open capture", by: "audit", broken: "I10",
		end:   ending{State: models.Pending, Payment: models.Authorized, Booked: "- - - -"},
		plant: plantForgotten,
	},
}

// TestPlantedErrors puts one of each into one world, and lets one pass of what
// runs by the clock find them: sweep, listing and audit.
func TestPlantedErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	plants := make([]purchase, len(plantedErrors))
	for i, e := range plantedErrors {
		plants[i] = e.plant(t, w)
	}
	if err := w.redis.FlushAll(t.Context()).Err(); err != nil { // every task is lost
		t.Fatal(err)
	}
	w.exec(t, `UPDATE work SET due_at = now() - interval '1 hour', published_at = now() - interval '1 hour'`)
	w.checkBroken(t, plants)

	w.start(t, staff{})
	lister := w.lister(t, nil)
	eventually(t, "everything planted has come to its end", func() (bool, any) {
		if report, err := lister.CompareListing(t.Context(), account); err != nil {
			return false, fmt.Sprint(report, err)
		}
		diff := cmp.Diff(w.wanted(), w.endings(t, plants))
		return diff == "", diff
	})
	w.checkBroken(t, plants)
	for i, e := range plantedErrors {
		if got := w.said(t, plants[i], e.by); e.verdict != "" && !slices.Contains(got, e.verdict) {
			t.Errorf("%s: the %s said %v, want %s", e.name, e.by, got, e.verdict)
		}
		t.Logf("%-50s found by %-7s %-16s ends %s", e.name, e.by, string(e.verdict)+e.broken, e.end)
	}
	for _, v := range w.sandbox.Book().Violations {
		t.Errorf("the gateway refused to be robbed: %+v", v)
	}
}

// wanted is how everything has to end.
func (w *world) wanted() map[string]ending {
	all := map[string]ending{}
	for _, e := range plantedErrors {
		all[e.name] = e.end
	}
	return all
}

func (w *world) endings(t *testing.T, plants []purchase) map[string]ending {
	t.Helper()
	all := map[string]ending{}
	for i, e := range plantedErrors {
		all[e.name] = w.ending(t, plants[i])
	}
	return all
}

func (w *world) ending(t *testing.T, p purchase) ending {
	t.Helper()
	b := w.sandbox.BookOf(p.hold)
	end := ending{Booked: strings.Join([]string{bookings(b.Captures), bookings(b.Refunds), bookings(b.Cancels), bookings(b.Disputes)}, " ")}
	if p.orderID == "" {
		return end
	}
	end.Payment = w.orderNow(t, p).PaymentStatus
	for _, op := range w.operations(t, models.Capture, p) {
		end.State, end.Flag = op.State, op.NeedsAttention
		if op.ConfirmedCents != nil {
			end.Confirmed = *op.ConfirmedCents
		}
	}
	var others []string
	for _, kind := range []models.Kind{models.Refund, models.Void} {
		for _, op := range w.operations(t, kind, p) {
			others = append(others, fmt.Sprintf("%s %s %s %d", kind, op.State, op.Cause, op.AmountCents))
		}
	}
	end.Others = strings.Join(others, ", ")
	return end
}

func bookings(all []sandbox.Booking) string {
	if len(all) == 0 {
		return "-"
	}
	var out []string
	for _, b := range all {
		out = append(out, fmt.Sprint(b.Amount, b.Currency))
	}
	return strings.Join(out, "+")
}

// said lists the verdicts on an order, or on a hold that is nobody's, of the
// listing or of all but that.
func (w *world) said(t *testing.T, p purchase, by string) []models.Verdict {
	t.Helper()
	rows, err := w.db.QueryContext(t.Context(), `SELECT verdict FROM verdicts WHERE (actor = 'listing:' || $1) = $2
		AND (order_id = NULLIF($3, '')::uuid OR order_id IS NULL AND theirs::text LIKE '%' || $4 || '%') ORDER BY created_at`,
		account, by == "listing", p.orderID, p.hold)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all []models.Verdict
	for rows.Next() {
		var v models.Verdict
		if err := rows.Scan(&v); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// checkBroken audits the ledger: each planted error breaks what it should and
// nothing else is broken.
func (w *world) checkBroken(t *testing.T, plants []purchase) {
	t.Helper()
	found, err := w.store.Audit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, want := map[string]string{}, map[string]string{}
	for i, e := range plantedErrors {
		if e.broken != "" {
			want[e.name] = e.broken
		}
		ids := slices.DeleteFunc([]string{plants[i].orderID, plants[i].authID, plants[i].op.ID}, func(id string) bool { return id == "" })
		var broken []string
		for _, inv := range found {
			if slices.ContainsFunc(inv.Broken, func(name string) bool {
				return slices.ContainsFunc(ids, func(id string) bool { return strings.HasPrefix(name, id) })
			}) {
				broken = append(broken, inv.ID)
			}
		}
		slices.Sort(broken)
		if len(broken) > 0 {
			got[e.name] = strings.Join(broken, " ")
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the audit names something else:\n%s", diff)
	}
	for _, inv := range found {
		for _, name := range inv.Broken {
			if !slices.ContainsFunc(plants, func(p purchase) bool {
				return strings.HasPrefix(name, p.orderID) || strings.HasPrefix(name, p.authID) || strings.HasPrefix(name, p.op.ID)
			}) {
				t.Errorf("%s names %s, which nobody planted", inv.ID, name)
			}
		}
	}
}
