package worker_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/worker"
)

// TestCompareBooks: what the gateway has and we have not, and what we have and
// the gateway has not, is named, by id; what agrees is not; and nothing changes.
func TestCompareBooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	before := time.Now().Add(-time.Minute)
	good := w.captured(t, "")
	w.refund(t, good)
	for _, op := range w.operations(t, models.Refund, good) {
		if err := w.runner(t, staff{}).Run(t.Context(), models.Refund, op.ID); err != nil {
			t.Fatal(err)
		}
	}
	w.captured(t, "")
	refunded := w.captured(t, "") // at the gateway's dashboard
	w.dashboard(t, "refund", refunded.hold, returned, "")
	orphan := w.authorize(t, "", total)
	w.dashboard(t, "capture", orphan, 0, "")
	invented := w.invented(t, 0)
	smaller := w.invented(t, 1200)

	r := w.lister(t, nil)
	versions := w.count(t, `SELECT sum(version) FROM operations`)
	verdicts := w.count(t, `SELECT count(*) FROM verdicts`)
	want := []string{
		invented.op.ID + " needs_attention", orphan + " needs_attention", refunded.op.ID + " needs_attention", smaller.op.ID + " amount_conflict",
	}
	slices.Sort(want)
	var books store.Invariant
	eventually(t, "the differences are named", func() (bool, any) { // a list is complete a few seconds late
		var err error
		if books, err = r.CompareBooks(t.Context(), worker.Books{Since: before}); err != nil {
			t.Fatal(err)
		}
		return books.BrokenCount >= int64(len(want)), books
	})
	var got []string
	for _, name := range books.Broken {
		words := strings.FieldsFunc(name, func(r rune) bool { return r == ' ' || r == ':' || r == ',' })
		got = append(got, words[0]+" "+words[3])
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("differences (-want +got):\n%s\n%q", diff, books.Broken)
	}
	if books.ID != "I4" || books.Checked < 7 {
		t.Errorf("checked %d", books.Checked)
	}
	if n := w.count(t, `SELECT sum(version) FROM operations`); n != versions {
		t.Errorf("%d steps were made", n-versions)
	}
	if n := w.count(t, `SELECT count(*) FROM verdicts`); n != verdicts {
		t.Errorf("%d verdicts were written", n-verdicts)
	}
}
