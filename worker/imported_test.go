package worker_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/worker"
)

// report makes a report of everything that the gateway booked, newest first.
func (w *world) report(t *testing.T) worker.Report {
	t.Helper()
	adapter := newAdapter(w.front.url(), tempo, w.log)
	t.Cleanup(adapter.Close)
	var lines []models.Movement
	r := gateway.ListRequest{From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour)}
	for {
		page, err := adapter.List(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, page.Movements...)
		if r.Cursor = page.Next; r.Cursor == "" {
			break
		}
	}
	slices.Reverse(lines)
	return worker.Report{Slug: account, Source: "report", Read: func(each func(models.Movement) error) (int, error) {
		for _, m := range lines {
			if err := each(m); err != nil {
				return 0, err
			}
		}
		return 7, nil
	}}
}

// everything counts what a dry run may not change.
const everything = `SELECT (SELECT count(*) FROM verdicts) + (SELECT count(*) FROM events) + (SELECT count(*) FROM attempts) + (SELECT count(*) FROM operations) +
	(SELECT count(*) FROM reconciliations) + (SELECT count(*) FROM listings) + (SELECT count(*) FROM listing_seen) + (SELECT count(*) FROM leases)`

// TestReportFindsWhatHappenedWithoutUs imports a report of what TestListing
// plants: a dry run shows it, an import does it, and neither a second import
// nor the sweep of the gateway's list does it again.
func TestReportFindsWhatHappenedWithoutUs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	purchases := make([]purchase, len(listingPlants))
	for i, p := range listingPlants {
		purchases[i] = p.do(t, w)
	}
	r, report := w.lister(t, nil), w.report(t)
	before := w.count(t, everything)
	report.DryRun = true
	dry, err := r.CompareReport(t.Context(), report)
	if err != nil || dry.Skipped != 7 || dry.ID != "" {
		t.Fatalf("%+v %v", dry, err)
	}
	if n := w.count(t, everything); n != before {
		t.Errorf("a dry run wrote %d rows", n-before)
	}
	report.DryRun = false
	done, err := r.CompareReport(t.Context(), report)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range listingPlants {
		// A dry run sees every line against the books as they are now.
		if want := p.want; p.name != "charged back and won" && (findingsOf(dry.Findings, purchases[i].hold) != want || findingsOf(done.Findings, purchases[i].hold) != want) {
			t.Errorf("%s: shown %q, found %q, want %q", p.name, findingsOf(dry.Findings, purchases[i].hold), findingsOf(done.Findings, purchases[i].hold), want)
		}
		if p.state == "" {
			continue
		}
		if op := w.reread(t, purchases[i]); op.State != p.state || op.NeedsAttention != p.flag {
			t.Errorf("%s: it is %s, flagged %q; want %s, flagged %q", p.name, op.State, op.NeedsAttention, p.state, p.flag)
		}
	}
	verdicts, events := w.count(t, `SELECT count(*) FROM verdicts`), w.count(t, `SELECT count(*) FROM events`)
	if _, err := r.CompareReport(t.Context(), report); err != nil {
		t.Fatal(err)
	}
	if found := w.compare(t, r); len(found) != 0 {
		t.Errorf("the gateway's list finds more than its report: %+v", found)
	}
	if v, e := w.count(t, `SELECT count(*) FROM verdicts`), w.count(t, `SELECT count(*) FROM events`); v != verdicts || e != events {
		t.Errorf("the same again wrote %d verdicts and %d events", v-verdicts, e-events)
	}
	w.audit(t)
}

// TestReportThatBreaksOffChangesNothing: a report is understood to its last line
// before anything of it is done.
func TestReportThatBreaksOffChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := w.captured(t, "")
	w.dashboard(t, "refund", p.hold, 300, "")
	report, broken := w.report(t), errors.New("line 3: half a line")
	whole := report.Read
	report.Read = func(each func(models.Movement) error) (int, error) {
		n, err := whole(each)
		return n, errors.Join(err, broken)
	}
	before := w.count(t, everything)
	if _, err := w.lister(t, nil).CompareReport(t.Context(), report); !errors.Is(err, broken) {
		t.Errorf("it came through: %v", err)
	}
	if n := w.count(t, everything); n != before {
		t.Errorf("half a report wrote %d rows", n-before)
	}
}
