package enqueuer_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/tasks"
)

// rows are captures of an account that wait, numbered from 0.
func rows(account string, n int) []store.Publication {
	var out []store.Publication
	for i := range n {
		out = append(out, store.Publication{ID: fmt.Sprintf("%s%d", account, i), Kind: "capture", Generation: 1, Account: account})
	}
	return out
}

// TestBundle: how many tasks a backlog becomes, by their sizes.
func TestBundle(t *testing.T) {
	change := func(ps []store.Publication, fn func(*store.Publication)) []store.Publication {
		ps = slices.Clone(ps)
		for i := range ps {
			fn(&ps[i])
		}
		return ps
	}
	singles := func(n int) []int { return slices.Repeat([]int{1}, n) }
	for _, tt := range []struct {
		name string
		work []store.Publication
		room map[string]int
		most int
		want []int
	}{
		{"nothing", nil, nil, 500, []int{}},
		{"one", rows("a", 1), nil, 500, singles(1)},
		{"few go singly", rows("a", 16), nil, 500, singles(16)},
		{"one more than few", rows("a", 17), nil, 500, []int{8, 8, 1}},
		{"the smallest batch", rows("a", 64), nil, 500, []int{8, 8, 8, 8, 8, 8, 8, 8}},
		{"an eighth", rows("a", 808), nil, 500, []int{101, 101, 101, 101, 101, 101, 101, 101}},
		{"nobody told", rows("a", 5000), nil, 500, slices.Repeat([]int{500}, 10)},
		{"somebody else told", rows("a", 1600), map[string]int{"b": 500}, 500, slices.Repeat([]int{200}, 8)},
		{"much room", rows("a", 5000), map[string]int{"a": 500}, 500, slices.Repeat([]int{500}, 10)},
		{"more room than a task holds", rows("a", 5000), map[string]int{"a": 9999}, 500, slices.Repeat([]int{500}, 10)},
		{"a slow gateway", rows("a", 100), map[string]int{"a": 25}, 500, []int{12, 12, 12, 12, 12, 12, 12, 12, 4}},
		{"less room than the smallest", rows("a", 20), map[string]int{"a": 5}, 500, []int{5, 5, 5, 5}},
		{"a very slow gateway", rows("a", 20), map[string]int{"a": 1}, 500, singles(20)},
		{"batches off", rows("a", 100), map[string]int{"a": 500}, 1, singles(100)},
		{"a bound of our own", rows("a", 100), nil, 10, slices.Repeat([]int{10}, 10)},
		{"delayed", change(rows("a", 100), func(p *store.Publication) { p.In = time.Second }), nil, 500, singles(100)},
		{"due long ago", change(rows("a", 32), func(p *store.Publication) { p.In = -time.Hour }), nil, 500, []int{8, 8, 8, 8}},
		{"alone", change(rows("a", 100), func(p *store.Publication) { p.Alone = true }), nil, 500, singles(100)},
		{"refunds", change(rows("a", 100), func(p *store.Publication) { p.Kind = "refund" }), nil, 500, singles(100)},
		{"voids", change(rows("a", 100), func(p *store.Publication) { p.Kind = "void" }), nil, 500, singles(100)},
		{"deliveries", change(rows("a", 100), func(p *store.Publication) { p.Kind, p.Account = store.DeliveryKind, "" }), nil, 500, singles(100)},
		{"of no account", change(rows("a", 100), func(p *store.Publication) { p.Account = "" }), nil, 500, singles(100)},
		{"alone among many", append(change(rows("x", 2), func(p *store.Publication) { p.Account, p.Alone = "a", true }), rows("a", 24)...), nil, 500, []int{1, 1, 8, 8, 8}},
		{"what does not travel does not count", append(change(rows("x", 50), func(p *store.Publication) { p.Account, p.Alone = "a", true }), rows("a", 16)...), nil, 500, singles(66)},
		{"few of one account beside many", append(rows("b", 16), rows("a", 24)...), nil, 500, append(singles(16), 8, 8, 8)},
		{"everything twice", append(rows("a", 24), rows("a", 24)...), nil, 500, []int{8, 8, 8}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []int
			for _, parcel := range enqueuer.Bundle(tt.work, tt.most, func() map[string]int { return tt.room }) {
				got = append(got, len(parcel))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("tasks of %v, want %v", got, tt.want)
			}
		})
	}
}

// TestBundleKeepsTheOrder: every capture is in one parcel, parcels start in the
// order of the work, and no parcel mixes accounts.
func TestBundleKeepsTheOrder(t *testing.T) {
	var work []store.Publication
	for i, p := range rows("a", 300) {
		work = append(work, p)
		if i%3 == 0 {
			work = append(work, rows("b", 300)[i])
		}
		if i%10 == 0 {
			work = append(work, store.Publication{ID: fmt.Sprintf("refund%d", i), Kind: "refund", Account: "a"})
		}
	}
	asked := 0
	parcels := enqueuer.Bundle(work, tasks.MaxBatch, func() map[string]int { asked++; return nil })
	if asked != 1 {
		t.Errorf("the room was asked for %d times, want once", asked)
	}
	at := map[string]int{}
	for i, p := range work {
		at[p.ID] = i
	}
	first := -1
	var all []string
	for _, parcel := range parcels {
		if at[parcel[0].ID] < first {
			t.Errorf("the parcel of %s comes after one that starts later", parcel[0].ID)
		}
		first = at[parcel[0].ID]
		for i, p := range parcel {
			all = append(all, p.ID)
			if p.Account != parcel[0].Account || i > 0 && (p.Kind != "capture" || at[p.ID] < at[parcel[i-1].ID]) {
				t.Errorf("%+v stands in %+v", p, parcel)
			}
		}
	}
	want := make([]string, len(work))
	for i, p := range work {
		want[i] = p.ID
	}
	slices.Sort(all)
	slices.Sort(want)
	if d := cmp.Diff(want, all); d != "" {
		t.Errorf("not every row once: %s", d)
	}
	if enqueuer.Bundle(rows("a", 16), tasks.MaxBatch, func() map[string]int { asked++; return nil }); asked != 1 {
		t.Error("the room was asked for although nothing is bundled")
	}
}
