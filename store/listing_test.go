package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// TestPlansOfListings: what a page of a gateway's list, and the question what it
// does not have, cost follows the page and not the ledger: indexes alone.
func TestPlansOfListings(t *testing.T) {
	t.Parallel()
	b := benchAt(t, onApproval, devstacktest.NewDatabase(t, agedLedger))
	_, op := b.paid(t)
	conn, err := b.db.Conn(t.Context())
	must(t, err)
	defer conn.Close()
	_, err = conn.ExecContext(t.Context(), `SET enable_seqscan = off`) // as with a ledger worth an index
	must(t, err)
	gateway, hold := quoted(op.PaymentGatewayID), quoted(op.AuthorizationID)
	for name, query := range store.ListingQueries(map[string]string{
		"account": gateway, "holds": `ARRAY['pi_1', 'pi_2']`, "references": `ARRAY['cap_1', 'ref_1']`, "hold ids": `ARRAY[` + hold + `]::uuid[]`,
		"first": quoted(op.ID) + `::uuid`, "last": quoted(op.ID) + `::uuid`, "from": quoted("2026-01-01"), "until": quoted("2026-01-02"),
	}) {
		wantIndexes(t, conn, name, query)
	}
}

// TestListingThatNeverBegan: whoever goes while a listing begins leaves no lease
// behind that would hold the next one up.
func TestListingThatNeverBegan(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	tx, err := b.db.Begin()
	must(t, err)
	_, err = tx.Exec(`LOCK TABLE reconciliations`)
	must(t, err)
	ctx, leave := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := b.BeginListing(ctx, "stripe", "test", "listing", store.ListingSpan{})
		ended <- err
	}()
	b.stuck(t, 1)
	if n := read[int](t, b, `SELECT count(*) FROM leases`); n != 1 {
		t.Errorf("%d leases while it begins, want its own", n)
	}
	leave()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it began: %v", err)
	}
	if n := read[int](t, b, `SELECT count(*) FROM leases`); n != 0 {
		t.Error("the lease was not given back")
	}
	must(t, tx.Rollback())
	_, err = b.BeginListing(t.Context(), "stripe", "test", "listing", store.ListingSpan{})
	must(t, err)
}

func quoted(s string) string { return "'" + s + "'" }

// TestNoteSeen: one line explains an operation; a second one is told, whether it
// comes with the first, later, or by somebody else.
func TestNoteSeen(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	_, first := b.paid(t)
	_, second := b.paid(t)
	run, err := b.BeginListing(t.Context(), accountOf(t, b, first), "test", "listing", store.ListingSpan{})
	must(t, err)
	at := time.Now()
	line := func(op models.Operation, id string) store.Seen {
		return store.Seen{OperationID: op.ID, MovementID: id, At: at}
	}
	for i, tt := range []struct {
		seen []store.Seen
		want string
	}{
		{[]store.Seen{line(first, "a"), line(second, "b")}, "[]"},
		{[]store.Seen{line(first, "a"), line(second, "b")}, "[]"},
		{[]store.Seen{line(first, "c"), line(second, "b")}, "[c]"},
		{[]store.Seen{line(first, "a"), line(first, "a"), line(first, "d"), line(first, "c")}, "[c d]"},
		{nil, "[]"},
	} {
		again, err := b.NoteSeen(t.Context(), run, tt.seen)
		must(t, err)
		var got []string
		for _, id := range []string{"a", "b", "c", "d"} {
			if again[id] {
				got = append(got, id)
			}
		}
		if fmt.Sprint(got) != tt.want {
			t.Errorf("page %d: %v again, want %s", i, got, tt.want)
		}
	}
}

func accountOf(t *testing.T, b bench, op models.Operation) string {
	t.Helper()
	g, err := b.GatewayByID(t.Context(), op.PaymentGatewayID)
	must(t, err)
	return g.Slug
}
