package store

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/capstan-pay/capstan/gather"
	"github.com/capstan-pay/capstan/models"
)

// Committer is a Store whose claims and outcomes of captures share statements
// and commits: what arrives while one batch commits makes up the next. Alone, an
// item is a batch of one and waits for nothing. It is safe for concurrent use.
//
// Each item has its own answer. A row that does not match, since another
// delivery took it or its fence was lost, leaves the others of its batch alone,
// and a statement that one row makes fail is tried again row by row.
type Committer struct {
	*Store
	owner    string
	claims   *gather.Gatherer[string, *Claim]
	outcomes *gather.Gatherer[Outcome, struct{}]
	batches  chan struct{}
}

// The bounds of a Committer.
const (
	commitMax     = 512  // items of one statement
	commitWaiting = 8192 // items accepted and not answered; beyond that callers wait
	commitLanes   = 2    // statements of outcomes at once: one commits while one is read
	batchClaims   = 2    // statements at once that claim a whole task
)

// NewCommitter returns a Committer whose claims are owner's.
func NewCommitter(s *Store, owner string) *Committer {
	c := &Committer{Store: s, owner: owner, batches: make(chan struct{}, batchClaims)}
	c.claims = gather.New(gather.Options{Max: commitMax, Waiting: commitWaiting, Lanes: 1}, c.claimGathered)
	c.outcomes = gather.New(gather.Options{Max: commitMax, Waiting: commitWaiting, Lanes: commitLanes}, c.recordGathered)
	return c
}

// ClaimAll is [Store.ClaimAll]; a capture that is asked for alone is claimed
// together with others that are. What was asked for together is one statement.
// owner must be the Committer's.
func (c *Committer) ClaimAll(ctx context.Context, kind models.Kind, ids []string, owner string) ([]Claim, error) {
	if kind != models.Capture {
		return c.Store.ClaimAll(ctx, kind, ids, owner)
	}
	if len(ids) == 1 {
		claim, err := c.claims.Do(ctx, strings.ToLower(ids[0])) // as Postgres spells it
		if locked(err) {                                        // someone holds one of its batch, perhaps another
			return c.claimNow(ctx, ids)
		}
		if err != nil || claim == nil {
			return nil, err
		}
		return []Claim{*claim}, nil
	}
	select {
	case c.batches <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-c.batches }()
	ids = slices.Clone(ids)
	slices.Sort(ids) // rows are locked in this order
	claims, err := c.claimNow(ctx, ids)
	if locked(err) {
		return c.claimEach(ctx, ids)
	}
	return claims, err
}

// claimNow claims unless someone holds one of ids.
func (c *Committer) claimNow(ctx context.Context, ids []string) ([]Claim, error) {
	return c.claim(ctx, c.hasty, models.Capture, ids, make([]int64, len(ids)), c.owner, nil)
}

// claimEach claims a task's captures one by one, and leaves out those that
// someone holds: a task of their own gets them.
func (c *Committer) claimEach(ctx context.Context, ids []string) ([]Claim, error) {
	var claims []Claim
	for _, id := range ids {
		a := c.claimAlone(ctx, id)
		if a.Err != nil && !locked(a.Err) {
			if len(claims) > 0 { // these are ours: they are worked on, the rest is left
				return claims, nil
			}
			return nil, a.Err
		}
		if a.Value != nil {
			claims = append(claims, *a.Value)
		}
	}
	return claims, nil
}

// Record is [Store.Record], together with others. A cancelled ctx keeps nothing
// that was taken from being recorded.
func (c *Committer) Record(ctx context.Context, o Outcome) error {
	if o.Claim.Kind != models.Capture || o.Decision.Then != "" {
		return c.Store.Record(ctx, o) // a transaction of several statements
	}
	_, err := c.outcomes.Do(ctx, o)
	if !locked(err) && !errors.Is(err, ErrStale) {
		return err
	}
	// It goes on by itself, where it is in nobody's way: someone holds an order of
	// its batch, perhaps this one's, for long; or its claim was overtaken. Money may
	// have moved, so neither a caller who has gone nor the time spent so far counts.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.tempo.RecordTimeout())
	defer cancel()
	if locked(err) {
		return c.Store.Record(ctx, o)
	}
	return c.RecordFenced(ctx, o)
}

// locked reports whether a statement gave up waiting for a row.
func locked(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "55P03"
}

// Release is [Store.Release], together with others.
func (c *Committer) Release(ctx context.Context, claim Claim, worker, why string, wait time.Duration) error {
	return c.Record(ctx, claim.released(worker, why, wait))
}

// Waiting is how many claims and outcomes wait for a batch.
func (c *Committer) Waiting() (claims, outcomes int) {
	return c.claims.Waiting(), c.outcomes.Waiting()
}

func (c *Committer) claimGathered(ctx context.Context, ids []string) []gather.Answer[*Claim] {
	answers := make([]gather.Answer[*Claim], len(ids))
	first := map[string]int{} // of two deliveries of one capture, the first may have it
	var distinct []string
	for i, id := range ids {
		if _, twice := first[id]; !twice {
			first[id] = i
			distinct = append(distinct, id)
		}
	}
	slices.Sort(distinct)
	ctx, cancel := context.WithTimeout(ctx, c.tempo.RecordTimeout())
	defer cancel()
	claims, err := c.claimNow(ctx, distinct)
	switch {
	case err != nil && len(distinct) > 1 && !Unavailable(err) && !locked(err):
		for id, i := range first {
			answers[i] = c.claimAlone(ctx, id)
		}
	case err != nil:
		for i := range answers {
			answers[i].Err = err
		}
	default:
		for _, claim := range claims {
			answers[first[claim.ID]].Value = &claim
		}
	}
	return answers
}

func (c *Committer) claimAlone(ctx context.Context, id string) gather.Answer[*Claim] {
	claims, err := c.claimNow(ctx, []string{id})
	if err != nil || len(claims) == 0 {
		return gather.Answer[*Claim]{Err: err}
	}
	return gather.Answer[*Claim]{Value: &claims[0]}
}

func (c *Committer) recordGathered(ctx context.Context, outcomes []Outcome) []gather.Answer[struct{}] {
	answers := make([]gather.Answer[struct{}], len(outcomes))
	moves := make([]Move, 0, len(outcomes))
	at := make([]int, 0, len(outcomes)) // which outcome each move is
	seen := map[string]bool{}
	var again []int // a second outcome of the same capture follows the first
	for i, o := range outcomes {
		if seen[o.Claim.ID] {
			again = append(again, i)
			continue
		}
		seen[o.Claim.ID] = true
		moves, at = append(moves, o.Move()), append(at, i)
	}
	ctx, cancel := context.WithTimeout(ctx, c.tempo.RecordTimeout())
	defer cancel()
	moved, err := c.applyAll(ctx, c.hasty, moves)
	switch {
	case err == nil:
		for _, i := range at {
			if _, ok := moved[outcomes[i].Claim.ID]; !ok {
				answers[i].Err = ErrStale
			}
		}
	case len(moves) > 1 && !Unavailable(err) && !locked(err):
		c.recordAlone(ctx, outcomes, at, answers)
	default:
		for _, i := range at {
			answers[i].Err = err
		}
	}
	c.recordAlone(ctx, outcomes, again, answers)
	return answers
}

// recordAlone records some of outcomes one by one, so that a row that cannot be
// written keeps no other from being.
func (c *Committer) recordAlone(ctx context.Context, outcomes []Outcome, which []int, answers []gather.Answer[struct{}]) {
	for _, i := range which {
		answers[i].Err = c.Store.Record(ctx, outcomes[i])
	}
}
