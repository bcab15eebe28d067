package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/models"
)

// telling is what happens to a capture while its webhooks are caught: its answer
// is lost, or leaves it open, so that they are the first to tell of it; and then
// some of it is given back under a name that the ledger does not know.
type telling struct {
	fault string
	// first is how many messages tell of hold and capture, all of how many there
	// are in the end: some gateways take their time.
	first, all int
	after      func(t *testing.T, d *door, slug, hold string)
}

func refunded(t *testing.T, d *door, slug, hold string) { d.refunded(t, slug, hold) }

// tellings are by account. Who is not named says two things at least.
var tellings = map[string]telling{
	"":            {"empty200", 1, 2, refunded},
	"stripe":      {"empty200", 3, 5, refunded},
	"paypal":      {"pending=1ms", 3, 4, refunded},
	"checkoutcom": {"empty200", 2, 3, refunded},
	"adyen": {"empty200", 2, 4, func(t *testing.T, d *door, slug, hold string) {
		d.refunded(t, slug, hold)
		d.behind(t, "capture_failed", hold, 0) // legal after a success
	}},
	// It tells of nothing before it is settled.
	"braintree": {"empty200", 0, 1, func(t *testing.T, d *door, slug, hold string) {
		d.behind(t, "settle", hold, 0)
		d.refunded(t, slug, hold)
	}},
	// It refunds only what is in the ledger, and calls back only what it decides later.
	"external": {"pending=1ms", 1, 1, func(*testing.T, *door, string, string) {}},
}

// told is one order whose webhooks come in one order.
type told struct {
	slug     string
	sale     *sale
	capture  string
	order    []int // which of the events, in which order
	messages []message
}

// tell makes the order, and catches what the gateway says of it. More are
// faults of the webhooks.
func (d *door) tell(t *testing.T, slug, name, more string) told {
	t.Helper()
	telling, ok := tellings[slug]
	if !ok {
		telling = tellings[""]
	}
	x := told{slug: slug}
	x.sale, x.capture = d.captured(t, slug, slug+"-"+name, telling.fault+more)
	wait := func(n int) {
		t.Helper()
		eventually(t, fmt.Sprintf("%s says %d things", slug, n), func() bool {
			x.messages = append(x.messages, d.taken(t)...)
			return len(x.messages) >= n
		})
	}
	wait(telling.first)
	telling.after(t, d, slug, x.sale.Hold)
	wait(telling.all)
	return x
}

// orders are all orders of all subsets of up to five of n things, the subsets in
// their own order first.
func orders(n int) [][]int {
	var all [][]int
	var grow func(have []int)
	grow = func(have []int) {
		all = append(all, slices.Clone(have))
		for i := 0; i < n && len(have) < 5; i++ {
			if !slices.Contains(have, i) {
				grow(append(slices.Clone(have), i))
			}
		}
	}
	grow([]int{})
	slices.SortStableFunc(all, func(a, b []int) int {
		switch sa, sb := slices.IsSorted(a), slices.IsSorted(b); {
		case sa && !sb:
			return -1
		case sb && !sa:
			return 1
		}
		return 0
	})
	return all
}

// some are a few of the orders, each with its events in their own order before it.
func some(all [][]int, n int, random *rand.Rand) [][]int {
	last := all[len(all)-1]
	picked := [][]int{{}, slices.Sorted(slices.Values(last)), last}
	for range n {
		order := all[random.IntN(len(all))]
		picked = append(picked, slices.Sorted(slices.Values(order)), order)
	}
	var out [][]int
	for _, p := range picked {
		if !slices.ContainsFunc(out, func(o []int) bool { return slices.Equal(o, p) }) {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b []int) int {
		if sorted := slices.IsSorted(a); sorted != slices.IsSorted(b) {
			return map[bool]int{true: -1, false: 1}[sorted]
		}
		return 0
	})
	return out
}

// TestWebhooksInEveryOrder: whatever a gateway says of one capture, in whatever
// order, twice and applied twice, leaves the ledger in the same state; and where
// the gateway can be asked, whatever part of it arrives. By default some orders
// are tried, with -prove all of them.
func TestWebhooksInEveryOrder(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	random := rand.New(rand.NewPCG(17, 5))
	var all []told
	for _, slug := range d.slugs {
		first := d.tell(t, slug, "none", "")
		if len(first.messages) == 0 {
			t.Errorf("%s says nothing of a capture", slug)
			continue
		}
		all = append(all, first)
		wanted := orders(min(len(first.messages), 6))
		if !*prove {
			wanted = some(wanted, 2, random)
		}
		for _, order := range wanted {
			if len(order) == 0 {
				continue
			}
			x := d.tell(t, slug, strings.Trim(strings.ReplaceAll(fmt.Sprint(order), " ", "-"), "[]"), "")
			x.order = order
			if len(x.messages) != len(first.messages) {
				t.Errorf("%s says %d things of a capture, and %d of another", slug, len(first.messages), len(x.messages))
				continue
			}
			all = append(all, x)
		}
		t.Logf("%s: %d messages, %d of %d orders", slug, len(first.messages), len(wanted), len(orders(min(len(first.messages), 6))))
	}
	d.deliver(t, all)
	d.settle(t, all)
	seen, ends := map[string]string{}, map[string]string{}
	for _, x := range all {
		key := x.slug
		if !d.accounts[x.slug].Capabilities().LookUp {
			key += fmt.Sprint(slices.Sorted(slices.Values(x.order)))
		}
		end := d.end(t, x)
		ends[x.capture] = end
		if want, ok := seen[key]; ok && end != want {
			t.Errorf("%s, %v: %s; want %s", x.slug, x.order, end, want)
		} else if !ok {
			seen[key] = end
			t.Logf("%s: %s", key, end)
		}
		if book := d.sandbox.BookOf(x.sale.Hold); len(book.Captures) != 1 || len(book.Violations) != 0 {
			t.Errorf("%s, %v: the gateway booked %+v, with %d violations", x.slug, x.order, book.Captures, len(book.Violations))
		}
	}
	d.exec(t, `UPDATE inbox SET processed_at = NULL, due_at = now()`) // as after a crash between every effect and its note
	d.settle(t, all)
	for _, x := range all {
		if end := d.end(t, x); end != ends[x.capture] {
			t.Errorf("%s, %v: %s before all was applied again, and %s after", x.slug, x.order, ends[x.capture], end)
		}
	}
}

// deliver brings the messages to the door, the n-th of each order before the
// next of any, each twice; then all once more, backwards.
func (d *door) deliver(t *testing.T, all []told) {
	t.Helper()
	work := func() {
		t.Helper()
		if _, err := d.inbox.RunOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 5 {
		for _, x := range all {
			for range 2 {
				if n < len(x.order) && d.post(t, x.messages[x.order[n]]) != 200 {
					t.Fatalf("%s refuses a genuine message: %s", x.slug, x.messages[x.order[n]].body)
				}
			}
		}
		work()
	}
	for _, x := range all {
		for _, n := range slices.Backward(x.order) {
			d.post(t, x.messages[n])
		}
	}
	work()
}

// settle has what is still open looked up, as the schedule does in time.
func (d *door) settle(t *testing.T, all []told) {
	t.Helper()
	for range 3 {
		d.exec(t, `UPDATE inbox SET due_at = now() WHERE processed_at IS NULL`)
		if _, err := d.inbox.RunOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.exec(t, `UPDATE operations SET next_at = now() WHERE kind = 'capture' AND state IN ('unknown', 'submitted')`)
		for _, x := range all {
			_ = d.runner.Run(t.Context(), models.Capture, x.capture) // what became of it is read from the ledger
		}
	}
}

// end is the state that an order and its operations ended in.
func (d *door) end(t *testing.T, x told) string {
	t.Helper()
	order, err := d.store.Order(t.Context(), models.Test, x.sale.OrderID)
	if err != nil {
		t.Fatal(err)
	}
	op, err := d.store.Operation(t.Context(), models.Test, models.Capture, x.capture)
	if err != nil {
		t.Fatal(err)
	}
	confirmed := int64(-1)
	if op.ConfirmedCents != nil {
		confirmed = *op.ConfirmedCents
	}
	return fmt.Sprintf("capture %s, confirmed %d, returned %d, flag %q; order %s, captured %d, refunded %d", op.State, confirmed, op.RefundedCents, op.NeedsAttention,
		order.PaymentStatus, order.CapturedCents, order.RefundedCents)
}
