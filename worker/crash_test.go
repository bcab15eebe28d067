package worker_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/worker"
)

// The places where a worker process is killed from outside, beside the steps
// where it kills itself.
const (
	inCall   worker.Step = "in the call"
	inLookUp worker.Step = "in the look-up"
)

// crash is one way to lose a worker.
type crash struct {
	number int
	fault  string
	at     worker.Step
	nth    int64
	moved  bool // what the gateway's book says at the moment of death
	// afterwards, if set, happens between the death and the recovery.
	afterwards func(t testing.TB, w *world, p purchase)

	state    models.State
	truth    truth
	payment  models.PaymentStatus
	captures bool // this row is for captures only
}

// lost are the deaths that every kind of operation has to survive. Without a
// state of its own a row must end succeeded, booked once.
var lost = []crash{
	// The first claim, which sends at once.
	{at: worker.StepClaimed, nth: 1},
	{at: worker.StepAnswered, nth: 1, moved: true},
	{at: worker.StepRecorded, nth: 1, moved: true},
	{fault: "hang", at: inCall},
	{fault: "charge_then_hang", at: inCall, moved: true},
	// The answer was lost, and then the worker.
	{fault: "drop_before", at: worker.StepAnswered, nth: 1},
	{fault: "drop_before", at: worker.StepRecorded, nth: 1},
	{fault: "charge_then_drop", at: worker.StepAnswered, nth: 1, moved: true},
	{fault: "charge_then_drop", at: worker.StepRecorded, nth: 1, moved: true},
	{captures: true, fault: "charge_then_rst", at: worker.StepAnswered, nth: 1, moved: true},
	{fault: "charge_then_500", at: worker.StepAnswered, nth: 1, moved: true},
	{captures: true, fault: "charge_then_500", at: worker.StepRecorded, nth: 1, moved: true},
	{fault: "sticky_500", at: worker.StepAnswered, nth: 1},
	{captures: true, fault: "sticky_500", at: worker.StepRecorded, nth: 1},
	{captures: true, fault: "book_after=1s", at: worker.StepAnswered, nth: 1},
	{fault: "book_after=4s", at: worker.StepAnswered, nth: 1}, // still not there when the next claim looks
	{captures: true, fault: "409_in_progress", at: worker.StepAnswered, nth: 1},
	{captures: true, fault: "429=1", at: worker.StepAnswered, nth: 1},
	{fault: "charge_then_drop,amnesia", at: worker.StepAnswered, nth: 1, moved: true}, // the key protects nothing any more
	{fault: "charge_then_hang,amnesia", at: inCall, moved: true},
	{fault: "book_after=2s,amnesia", at: worker.StepAnswered, nth: 1},
	// The claim that looks.
	{fault: "drop_before", at: inLookUp},
	{fault: "charge_then_drop", at: inLookUp, moved: true},
	{fault: "drop_before", at: worker.StepLooked, nth: 1},
	{fault: "charge_then_drop", at: worker.StepLooked, nth: 1, moved: true},
	{captures: true, fault: "charge_then_500", at: worker.StepLooked, nth: 1, moved: true},
	{fault: "charge_then_drop", at: worker.StepRecorded, nth: 2, moved: true},
	{fault: "sticky_500", at: worker.StepLooked, nth: 1},
	{fault: "book_after=500ms", at: worker.StepLooked, nth: 1, moved: true},
	// The claim that looked and sends again.
	{fault: "drop_before", at: worker.StepSending, nth: 1},
	{fault: "drop_before", at: worker.StepAnswered, nth: 2, moved: true},
	{fault: "drop_before", at: worker.StepRecorded, nth: 2, moved: true},
	{fault: "drop_before,charge_then_drop", at: worker.StepAnswered, nth: 2, moved: true},
	{captures: true, fault: "drop_before:2", at: worker.StepAnswered, nth: 2},
	{fault: "sticky_500", at: worker.StepSending, nth: 1}, // under the next key
	{fault: "sticky_500", at: worker.StepAnswered, nth: 2, moved: true},
	{fault: "sticky_500,charge_then_drop", at: worker.StepAnswered, nth: 2, moved: true},
}

func cancelled(t testing.TB, w *world, p purchase) { w.cancel(t, p) }

// ends are deaths after which something else than one booking is right.
var ends = []crash{
	{captures: true, fault: "decline_hard", at: worker.StepAnswered, nth: 1, state: models.Failed, payment: models.Authorized},
	{captures: true, fault: "expired", at: worker.StepAnswered, nth: 1, state: models.Failed, truth: truth{voided: total}, payment: models.Voided},
	{captures: true, fault: "decline:1", at: worker.StepAnswered, nth: 1, state: models.Succeeded, truth: truth{captured: total}, payment: models.Paid},
	{captures: true, fault: "wrong_amount", at: worker.StepAnswered, nth: 1, moved: true, state: models.Succeeded, truth: truth{captured: total - 1}, payment: models.PartiallyPaid},
	{captures: true, at: worker.StepClaimed, nth: 1, afterwards: cancelled, state: models.Cancelled, truth: truth{voided: total}, payment: models.Voided},
	{captures: true, at: worker.StepAnswered, nth: 1, moved: true, afterwards: cancelled, state: models.Reset, truth: truth{captured: total, refunded: total}, payment: models.Refunded},
	{captures: true, fault: "hang", at: inCall, afterwards: cancelled, state: models.Cancelled, truth: truth{voided: total}, payment: models.Voided},
	{captures: true, fault: "charge_then_hang", at: inCall, moved: true, afterwards: cancelled, state: models.Reset, truth: truth{captured: total, refunded: total}, payment: models.Refunded},
	{captures: true, fault: "drop_before", at: worker.StepSending, nth: 1, afterwards: cancelled, state: models.Cancelled, truth: truth{voided: total}, payment: models.Voided},
	{captures: true, fault: "drop_before", at: worker.StepAnswered, nth: 2, moved: true, afterwards: cancelled, state: models.Reset, truth: truth{captured: total, refunded: total}, payment: models.Refunded},
}

func (c crash) name(kind models.Kind) string {
	parts := []string{string(kind)}
	if c.fault != "" {
		parts = append(parts, c.fault)
	}
	place := string(c.at)
	if c.nth > 1 {
		place = fmt.Sprintf("%s the %dnd time", c.at, c.nth)
	}
	parts = append(parts, "killed "+place)
	if c.afterwards != nil {
		parts = append(parts, "order cancelled")
	}
	return strings.Join(parts, ", ")
}

// TestCrashTable kills worker processes with SIGKILL wherever an operation can
// be, has a second worker recover, and asks the gateway's own book. Refunds and
// voids, which share the captures' code path, die in a quarter of the places each
// unless -prove has them all die everywhere.
func TestCrashTable(t *testing.T) {
	t.Parallel()
	places := newPlaces(t, 12)
	table := &table{rows: map[int]row{}}
	t.Run("row", func(t *testing.T) {
		rows := 0
		run := func(kind models.Kind, c crash) {
			rows++
			c.number = rows
			t.Run(c.name(kind), func(t *testing.T) {
				t.Parallel()
				c.run(t, kind, places.world(t), table)
			})
		}
		for i, c := range lost {
			for k, kind := range models.Kinds {
				if kind != models.Capture && (c.captures || !*prove && i%4 != 4-2*k) {
					continue
				}
				run(kind, c)
			}
		}
		for _, c := range ends {
			run(models.Capture, c)
		}
	})
	table.print(t)
	places.audit(t)
}

// places are the databases that the rows of a table are tried in, one row at a
// time each: a ledger and a database of one Redis.
type places chan setup

func newPlaces(t *testing.T, n int) places {
	t.Helper()
	base := strings.TrimSuffix(devstacktest.NewRedis(t), "/0")
	p := make(places, n)
	for i := range n {
		p <- setup{databaseURL: devstacktest.NewDatabase(t, migrate), redisURL: fmt.Sprintf("%s/%d", base, i)}
	}
	return p
}

// world takes a place for one row, with nothing in its queue. The next row gets
// it, unless this one failed and may have left something open in the ledger.
func (p places) world(t *testing.T) *world {
	t.Helper()
	at := <-p
	t.Cleanup(func() {
		if t.Failed() {
			at.databaseURL = ""
		}
		p <- at
	})
	w := newWorld(t, at)
	if err := w.redis.FlushDB(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	return w
}

// audit asks every ledger for every invariant, about all rows that it has seen.
func (p places) audit(t *testing.T) {
	t.Helper()
	for range len(p) {
		at := <-p
		if at.databaseURL != "" {
			(&world{store: openStore(t, at.databaseURL, tempo)}).audit(t)
		}
	}
}

func (c crash) run(t *testing.T, kind models.Kind, w *world, table *table) {
	p := c.begin(t, kind, w)
	c.lose(t, kind, w, p)
	if moved := w.moved(t, kind, p); moved != c.moved {
		t.Errorf("at the moment of death the book says moved = %t, the row says %t", moved, c.moved)
	}
	if c.afterwards != nil {
		c.afterwards(t, w, p)
	}
	w.start(t, staff{name: "second"})
	w.recovered(t)
	want := c.expected(kind)
	op := w.reread(t, p)
	if op.State != want.state {
		t.Errorf("the %s ended %s, want %s: %+v", kind, op.State, want.state, op)
	}
	if got := w.orderNow(t, p).PaymentStatus; got != want.payment {
		t.Errorf("the order is %s, want %s", got, want.payment)
	}
	w.checkBook(t, p, want.truth)
	sends, looks := w.claims(t, op.ID)
	table.add(row{crash: want, kind: kind, sends: sends, looks: looks, ended: op.State, wrong: t.Failed()})
}

// begin sets the operation up and publishes it. Faults are for its own call.
func (c crash) begin(t *testing.T, kind models.Kind, w *world) purchase {
	t.Helper()
	fault := c.fault
	if fault != "" {
		steps := strings.Split(fault, ",")
		for i := range steps {
			steps[i] = string(kind) + "." + steps[i]
		}
		fault = strings.Join(steps, ",")
	}
	switch kind {
	case models.Refund:
		return w.refund(t, w.captured(t, fault))
	case models.Void:
		return w.void(t, w.place(t, fault))
	}
	return w.order(t, fault)
}

// lose starts a worker process and kills it at the row's place.
func (c crash) lose(t *testing.T, kind models.Kind, w *world, p purchase) {
	t.Helper()
	switch c.at {
	case inCall:
		victim := w.spawn(t, orders{})
		eventually(t, "the call is under way", func() (bool, any) {
			book := w.book(t, p.hold)
			for _, r := range book.Requests {
				if r.Status == 0 && strings.HasSuffix(r.Fault, "hang") {
					return true, nil
				}
			}
			return false, book.Requests
		})
		victim.kill()
	case inLookUp:
		gate := w.front.holdBack(http.MethodGet, p.hold)
		victim := w.spawn(t, orders{})
		eventually(t, "the look-up is under way", func() (bool, any) { return w.front.held(gate) > 0, w.reread(t, p) })
		victim.kill()
		w.front.release(gate)
	default:
		w.spawn(t, orders{Step: c.at, Nth: c.nth, Signal: syscall.SIGKILL}).died(t)
	}
}

// moved says whether the gateway has booked the operation.
func (w *world) moved(t *testing.T, kind models.Kind, p purchase) bool {
	t.Helper()
	b := w.book(t, p.hold)
	return map[models.Kind]int{models.Capture: len(b.Captures), models.Refund: len(b.Refunds), models.Void: cancelsByUs(b)}[kind] > 0
}

// cancelsByUs counts releases that somebody asked for.
func cancelsByUs(b sandbox.Snapshot) int {
	n := 0
	for _, c := range b.Cancels {
		if c.Reason != "automatic" {
			n++
		}
	}
	return n
}

// recovered waits until nothing is open, neither an operation nor what a
// cancelled order still needs.
func (w *world) recovered(t testing.TB) {
	t.Helper()
	eventually(t, "nothing is open", func() (bool, any) {
		if open, err := w.open(t); err != nil || open != "" {
			return false, []any{open, err}
		}
		return w.count(t, `SELECT count(*) FROM order_checks`) == 0, "an order waits for its review"
	})
}

func (c crash) expected(kind models.Kind) crash {
	if c.state != "" {
		return c
	}
	c.state = models.Succeeded
	switch kind {
	case models.Capture:
		c.truth, c.payment = truth{captured: total}, models.Paid
	case models.Refund:
		c.truth, c.payment = truth{captured: total, refunded: returned}, models.PartiallyRefunded
	case models.Void:
		c.truth, c.payment = truth{voided: total}, models.Voided
	}
	return c
}

// table collects rows from tests that run at once.
type table struct {
	mu   sync.Mutex
	rows map[int]row
}

type row struct {
	crash
	kind         models.Kind
	sends, looks int
	ended        models.State
	wrong        bool
}

func (tb *table) add(r row) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.rows[r.number] = r
}

func (tb *table) print(t *testing.T) {
	t.Helper()
	tb.mu.Lock()
	defer tb.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%d rows\n%4s %-8s %-30s %-16s %-6s %5s %5s  %-10s %-15s %s\n",
		len(tb.rows), "row", "kind", "gateway", "killed", "moved", "sends", "looks", "ended", "order", "gateway's book")
	for _, n := range slices.Sorted(maps.Keys(tb.rows)) {
		fmt.Fprintln(&b, tb.rows[n])
	}
	t.Log(b.String())
}

func (r row) String() string {
	fault, killed, moved, note := r.fault, string(r.at), "no", ""
	if fault == "" {
		fault = "answers"
	}
	if r.afterwards != nil {
		fault += "; order cancelled"
	}
	if r.nth > 1 {
		killed = fmt.Sprintf("%s (%d.)", r.at, r.nth)
	}
	if r.moved {
		moved = "yes"
	}
	if r.wrong {
		note = "   WRONG"
	}
	return fmt.Sprintf("%4d %-8s %-30s %-16s %-6s %5d %5d  %-10s %-15s captured %d, refunded %d, released %d%s",
		r.number, r.kind, fault, killed, moved, r.sends, r.looks, r.ended, r.payment, r.truth.captured, r.truth.refunded, r.truth.voided, note)
}
