package worker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/worker"
)

// listing is a gateway whose list can be told to fail, page by page: the sandbox
// breaks only what may move money.
type listing struct {
	gateway.Gateway
	calls atomic.Int64
	// fails says what becomes of the n-th call, from 1; nil lets it pass.
	fails func(n int64) error
	// perPage cuts pages into smaller ones; 0 leaves them.
	perPage int
}

func (l *listing) List(ctx context.Context, r gateway.ListRequest) (gateway.ListPage, error) {
	if err := l.fails(l.calls.Add(1)); err != nil {
		return gateway.ListPage{}, err
	}
	skip := 0
	if cursor, n, ok := strings.Cut(r.Cursor, "+"); ok {
		r.Cursor = cursor
		if _, err := fmt.Sscan(n, &skip); err != nil {
			return gateway.ListPage{}, err
		}
	}
	page, err := l.Gateway.List(ctx, r)
	if err != nil || l.perPage == 0 {
		return page, err
	}
	rest := page.Movements[min(skip, len(page.Movements)):]
	if len(rest) > l.perPage {
		return gateway.ListPage{Movements: rest[:l.perPage], Next: fmt.Sprintf("%s+%d", r.Cursor, skip+l.perPage)}, nil
	}
	page.Movements = rest
	return page, nil
}

func (w *world) listingAt(t *testing.T, l *listing, name string) *worker.Runner {
	t.Helper()
	if l.Gateway == nil {
		adapter := newAdapter(w.front.url(), tempo, w.log)
		t.Cleanup(adapter.Close)
		l.Gateway = adapter
	}
	return worker.NewRunner(worker.RunnerConfig{Store: w.store, Accounts: gateway.Accounts{account: l}, Name: name, Log: w.log, Listing: &atOnce})
}

// TestListingMeetsABadList: a gateway that asks to slow down is waited for, one
// that does not answer is left to the next run, and one that refuses is told at
// once. What was compared by then is not compared again.
func TestListingMeetsABadList(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	const strays = 5
	for range strays {
		p := purchase{hold: w.authorize(t, "", total)}
		w.dashboard(t, "capture", p.hold, 0, "")
	}
	booked := time.Now().Unix()
	eventually(t, "the second of the last line is over", func() (bool, any) { return time.Now().Unix() > booked, nil })
	throttled := &gateway.CallError{Tried: "list", Status: 429, Throttled: true, RetryAfter: 20 * time.Millisecond, Err: errors.New("slow down")}
	silent := &gateway.CallError{Tried: "list", Err: context.DeadlineExceeded}
	refused := &gateway.CallError{Tried: "list", Status: 403, Err: gateway.ErrCredentials}

	l := &listing{fails: func(int64) error { return refused }}
	_, err := w.listingAt(t, l, "refused").CompareListing(t.Context(), account)
	if !errors.Is(err, gateway.ErrCredentials) || l.calls.Load() != 1 {
		t.Errorf("a refusal, after %d calls: %v", l.calls.Load(), err)
	}
	l.calls.Store(0)
	l.fails = func(int64) error { return silent }
	if _, err := w.listingAt(t, l, "silent").CompareListing(t.Context(), account); !errors.Is(err, context.DeadlineExceeded) || l.calls.Load() != 4 {
		t.Errorf("silence, after %d calls: %v", l.calls.Load(), err)
	}
	// Two pages of two, and then silence: the next run begins with the third page.
	l.calls.Store(0)
	l.perPage, l.fails = 2, func(n int64) error {
		if n > 2 {
			return silent
		}
		return nil
	}
	if report, err := w.listingAt(t, l, "half").CompareListing(t.Context(), account); err == nil || report.Lines != 4 {
		t.Errorf("half a list: %d lines, %v", report.Lines, err)
	}
	l.calls.Store(0)
	l.fails = func(n int64) error {
		if n <= 2 {
			return throttled
		}
		return nil
	}
	report, err := w.listingAt(t, l, "throttled").CompareListing(t.Context(), account)
	if err != nil || report.Lines < 1 || report.Counts[models.NeedsAttention] < 1 {
		t.Errorf("when it asked to slow down: %+v, %v", report, err)
	}
	if n := w.count(t, `SELECT count(*) FROM verdicts WHERE finding IS NOT NULL`); n != strays {
		t.Errorf("%d findings, want %d", n, strays)
	}
}
