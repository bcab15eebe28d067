package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// lanesOfOutcomes is how many statements of outcomes a Committer runs at once;
// of claims it is one.
const lanesOfOutcomes = 2

// lock holds rows of a table in a transaction of its own until the end of it.
func (b bench) lock(t *testing.T, table string, ids ...string) (release func()) {
	t.Helper()
	tx, err := b.db.Begin()
	must(t, err)
	var n int
	must(t, tx.QueryRow(`SELECT count(*) FROM (SELECT 1 FROM `+table+` WHERE id = ANY ($1::uuid[]) FOR UPDATE) AS x`, ids).Scan(&n))
	if n != len(ids) {
		t.Fatalf("locked %d rows of %s, not %d", n, table, len(ids))
	}
	release = sync.OnceFunc(func() { must(t, tx.Rollback()) })
	t.Cleanup(release)
	return release
}

// stuck waits until n statements wait for a lock.
func (b bench) stuck(t *testing.T, n int) {
	t.Helper()
	b.until(t, `SELECT count(*) = $1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`, n)
}

// gathered has the Committer record outcomes in one batch: its lanes are kept
// busy until all of them wait. It returns what each was answered.
func (b bench) gathered(t *testing.T, c *store.Committer, outcomes ...store.Outcome) []error {
	t.Helper()
	release := b.busy(t, c)
	errs := make([]error, len(outcomes))
	var crowd sync.WaitGroup
	for i, o := range outcomes {
		crowd.Go(func() { errs[i] = c.Record(context.Background(), o) })
		for _, waiting := c.Waiting(); waiting <= i; _, waiting = c.Waiting() { // in this order
			continue
		}
	}
	release()
	crowd.Wait()
	return errs
}

// busy keeps every lane of a Committer's outcomes busy until release, which
// waits for the lanes' own outcomes.
func (b bench) busy(t *testing.T, c *store.Committer) (release func()) {
	t.Helper()
	var crowd sync.WaitGroup
	var unlock []func()
	for i := range lanesOfOutcomes {
		order, op := b.approved(t)
		o := b.judged(b.claim(t, op), confirmed(op))
		unlock = append(unlock, b.lock(t, "orders", order.ID))
		crowd.Go(func() {
			if err := c.Record(context.Background(), o); err != nil {
				t.Errorf("an outcome that waited for its order: %v", err)
			}
		})
		b.stuck(t, i+1)
	}
	return sync.OnceFunc(func() {
		for _, u := range unlock {
			u()
		}
		crowd.Wait()
	})
}

// judged is what a worker makes of an answer.
func (b bench) judged(c store.Claim, ev models.Evidence) store.Outcome {
	return store.Outcome{Claim: c, Evidence: ev, Decision: models.Judge(c.Operation, ev, c.Facts(b.Tempo(), 0, true)), Worker: c.LeaseOwner}
}

// claimed makes n captures and takes them.
func (b bench) claimed(t *testing.T, n int) []store.Claim {
	t.Helper()
	claims := make([]store.Claim, n)
	for i := range claims {
		_, op := b.approved(t)
		claims[i] = b.claim(t, op)
	}
	return claims
}

func (b bench) outcomes(claims []store.Claim) []store.Outcome {
	all := make([]store.Outcome, len(claims))
	for i, c := range claims {
		all[i] = b.judged(c, confirmed(c.Operation))
	}
	return all
}

func claimIDs(claims []store.Claim) []string {
	all := make([]string, len(claims))
	for i, c := range claims {
		all[i] = c.ID
	}
	return all
}

// commits counts the transactions that wrote the present versions of captures.
func (b bench) commits(t *testing.T, ids ...string) int {
	t.Helper()
	return read[int](t, b, `SELECT count(DISTINCT xmin::text) FROM captures WHERE id = ANY ($1::uuid[])`, ids)
}

func (b bench) states(t *testing.T, ids ...string) map[models.State]int {
	t.Helper()
	all := map[models.State]int{}
	for _, s := range column[string](t, b, `SELECT state FROM captures WHERE id = ANY ($1::uuid[])`, ids) {
		all[models.State(s)]++
	}
	return all
}

// right holds the whole ledger against every invariant, twice.
func (b bench) right(t *testing.T) {
	t.Helper()
	b.verify(t)
	b.audited(t)
}

// TestOutcomesShareACommit: what comes while the lanes are busy is one commit,
// and each is told that it is recorded.
func TestOutcomesShareACommit(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	c := store.NewCommitter(b.Store, "worker")
	claims := b.claimed(t, 30)
	slices.Reverse(claims)
	for i, err := range b.gathered(t, c, b.outcomes(claims)...) {
		if err != nil {
			t.Errorf("outcome %d: %v", i, err)
		}
	}
	if n := b.commits(t, claimIDs(claims)...); n != 1 {
		t.Errorf("%d commits", n)
	}
	if diff := cmp.Diff(map[models.State]int{models.Succeeded: 30}, b.states(t, claimIDs(claims)...)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	b.right(t)
}

// claimsTogether asks a Committer for captures one by one, in one batch.
func (b bench) claimsTogether(t *testing.T, c *store.Committer, ids ...string) ([][]store.Claim, []error) {
	t.Helper()
	_, first := b.approved(t)
	release := b.lock(t, "captures", first.ID)
	var crowd sync.WaitGroup
	crowd.Go(func() {
		if claims, err := c.ClaimAll(context.Background(), models.Capture, []string{first.ID}, "worker"); err != nil || len(claims) != 1 {
			t.Errorf("a claim that waited for its row: %v, %v", claims, err)
		}
	})
	b.stuck(t, 1)
	claims, errs := make([][]store.Claim, len(ids)), make([]error, len(ids))
	for i, id := range ids {
		crowd.Go(func() { claims[i], errs[i] = c.ClaimAll(context.Background(), models.Capture, []string{id}, "worker") })
		for waiting, _ := c.Waiting(); waiting <= i; waiting, _ = c.Waiting() {
			continue
		}
	}
	release()
	crowd.Wait()
	return claims, errs
}

// TestClaimsShareACommit: single tasks that come at once are claimed together,
// and each gets its own capture.
func TestClaimsShareACommit(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	c := store.NewCommitter(b.Store, "worker")
	var ids []string
	for range 20 {
		_, op := b.approved(t)
		ids = append(ids, op.ID)
	}
	slices.Reverse(ids)
	_, flagged := b.approved(t)
	b.exec(t, `UPDATE captures SET needs_attention = 'test' WHERE id = $1`, flagged.ID)
	asked := append(slices.Clone(ids), flagged.ID, store.NewID(), "x", strings.ToUpper(store.NewID()))
	claims, errs := b.claimsTogether(t, c, asked...)
	for i, id := range asked {
		switch {
		case errs[i] != nil:
			t.Errorf("%q: %v", id, errs[i])
		case i < len(ids) && (len(claims[i]) != 1 || claims[i][0].ID != id || claims[i][0].Version != 2):
			t.Errorf("%s was given %+v", id, claims[i])
		case i >= len(ids) && len(claims[i]) != 0:
			t.Errorf("%s, which nobody may have, was given %+v", id, claims[i])
		}
	}
	if n := b.commits(t, ids...); n != 1 {
		t.Errorf("%d commits", n)
	}
	b.right(t)
}

// TestTwoDeliveriesOfOneCapture in one batch of claims: one of them has it.
func TestTwoDeliveriesOfOneCapture(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	c := store.NewCommitter(b.Store, "worker")
	_, one := b.approved(t)
	_, other := b.approved(t)
	claims, errs := b.claimsTogether(t, c, other.ID, one.ID, strings.ToUpper(one.ID), one.ID)
	must(t, errors.Join(errs...))
	had := 0
	for _, got := range claims[1:] {
		had += len(got)
		if len(got) == 1 && got[0].ID != one.ID {
			t.Errorf("asked for %s, given %s", one.ID, got[0].ID)
		}
	}
	if had != 1 {
		t.Errorf("%d of three deliveries have it", had)
	}
	if len(claims[0]) != 1 || claims[0][0].ID != other.ID {
		t.Errorf("asked for %s, given %+v", other.ID, claims[0])
	}
	if n := read[int](t, b, `SELECT count(*) FROM attempts WHERE operation_id = $1`, one.ID); n != 1 {
		t.Errorf("%d attempts", n)
	}
	b.right(t)
}

// TestIDsAsTheyAreSpelled: a task made by hand may spell an id as it likes, and
// is given its own capture, not another's place.
func TestIDsAsTheyAreSpelled(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	c := store.NewCommitter(b.Store, "worker")
	var ids, asked []string
	for range 4 {
		_, op := b.approved(t)
		ids, asked = append(ids, op.ID), append(asked, strings.ToUpper(op.ID))
	}
	asked[0] = ids[0]
	claims, errs := b.claimsTogether(t, c, asked...)
	must(t, errors.Join(errs...))
	for i, id := range ids {
		if len(claims[i]) != 1 || claims[i][0].ID != id {
			t.Errorf("asked for %s, given %+v", asked[i], claims[i])
		}
	}
}

// TestOneRowThatCannotBeClaimed leaves the others of its batch alone.
func TestOneRowThatCannotBeClaimed(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	c := store.NewCommitter(b.Store, "worker")
	var ids []string
	for range 5 {
		_, op := b.approved(t)
		ids = append(ids, op.ID)
	}
	b.exec(t, `CREATE TRIGGER test BEFORE UPDATE ON captures FOR EACH ROW WHEN (NEW.id = '`+ids[2]+`') EXECUTE FUNCTION refuse('as the test says')`)
	claims, errs := b.claimsTogether(t, c, ids...)
	for i := range ids {
		switch {
		case i == 2 && (errs[i] == nil || !strings.Contains(errs[i].Error(), "as the test says")):
			t.Errorf("the bad row: %v, %v", claims[i], errs[i])
		case i != 2 && (errs[i] != nil || len(claims[i]) != 1):
			t.Errorf("capture %d: %v, %v", i, claims[i], errs[i])
		}
	}
	b.right(t)
}

// TestOneRowThatCannotBeWritten gets its own error, and the others are recorded.
func TestOneRowThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	c := store.NewCommitter(b.Store, "worker")
	for name, spoil := range map[string]struct {
		how  func(o *store.Outcome)
		says string
	}{
		"the ledger refuses the amount": {func(o *store.Outcome) {
			o.Evidence.AmountCents = -1
			o.Decision = models.Decision{Event: models.Confirmed, Rule: "made by hand"}
		}, "confirmed_cents"},
		"there is no such step": {func(o *store.Outcome) {
			o.Decision = models.Decision{Event: models.TakenBack, Rule: "made by hand"}
		}, models.ErrTransition.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			claims := b.claimed(t, 6)
			outcomes := b.outcomes(claims)
			spoil.how(&outcomes[3])
			for i, err := range b.gathered(t, c, outcomes...) {
				switch {
				case i == 3 && (err == nil || !strings.Contains(err.Error(), spoil.says)):
					t.Errorf("the bad row: %v", err)
				case i != 3 && err != nil:
					t.Errorf("outcome %d: %v", i, err)
				}
			}
			if diff := cmp.Diff(map[models.State]int{models.Succeeded: 5, models.Capturing: 1}, b.states(t, claimIDs(claims)...)); diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
			if got := b.reread(t, claims[3].Operation); got.Version != claims[3].Version {
				t.Errorf("something of the bad row was written: %+v", got)
			}
			must(t, c.Record(t.Context(), b.judged(claims[3], confirmed(claims[3].Operation))))
			b.right(t)
		})
	}
}

// TestOneOrderThatIsHeld: a shop's transaction that holds an order for long
// holds up nothing but that order's own capture, which is recorded when it is
// free, though whoever brought the outcome has gone.
func TestOneOrderThatIsHeld(t *testing.T) {
	t.Parallel()
	url := migrated(t)
	b := bench{newShop(t, openAt(t, url, models.Tempo{Scale: 2}), onApproval), url, openSQL(t, url), false} // a record has 7.5 s, on a busy machine, too
	c := store.NewCommitter(b.Store, "worker")
	claims := b.claimed(t, 30)
	release := b.lock(t, "orders", claims[7].OrderID)
	gone, leave := context.WithCancel(t.Context())
	leave()
	var crowd sync.WaitGroup
	for _, o := range b.outcomes(claims) {
		crowd.Go(func() {
			if err := c.Record(gone, o); err != nil {
				t.Errorf("record: %v", err)
			}
		})
	}
	b.until(t, `SELECT count(*) = $1 FROM captures WHERE state = 'succeeded'`, 29)
	release()
	crowd.Wait()
	b.right(t)
}

// TestOneCaptureThatIsHeld: it is left out of what is claimed with it.
func TestOneCaptureThatIsHeld(t *testing.T) {
	t.Parallel()
	url := migrated(t)
	b := bench{newShop(t, openAt(t, url, models.Tempo{Scale: 10}), onApproval), url, openSQL(t, url), false}
	c := store.NewCommitter(b.Store, "worker")
	var ids []string
	for range 10 {
		_, op := b.approved(t)
		ids = append(ids, op.ID)
	}
	release := b.lock(t, "captures", ids[3])
	claims, err := c.ClaimAll(t.Context(), models.Capture, ids, "worker")
	if err != nil || len(claims) != 9 || slices.Contains(claimIDs(claims), ids[3]) {
		t.Errorf("claimed %d, %v; want all but the one that is held", len(claims), err)
	}
	if _, err := c.ClaimAll(t.Context(), models.Capture, ids[3:4], "worker"); err == nil {
		t.Error("the one that is held was claimed, or is told to be done")
	}
	release()
	if claims, err := c.ClaimAll(t.Context(), models.Capture, ids[3:4], "worker"); err != nil || len(claims) != 1 {
		t.Errorf("when it is free: %d claimed, %v", len(claims), err)
	}
	b.right(t)
}

// TestLostFenceInABatch: the one that was overtaken is recorded as an event from
// outside, the others under their fences, in one commit.
func TestLostFenceInABatch(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	c := store.NewCommitter(b.Store, "worker")
	overtaken := b.claimed(t, 2)
	b.pass(t, 2*time.Minute)
	if took := b.claims(t, overtaken[0].Operation, "other"); len(took) != 1 {
		t.Fatal("not taken over")
	}
	if took := b.claims(t, overtaken[1].Operation, "other"); len(took) != 1 {
		t.Fatal("not taken over")
	}
	fine := b.claimed(t, 4)
	outcomes := b.outcomes(fine)
	proof := b.judged(overtaken[0], confirmed(overtaken[0].Operation))
	lost := b.judged(overtaken[1], evidence(overtaken[1].Operation, models.FromAnswer, models.OutcomeLost))
	outcomes = slices.Insert(outcomes, 2, proof, lost)
	must(t, errors.Join(b.gathered(t, c, outcomes...)...))
	if n := b.commits(t, claimIDs(fine)...); n != 1 {
		t.Errorf("%d commits", n)
	}
	if diff := cmp.Diff(map[models.State]int{models.Succeeded: 4}, b.states(t, claimIDs(fine)...)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	if got := b.reread(t, overtaken[0].Operation); got.State != models.Succeeded {
		t.Errorf("proof was dropped: %s", got.State)
	}
	if got := b.reread(t, overtaken[1].Operation); got.State != models.Capturing || got.Version != overtaken[1].Version+1 {
		t.Errorf("a lost answer of a lost fence moved the row: %s at %d", got.State, got.Version)
	}
	for _, o := range overtaken {
		if n := read[int](t, b, `SELECT count(*) FROM attempt_results WHERE operation_id = $1 AND version = $2 AND fenced`, o.ID, o.Version); n != 1 {
			t.Errorf("%d results of a stale attempt", n)
		}
	}
	b.right(t)
}

// TestTwoOutcomesOfOneCapture in one batch are recorded one after the other.
func TestTwoOutcomesOfOneCapture(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	c := store.NewCommitter(b.Store, "worker")
	for name, second := range map[string]models.Outcome{"the same": models.OutcomeConfirmed, "less": models.OutcomeLost} {
		for _, first := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, proof first %t", name, first), func(t *testing.T) {
				claims := b.claimed(t, 3)
				outcomes := b.outcomes(claims)
				outcomes = append(outcomes, b.judged(claims[1], evidence(claims[1].Operation, models.FromAnswer, second)))
				if !first {
					outcomes[1], outcomes[3] = outcomes[3], outcomes[1]
				}
				must(t, errors.Join(b.gathered(t, c, outcomes...)...))
				if diff := cmp.Diff(map[models.State]int{models.Succeeded: 3}, b.states(t, claimIDs(claims)...)); diff != "" {
					t.Errorf("states (-want +got):\n%s", diff)
				}
				if got := read[int](t, b, `SELECT sum(confirmed_cents) FROM authorizations WHERE id = $1`, claims[1].AuthorizationID); got != 1500 {
					t.Errorf("the hold has %d confirmed", got)
				}
				b.right(t)
			})
		}
	}
}

// TestACallerWhoHasGone: his outcome is recorded all the same, and so is his claim.
func TestACallerWhoHasGone(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	c := store.NewCommitter(b.Store, "worker")
	claims := b.claimed(t, 2)
	gone, leave := context.WithCancel(t.Context())
	leave()
	must(t, c.Record(gone, b.judged(claims[0], confirmed(claims[0].Operation))))

	release := b.busy(t, c)
	leaving, leave := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Record(leaving, b.judged(claims[1], confirmed(claims[1].Operation))) }()
	for _, waiting := c.Waiting(); waiting < 1; _, waiting = c.Waiting() {
		continue
	}
	leave()
	release()
	must(t, <-done)
	if diff := cmp.Diff(map[models.State]int{models.Succeeded: 2}, b.states(t, claimIDs(claims)...)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	b.right(t)
}

// TestWhatGoesItsOwnWay: a refund, and an outcome with a second step, need a
// transaction of their own and wait for no lane.
func TestWhatGoesItsOwnWay(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	c := store.NewCommitter(b.Store, "worker")
	_, paid := b.paid(t)
	refund, err := b.refund(paid.ID, 500)
	must(t, err)
	o, unknown := b.unknownCapture(t)
	must(t, b.cancelOrder(o.ID))
	looked := b.claim(t, unknown)
	withdrawn := b.judged(looked, models.Evidence{Source: models.FromLookUp, Outcome: models.OutcomeNone})
	if withdrawn.Decision.Then != models.Withdrawn {
		t.Fatalf("a conclusive none on a cancelled order: %+v", withdrawn.Decision)
	}
	release := b.busy(t, c)
	claims, err := c.ClaimAll(t.Context(), models.Refund, []string{refund.ID}, "worker")
	must(t, err)
	if len(claims) != 1 {
		t.Fatalf("%d claims of a refund", len(claims))
	}
	must(t, c.Record(t.Context(), b.judged(claims[0], confirmed(refund))))
	must(t, c.Record(t.Context(), withdrawn))
	release()
	if got := b.reread(t, refund); got.State != models.Succeeded {
		t.Errorf("the refund is %s", got.State)
	}
	if got := b.reread(t, unknown); got.State != models.Cancelled {
		t.Errorf("the capture of a cancelled order is %s", got.State)
	}
	b.right(t)
}

// TestReleasesShareACommit: what was not sent goes back in a batch, too.
func TestReleasesShareACommit(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	c := store.NewCommitter(b.Store, "worker")
	claims := b.claimed(t, 4)
	release := b.busy(t, c)
	var crowd sync.WaitGroup
	for _, claim := range claims {
		claim.InBatch = true
		crowd.Go(func() {
			if err := c.Release(context.Background(), claim, "worker", "test", time.Minute); err != nil {
				t.Error(err)
			}
		})
	}
	for _, waiting := c.Waiting(); waiting < len(claims); _, waiting = c.Waiting() {
		continue
	}
	release()
	crowd.Wait()
	if n := b.commits(t, claimIDs(claims)...); n != 1 {
		t.Errorf("%d commits", n)
	}
	for _, claim := range claims {
		if got := b.reread(t, claim.Operation); got.State != models.Pending || got.SentVersion != nil || got.LastSentAt != nil || got.Unsent != 1 {
			t.Errorf("released: %+v", got)
		}
	}
	ps, err := b.Unpublished(t.Context(), 100)
	must(t, err)
	left := 0
	for _, p := range ps {
		if slices.Contains(claimIDs(claims), p.ID) {
			left++
			if !p.Alone || p.Generation != 2 {
				t.Errorf("it left its batch as %+v", p)
			}
		}
	}
	if left != len(claims) {
		t.Errorf("%d of %d are to be published", left, len(claims))
	}
	b.right(t)
}

// TestCommittersOfTwoWorkers claim and record the same captures at the same
// time, in opposite order, singly and in batches, and captures of the same
// orders: each is claimed once and recorded once, and no deadlock is an error.
func TestCommittersOfTwoWorkers(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	var ids []string
	for range 15 { // each order has two captures
		o := b.order(t, 3000)
		b.hold(t, o.ID, 1500)
		b.hold(t, o.ID, 1500)
		for _, op := range b.approve(t, o.ID) {
			ids = append(ids, op.ID)
		}
	}
	if len(ids) != 30 {
		t.Fatalf("%d captures", len(ids))
	}
	var mu sync.Mutex
	taken := map[string]int{}
	var crowd sync.WaitGroup
	work := func(c *store.Committer, owner string, ids ...string) {
		crowd.Go(func() {
			claims, err := c.ClaimAll(context.Background(), models.Capture, ids, owner)
			if err != nil {
				t.Errorf("%s claims: %v", owner, err)
			}
			for _, claim := range claims {
				mu.Lock()
				taken[claim.ID]++
				mu.Unlock()
				crowd.Go(func() {
					if err := c.Record(context.Background(), b.judged(claim, confirmed(claim.Operation))); err != nil {
						t.Errorf("%s records %s: %v", owner, claim.ID, err)
					}
				})
			}
		})
	}
	other := benchAt(t, onApproval, b.url)
	for owner, s := range map[string]*store.Store{"one": b.Store, "two": other.Store} {
		c, mine := store.NewCommitter(s, owner), slices.Clone(ids)
		if owner == "two" {
			slices.Reverse(mine)
		}
		for part := range slices.Chunk(mine, 12) {
			work(c, owner, part...)
		}
		for _, id := range mine {
			work(c, owner, id)
		}
	}
	crowd.Wait()
	for _, id := range ids {
		if taken[id] != 1 {
			t.Errorf("%s was claimed %d times", id, taken[id])
		}
	}
	if diff := cmp.Diff(map[models.State]int{models.Succeeded: 30}, b.states(t, ids...)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	b.right(t)
}
