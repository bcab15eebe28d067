package worker_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/worker"
)

// atOnce compares up to the present second, and everything anew each time.
var atOnce = store.ListingSpan{Overlap: time.Hour, Longest: 24 * time.Hour, First: time.Hour}

func (w *world) lister(t testing.TB, at func(worker.Step)) *worker.Runner {
	t.Helper()
	return w.runner(t, staff{name: "lister", listing: &atOnce, at: at})
}

// dashboard does something at the gateway behind our back.
func (w *world) dashboard(t testing.TB, action, hold string, cents int64, reference string) {
	t.Helper()
	body := fmt.Sprintf(`{"action":%q,"hold":%q,"amount":%d}`, action, hold, cents)
	if reference != "" {
		body = fmt.Sprintf(`{"action":%q,"hold":%q,"amount":%d,"metadata":{"capstan_reference":%q}}`, action, hold, cents, reference)
	}
	w.call(t, http.MethodPost, "/_sandbox/dashboard", strings.NewReader(body), nil)
}

// compare compares the gateway's list with the ledger until all that was booked
// before the call was compared, and returns what it found.
func (w *world) compare(t testing.TB, r *worker.Runner) []worker.ListFinding {
	t.Helper()
	until := time.Now().Truncate(time.Second).Add(time.Second)
	var found []worker.ListFinding
	eventually(t, "everything booked is compared", func() (bool, any) {
		report, err := r.CompareListing(t.Context(), account)
		if err != nil {
			return false, err
		}
		for _, f := range report.Findings {
			if f.New {
				found = append(found, f)
			}
		}
		return w.through(t).After(until.Add(-time.Nanosecond)), report
	})
	return found
}

func (w *world) through(t testing.TB) time.Time {
	t.Helper()
	through, err := w.store.ListedThrough(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return time.Unix(int64(through[account]), 0)
}

// brief is a finding as the tables write it.
func brief(f worker.ListFinding) string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", f.Verdict, f.Action, f.Kind))
}

func reference(hold string, kind models.Kind, n int) string {
	return models.GatewayReference(account, hold, kind, n)
}

// behindUs is one thing that happened at the gateway without us.
type behindUs struct {
	name string
	do   func(t *testing.T, w *world) purchase
	want string // the finding
	// state and flag are of the purchase's operation afterwards; "" is not asked.
	state models.State
	flag  string
}

var listingPlants = []behindUs{
	{"agrees", func(t *testing.T, w *world) purchase { return w.captured(t, "") }, "", models.Succeeded, ""},
	{"agrees, refunded by us", func(t *testing.T, w *world) purchase {
		p := w.captured(t, "")
		refund := w.refund(t, p)
		if err := w.runner(t, staff{}).Run(t.Context(), models.Refund, refund.op.ID); err != nil {
			t.Fatal(err)
		}
		return p
	}, "", models.Succeeded, ""},
	{"a hold that we never had", func(t *testing.T, w *world) purchase {
		p := purchase{hold: w.authorize(t, "", total)}
		w.dashboard(t, "capture", p.hold, 0, "")
		return p
	}, "needs_attention nothing", "", ""},
	{"captured in the dashboard", func(t *testing.T, w *world) purchase {
		p := w.place(t, "")
		w.dashboard(t, "capture", p.hold, 0, "")
		return p
	}, "needs_attention adopt", "", ""},
	{"captured by somebody's program", func(t *testing.T, w *world) purchase {
		p := w.place(t, "")
		w.dashboard(t, "capture", p.hold, 0, "theirs")
		return p
	}, "needs_attention adopt", "", ""},
	{"refunded in the dashboard", func(t *testing.T, w *world) purchase {
		p := w.captured(t, "")
		w.dashboard(t, "refund", p.hold, 300, "")
		return p
	}, "needs_attention flag capture", models.Succeeded, models.FlagForeignRefund},
	{"charged back", func(t *testing.T, w *world) purchase {
		p := w.captured(t, "")
		w.dashboard(t, "dispute", p.hold, 0, "")
		return p
	}, "needs_attention observe capture", models.Reversed, models.FlagReversed},
	{"charged back in part", func(t *testing.T, w *world) purchase {
		p := w.captured(t, "")
		w.dashboard(t, "dispute", p.hold, 100, "")
		return p
	}, "amount_conflict observe capture", models.Succeeded, models.FlagPartlyReversed},
	{"charged back and won", func(t *testing.T, w *world) purchase {
		p := w.captured(t, "")
		w.dashboard(t, "dispute", p.hold, 0, "")
		w.dashboard(t, "dispute_won", p.hold, 0, "")
		return p
	}, "needs_attention observe capture, late_success observe capture", models.Succeeded, models.FlagLateSuccess},
	{"captured once more, another amount", func(t *testing.T, w *world) purchase { return w.twice(t, 1000, 500) }, "amount_conflict look capture", models.Succeeded, models.FlagAmount},
	{"captured once more, the same amount", func(t *testing.T, w *world) purchase { return w.twice(t, 750, 750) }, "amount_conflict look capture", models.Succeeded, models.FlagAmount},
	{"captured after it was given up", func(t *testing.T, w *world) purchase {
		p := w.order(t, "")
		w.exec(t, `UPDATE orders SET cancel_requested_at = now() WHERE id = $1`, p.orderID)
		_ = w.runner(t, staff{}).Run(t.Context(), models.Capture, p.op.ID) // withdrawn, since the order closes
		w.exec(t, `UPDATE orders SET cancel_requested_at = NULL WHERE id = $1`, p.orderID)
		w.dashboard(t, "capture", p.hold, 0, reference(p.hold, models.Capture, 1))
		return p
	}, "late_success look capture", models.Succeeded, models.FlagLateSuccess},
	{"captured while it is open here", func(t *testing.T, w *world) purchase {
		p := w.order(t, "")
		w.dashboard(t, "capture", p.hold, 0, reference(p.hold, models.Capture, 1))
		return p
	}, "forward look capture", models.Pending, ""},
}

// twice captures a part of a hold by us, and another behind our back.
func (w *world) twice(t *testing.T, ours, theirs int64) purchase {
	t.Helper()
	p := w.placeFor(t, "", ours, ours+theirs)
	p.op = w.approve(t, p)[0]
	eventually(t, "the capture for the setup", func() (bool, any) {
		err := w.runner(t, staff{}).Run(t.Context(), models.Capture, p.op.ID)
		return w.reread(t, p).State == models.Succeeded, err
	})
	w.dashboard(t, "capture", p.hold, theirs, "")
	return p
}

// findingsOf are the findings about a hold, in order.
func findingsOf(found []worker.ListFinding, hold string) string {
	var out []string
	for _, f := range found {
		if f.Hold == hold {
			out = append(out, brief(f))
		}
	}
	return strings.Join(out, ", ")
}

// TestListingFindsWhatHappenedWithoutUs plants everything at once, compares,
// compares everything again, and lets two workers compare at the same time.
func TestListingFindsWhatHappenedWithoutUs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	purchases := make([]purchase, len(listingPlants))
	for i, p := range listingPlants {
		purchases[i] = p.do(t, w)
	}
	before := w.book(t, "")
	r := w.lister(t, nil)
	found := w.compare(t, r)
	for i, p := range listingPlants {
		if got := findingsOf(found, purchases[i].hold); got != p.want {
			t.Errorf("%s: found %q, want %q", p.name, got, p.want)
		}
		if p.state == "" {
			continue
		}
		if op := w.reread(t, purchases[i]); op.State != p.state || op.NeedsAttention != p.flag {
			t.Errorf("%s: it is %s, flagged %q; want %s, flagged %q", p.name, op.State, op.NeedsAttention, p.state, p.flag)
		}
	}
	after := w.book(t, "")
	if len(after.Captures) != len(before.Captures) || len(after.Refunds) != len(before.Refunds) {
		t.Error("the comparison moved money")
	}

	rows := w.count(t, `SELECT count(*) FROM verdicts`)
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			_, err := w.lister(t, nil).CompareListing(t.Context(), account)
			if err != nil && !errors.Is(err, store.ErrListing) {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if again := w.compare(t, r); len(again) != 0 || w.count(t, `SELECT count(*) FROM verdicts`) != rows {
		t.Errorf("everything compared again wrote %d verdicts more: %+v", w.count(t, `SELECT count(*) FROM verdicts`)-rows, again)
	}
	if n := w.count(t, `SELECT count(*) FROM reconciliations WHERE source = 'listing stripe' AND finished_at IS NULL`); n != 0 {
		t.Errorf("%d runs have no end", n)
	}
	if n := w.count(t, `SELECT count(*) FROM verdicts WHERE finding IS NOT NULL AND (mode IS NULL OR payment_gateway_id IS NULL OR amount_cents IS NULL)`); n != 0 {
		t.Errorf("%d findings do not say where and how much", n)
	}
	w.audit(t)
}

// TestListingAdopts: what a restored ledger has forgotten is made anew under its
// own derived name, looked up and recorded, and never sent.
func TestListingAdopts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	captured, refunded, large := w.place(t, ""), w.captured(t, ""), w.placeFor(t, "", 500, total)
	w.dashboard(t, "capture", captured.hold, 0, reference(captured.hold, models.Capture, 1))
	w.dashboard(t, "refund", refunded.hold, 300, reference(refunded.hold, models.Refund, 1))
	w.dashboard(t, "capture", large.hold, 0, reference(large.hold, models.Capture, 1)) // more than the order
	// The second name, as when the first failed in the time that was forgotten.
	second := w.place(t, "")
	w.dashboard(t, "capture", second.hold, 0, reference(second.hold, models.Capture, 2))

	// At a pace that lets it wait for its look-ups.
	found := w.compare(t, w.runner(t, staff{name: "lister", listing: &atOnce, perSecond: 20}))
	for hold, want := range map[string]string{
		captured.hold: "forward adopt capture", refunded.hold: "forward adopt refund", second.hold: "forward adopt capture", large.hold: "needs_attention adopt",
	} {
		if got := findingsOf(found, hold); got != want {
			t.Errorf("found %q, want %q", got, want)
		}
	}
	for _, kind := range []models.Kind{models.Capture, models.Refund} {
		for _, p := range []purchase{captured, refunded, second} {
			for _, op := range w.operations(t, kind, p) {
				if op.State == models.Pending {
					if op.Cause != models.CauseAdopted || !op.LookFirst {
						t.Errorf("the adopted %s: cause %s, look first %t", kind, op.Cause, op.LookFirst)
					}
					if err := w.runner(t, staff{}).Run(t.Context(), kind, op.ID); err != nil {
						t.Error(err)
					}
				}
				if op = w.operation(t, kind, op.ID); op.State != models.Succeeded || op.NeedsAttention != "" {
					t.Errorf("the %s is %s, flagged %q", kind, op.State, op.NeedsAttention)
				}
				if sends, _ := w.claims(t, op.ID); sends != 0 && op.Cause == models.CauseAdopted {
					t.Errorf("the adopted %s was claimed to be sent", kind)
				}
			}
		}
	}
	if o := w.orderNow(t, captured); o.CapturedCents != total {
		t.Errorf("the order has %d captured", o.CapturedCents)
	}
	if n := len(w.operations(t, models.Capture, large)); n != 0 {
		t.Errorf("%d captures beyond the order were adopted", n)
	}
	if found := w.compare(t, w.lister(t, nil)); len(found) != 0 {
		t.Errorf("found again: %+v", found)
	}
	for _, p := range []purchase{captured, second} {
		if b := w.book(t, p.hold); len(b.Captures) != 1 || len(b.Violations) != 0 {
			t.Errorf("the gateway's book: %+v", b.Captures)
		}
	}
	w.audit(t)
}

// TestListingMissesWhatWasNotBooked: a success of ours that the list does not
// have is asked for, and flagged when the gateway conclusively has none.
func TestListingMissesWhatWasNotBooked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	good, bad := w.captured(t, ""), w.order(t, "drop_before:*")
	_ = w.runner(t, staff{}).Run(t.Context(), models.Capture, bad.op.ID)
	w.reaches(t, bad, models.Unknown)
	_, err := w.store.Observe(t.Context(), store.Observation{Kind: models.Capture, ID: bad.op.ID, Actor: "admin", Reason: "they said so on the phone", Evidence: models.Evidence{
		Source: models.FromOperator, Outcome: models.OutcomeConfirmed, AmountCents: total, CurrencyCode: "EUR", By: "admin",
	}})
	if err != nil {
		t.Fatal(err)
	}
	var found []worker.ListFinding
	eventually(t, "the success that was not booked is found", func() (bool, any) {
		found = append(found, w.compare(t, w.lister(t, nil))...)
		return w.reread(t, bad).NeedsAttention == models.FlagNotBooked, found
	})
	if len(found) != 1 || found[0].OperationID != bad.op.ID || found[0].Verdict != models.NeedsAttention {
		t.Errorf("found %+v", found)
	}
	if op := w.reread(t, good); op.NeedsAttention != "" {
		t.Errorf("what was booked is flagged %q", op.NeedsAttention)
	}
	w.audit(t)
}

// TestListingDiesAnywhere ends a run at each of its steps, without giving its
// lease back, until one comes through: nothing is lost and nothing written twice.
func TestListingDiesAnywhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p, charged := w.place(t, ""), w.captured(t, "")
	w.dashboard(t, "capture", p.hold, 0, reference(p.hold, models.Capture, 1))
	w.dashboard(t, "dispute", charged.hold, 0, "")
	refunded := w.captured(t, "")
	w.dashboard(t, "refund", refunded.hold, 300, "")
	lost := purchase{hold: w.authorize(t, "", total)}
	w.dashboard(t, "capture", lost.hold, 0, "")
	// Each step of each kind ends one run; the next passes it.
	steps := []worker.Step{worker.StepListed, worker.StepActed, worker.StepCompared, worker.StepTurned, worker.StepReversed}
	deaths := map[worker.Step]int{}
	for through := false; !through; {
		var died worker.Step
		r := w.lister(t, func(s worker.Step) {
			if slices.Contains(steps, s) && (deaths[s] == 0 || s == worker.StepActed) {
				died = s
				runtime.Goexit()
			}
		})
		over := make(chan struct{})
		go func() {
			defer close(over)
			report, err := r.CompareListing(t.Context(), account)
			if err != nil {
				t.Error(err)
			}
			through = report.Lines > 0 || err != nil
		}()
		<-over
		deaths[died]++
		w.exec(t, `DELETE FROM leases WHERE name = 'listing stripe'`) // it would run out in a while
	}
	for _, s := range steps {
		if deaths[s] == 0 {
			t.Errorf("no run died when it had %s", s)
		}
	}
	if deaths[worker.StepActed] < 4 {
		t.Errorf("%d runs died after they had acted, want one for each of 4 lines", deaths[worker.StepActed])
	}
	w.compare(t, w.lister(t, nil))
	for what, query := range map[string]string{
		"findings about an unknown hold": `SELECT count(*) FROM verdicts WHERE finding IS NOT NULL AND order_id IS NULL`,
		"adopted captures":               `SELECT count(*) FROM captures WHERE cause = 'adopted'`,
		"verdicts about the adoption":    `SELECT count(*) FROM verdicts WHERE action = 'adopt'`,
		"verdicts about the refund":      `SELECT count(*) FROM verdicts WHERE action = 'flag'`,
		"reversals":                      `SELECT count(*) FROM events WHERE event = 'taken_back'`,
		"verdicts about the chargeback":  `SELECT count(*) FROM verdicts WHERE action = 'observe'`,
	} {
		if n := w.count(t, query); n != 1 {
			t.Errorf("%d %s, want 1", n, what)
		}
	}
	w.audit(t)
}

// TestListingGoesOnWhereTheGatewayFailed: a look-up that is not answered is no
// answer. The run ends there and the next goes on, until that has gone on for so
// long that a person is called instead.
func TestListingGoesOnWhereTheGatewayFailed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		then func(*world)
		want string
	}{
		{"it answers again", func(w *world) { w.clearFault(t) }, "forward adopt capture"},
		{"it never does", func(w *world) { w.exec(t, `UPDATE listings SET updated_at = now() - interval '1 hour'`) }, "needs_attention adopt"},
	} {
		w := newWorld(t, setup{})
		p := w.place(t, "")
		w.dashboard(t, "capture", p.hold, 0, reference(p.hold, models.Capture, 1))
		w.setFault(t, "lookup_500:*", "look_up", 0)
		var began time.Time
		eventually(t, "the run ends for the look-up", func() (bool, any) {
			report, err := w.lister(t, nil).CompareListing(t.Context(), account)
			began = w.through(t)
			return err != nil && strings.Contains(err.Error(), "the next run goes on here") && len(report.Findings) == 0, err
		})
		if n := w.count(t, `SELECT (SELECT count(*) FROM captures) + (SELECT count(*) FROM verdicts)`); n != 0 {
			t.Errorf("%s: %d rows were written without an answer", tt.name, n)
		}
		tt.then(w)
		if got := findingsOf(w.compare(t, w.lister(t, nil)), p.hold); got != tt.want || !w.through(t).After(began) {
			t.Errorf("%s: found %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestListingBySchedule: the workers compare by the clock, one at a time, and end
// at once when they are shut down.
func TestListingBySchedule(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	stray := purchase{hold: w.authorize(t, "", total)}
	w.dashboard(t, "capture", stray.hold, 0, "")
	var stops []func()
	for _, name := range []string{"one", "two"} {
		stops = append(stops, w.start(t, staff{name: name, listing: &atOnce, lists: 300 * time.Millisecond}))
	}
	eventually(t, "the capture is found", func() (bool, any) {
		n := w.count(t, `SELECT count(*) FROM verdicts WHERE finding IS NOT NULL`)
		return n == 1, n
	})
	for _, stop := range stops {
		stop()
	}
	if n := w.count(t, `SELECT count(*) FROM leases WHERE name = 'listing stripe'`); n != 0 {
		t.Error("the lease was not given back")
	}
}

// TestListingWindows: windows follow each other without a gap, end where time is
// closed, and are no longer than they may be.
func TestListingWindows(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	span := store.ListingSpan{Settle: time.Second, Overlap: 2 * time.Second, Longest: time.Second, First: time.Hour}
	run, err := w.store.BeginListing(t.Context(), account, "test", "listing stripe", span)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.BeginListing(t.Context(), account, "other", "listing stripe", span); !errors.Is(err, store.ErrListing) {
		t.Errorf("a second run began: %v", err)
	}
	var got []string
	begin := time.Time{}
	for {
		win, err := w.store.NextWindow(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		if win == nil {
			break
		}
		if begin.IsZero() {
			begin = win.Begin
		}
		got = append(got, fmt.Sprintf("%d to %d from %d", win.Begin.Unix()-begin.Unix(), win.Until.Unix()-begin.Unix(), win.From.Unix()-begin.Unix()))
		if len(got) == 1 { // the same again until it is closed, at the page that was turned
			if err := w.store.TurnPage(t.Context(), run, "next", 3); err != nil {
				t.Fatal(err)
			}
			again, err := w.store.NextWindow(t.Context(), run)
			if err != nil || again.Cursor != "next" || again.Paged || again.Until != win.Until || again.From != win.From {
				t.Fatalf("the window that was begun: %+v, %v", again, err)
			}
		}
		if err := w.store.CloseWindow(t.Context(), run, win); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff([]string{"0 to 1 from -2"}, got[:1]); d != "" {
		t.Error(d)
	}
	for i := 1; i < len(got); i++ {
		if want := fmt.Sprintf("%d to %d from %d", i, i+1, i-2); got[i] != want {
			t.Errorf("window %d: %s, want %s", i, got[i], want)
		}
	}
	w.exec(t, `UPDATE leases SET owner = 'thief' WHERE name = 'listing stripe'`)
	if err := w.store.TurnPage(t.Context(), run, "x", 1); !errors.Is(err, store.ErrListing) {
		t.Errorf("a run without its lease turned a page: %v", err)
	}
}
