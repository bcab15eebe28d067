package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// Books asks for a comparison of the ledger with the gateways' books.
type Books struct {
	// Since is where it begins, by the database's clock.
	Since time.Time
	// ListedOnly leaves out accounts without a list, of which each success would
	// have to be looked up.
	ListedOnly bool
	// Progress is told now and then how far an account is; it may be nil.
	Progress func(account string, compared int)
}

// CompareBooks is invariant I4: the gateway's book and ours agree, both ways, in
// amount, currency and hold. It compares every line of each account's list, and
// looks up every success of ours that no line explains; where there is no list,
// every success. It goes at the account's pace, and changes nothing. With an error
// comes what was found at the accounts that answered.
func (r *Runner) CompareBooks(ctx context.Context, b Books) (store.Invariant, error) {
	inv := store.Invariant{ID: "I4", Rule: "the gateway's book and ours agree, both ways", Broken: []string{}}
	if b.Progress == nil {
		b.Progress = func(string, int) {}
	}
	var errs []error
	for _, slug := range slices.Sorted(maps.Keys(r.accounts)) {
		a := r.accounts[slug]
		if !a.caps.Lists && (b.ListedOnly || !a.caps.LookUp) {
			continue
		}
		if err := r.compareBook(ctx, a, b, &inv); err != nil {
			errs = append(errs, fmt.Errorf("compare the book of %s: %w", slug, err))
		}
	}
	return inv, errors.Join(errs...)
}

func (r *Runner) compareBook(ctx context.Context, a *account, b Books, inv *store.Invariant) error {
	g, err := r.store.GatewayBySlug(ctx, a.slug)
	if err != nil {
		return err
	}
	now, err := r.store.Now(ctx, nil)
	if err != nil {
		return err
	}
	seen := map[string]string{} // the line that explained an operation
	c := r.newComparer(a, &store.ListingRun{GatewayID: g.ID, Slug: a.slug, Mode: g.Mode, Counts: map[models.Verdict]int{}}, true)
	c.note = func(_ context.Context, lines []store.Seen) (map[string]bool, error) {
		again := map[string]bool{}
		for _, l := range lines {
			if first, ok := seen[l.OperationID]; ok && first != l.MovementID {
				again[l.MovementID] = true
				continue
			}
			seen[l.OperationID] = l.MovementID
		}
		return again, nil
	}
	until := now.Add(-r.listing.Settle)
	slack := listingSlack(r.tempo)
	if a.caps.Lists {
		// A success of the first moments may have its line before them.
		if err := c.pages(ctx, b.Since.Add(-slack), until, b.Progress); err != nil {
			return err
		}
	}
	compared := c.report.Lines
	c.asked = func() {
		compared++
		b.Progress(a.slug, compared)
	}
	for _, kind := range models.Kinds {
		err := c.unexplained(ctx, func(ctx context.Context, after string, limit int) ([]models.Operation, error) {
			return r.store.Successes(ctx, g.ID, kind, b.Since, until.Add(-slack), after, limit)
		}, func(id string) bool {
			_, ok := seen[id]
			return ok
		})
		if err != nil {
			return err
		}
	}
	inv.Checked += int64(compared)
	inv.BrokenCount += int64(len(c.report.Findings))
	for _, f := range c.report.Findings {
		if len(inv.Broken) < maxBookNames {
			inv.Broken = append(inv.Broken, f.bookName(a.slug))
		}
	}
	return nil
}

// maxBookNames is how many differences are named.
const maxBookNames = 20

func (f ListFinding) bookName(slug string) string {
	id := f.OperationID
	if id == "" {
		id = f.Hold
	}
	return fmt.Sprintf("%s at %s: %s, %s (%d %s)", id, slug, f.Verdict, f.Rule, f.AmountCents, f.CurrencyCode)
}

// pages compares every page of a list.
func (c *comparer) pages(ctx context.Context, from, until time.Time, progress func(string, int)) error {
	for cursor := ""; ; {
		page, err := c.a.list(ctx, gateway.ListRequest{From: from.UTC().Truncate(time.Second), To: until.UTC().Truncate(time.Second), Cursor: cursor})
		if err != nil {
			return err
		}
		if err := c.page(ctx, page.Movements); err != nil {
			return err
		}
		progress(c.run.Slug, c.report.Lines)
		if cursor = page.Next; cursor == "" {
			return nil
		}
	}
}
