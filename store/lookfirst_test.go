package store_test

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

const settling = 10 * time.Second

// restoredBench is a bench whose account looks first, since so long ago.
func restoredBench(t *testing.T, p models.Policy, since time.Duration) bench {
	t.Helper()
	b := newBench(t, p)
	b.lookFirst(t, since)
	return b
}

func (b bench) lookFirst(t *testing.T, since time.Duration) {
	t.Helper()
	accounts, err := b.LookFirst(t.Context(), "stripe", time.Now().Add(25*time.Hour), "olga")
	must(t, err)
	if len(accounts) != 1 || accounts[0].LookFirstSince == nil || accounts[0].LookFirstUntil == nil {
		t.Fatalf("accounts %+v", accounts)
	}
	b.exec(t, `UPDATE payment_gateways SET look_first_since = look_first_since - `+quoteInterval(since))
}

// look judges a look of c that found nothing, and records it if it is not followed by a send.
func (b bench) lookNone(t *testing.T, c store.Claim) models.Decision {
	t.Helper()
	none := models.Evidence{Source: models.FromLookUp, Outcome: models.OutcomeNone}
	d := models.Judge(c.Operation, none, c.Facts(b.Tempo(), settling, false))
	if d.Send {
		return d
	}
	must(t, b.Record(t.Context(), store.Outcome{Claim: c, Evidence: none, Decision: d, Worker: c.LeaseOwner, LogVerdict: true}))
	return d
}

// TestLookFirst: what was never sent is looked up, a none is no proof before the
// calls of the lost time have settled, and then it is sent as ever.
func TestLookFirst(t *testing.T) {
	b := restoredBench(t, onApproval, 0)
	_, op := b.approved(t)
	c := b.claim(t, op)
	if !c.Look || c.SentVersion != nil || !c.LookFirst {
		t.Fatalf("claim %+v, want a look of what was never sent", c)
	}
	if d := b.lookNone(t, c); d.Event != models.Lost {
		t.Fatalf("a none right after the restore came to %+v", d)
	}
	// Whoever ends the mode, or lets it end: the doubt about this row stays.
	_, err := b.LookFirst(t.Context(), "", time.Time{}, "olga")
	must(t, err)
	b.pass(t, time.Hour)
	if c = b.claim(t, op); !c.Look {
		t.Fatal("it is sent though no look proved anything")
	}
	b.lookFirst(t, time.Hour)
	b.pass(t, time.Hour)
	c = b.claim(t, op)
	if d := b.lookNone(t, c); !d.Send {
		t.Fatalf("an hour later it came to %+v, want a send", d)
	}
	sending := b.sendAfterLook(t, c)
	if sending.Look || sending.LookFirst || sending.SentVersion == nil {
		t.Errorf("the second claim is %+v, want one to send", sending)
	}
	b.record(t, sending, confirmed(op))
	b.verify(t)
	b.audited(t)
}

// TestLookFirstKnowsWhatIsNew: what was restored is looked up whenever its time
// comes; what is made after the mode has ended is not.
func TestLookFirstKnowsWhatIsNew(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	_, old := b.approved(t)
	b.lookFirst(t, 0)
	b.exec(t, `UPDATE payment_gateways SET look_first_until = now() - interval '1 second'`)
	_, fresh := b.approved(t)
	if !b.claim(t, old).Look {
		t.Error("what was restored is sent without a look")
	}
	if b.claim(t, fresh).Look {
		t.Error("what is new is looked up after the mode has ended")
	}
	_, off := b.approved(t)
	_, err := b.LookFirst(t.Context(), "stripe", time.Time{}, "olga")
	must(t, err)
	if b.claim(t, off).Look {
		t.Error("it is looked up though the mode was ended by hand")
	}
	if _, err := b.LookFirst(t.Context(), "nobody", time.Time{}, "olga"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an account that is not there: %v", err)
	}
	actions := column[string](t, b, `SELECT action || ' by ' || actor FROM verdicts WHERE order_id IS NULL ORDER BY created_at`)
	if !slices.Equal(actions, []string{"look_first_on by olga", "look_first_off by olga"}) {
		t.Errorf("evidence: %v", actions)
	}
}

// TestLookFirstWhateverStandsAgainst: what could not be sent is looked up all
// the same, since it may have been.
func TestLookFirstWhateverStandsAgainst(t *testing.T) {
	for name, obstacle := range map[string]string{
		"the hold is closed": `UPDATE authorizations SET closed_at = now(), closed_reason = 'expired'`,
		"the hold has ended": `UPDATE authorizations SET capture_before = now()`,
		"the order changed":  `UPDATE orders SET version = version + 1`,
		"it is cancelled":    `UPDATE orders SET cancel_requested_at = now()`,
	} {
		t.Run(name, func(t *testing.T) {
			b := restoredBench(t, onApproval, time.Hour)
			_, op := b.approved(t)
			b.exec(t, obstacle)
			c := b.claim(t, op)
			if !c.Look || c.MaySend {
				t.Fatalf("claim %+v, want a look that may not send", c)
			}
			if d := b.lookNone(t, c); d.Send || d.Event == models.Lost {
				t.Errorf("a conclusive none came to %+v", d)
			}
		})
	}
}

// TestLookFirstOfRefundsAndVoids: the same for what gives back.
func TestLookFirstOfRefundsAndVoids(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	_, paid := b.paid(t)
	o := b.order(t, 1500)
	hold := b.hold(t, o.ID, 1500)
	b.lookFirst(t, time.Hour)
	refund, err := b.refund(paid.ID, 500)
	must(t, err)
	void, err := b.void(hold.ID)
	must(t, err)
	for _, op := range []models.Operation{refund, void} {
		c := b.claim(t, op)
		if !c.Look {
			t.Fatalf("the %s is sent without a look", op.Kind)
		}
		if d := b.lookNone(t, c); !d.Send {
			t.Fatalf("the %s that is not there came to %+v", op.Kind, d)
		}
		b.record(t, b.sendAfterLook(t, c), evidence(op, models.FromAnswer, models.OutcomeConfirmed))
	}
	b.verify(t)
}

// TestLookFirstInABatch: many at once, among them one that was sent before.
func TestLookFirstInABatch(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	_, sent := b.unknownCapture(t)
	b.lookFirst(t, time.Hour)
	ids := []string{sent.ID}
	for range 5 {
		_, op := b.approved(t)
		ids = append(ids, op.ID)
	}
	claims, err := store.NewCommitter(b.Store, "worker").ClaimAll(t.Context(), models.Capture, ids, "worker")
	must(t, err)
	if len(claims) != len(ids) {
		t.Fatalf("%d claims of %d", len(claims), len(ids))
	}
	for _, c := range claims {
		if !c.Look || c.NoneSince == nil {
			t.Errorf("claim %+v, want a look", c)
		}
	}
}

// TestOrdersInDoubt: what a restore casts doubt on is not taken for unsent by a
// cancel or a lower total, until a look proved it.
func TestOrdersInDoubt(t *testing.T) {
	b := restoredBench(t, onApproval, time.Hour)
	lowered, low := b.approved(t)
	refused(t, b.changeTotal(lowered.ID, 1000), "operation_under_way")
	cancelled, gone := b.approved(t)
	must(t, b.cancelOrder(cancelled.ID))
	if o := b.orderNow(t, cancelled.ID); o.Status == models.OrderCancelled || o.CancelRequestedAt == nil {
		t.Errorf("the order is %s; its capture was taken for unsent", o.Status)
	}
	if d := b.lookNone(t, b.claim(t, gone)); d.Then != models.Withdrawn {
		t.Errorf("the look of a cancelled order's capture came to %+v", d)
	}
	if o := b.orderNow(t, cancelled.ID); o.Status != models.OrderCancelled {
		t.Errorf("the order is %s after the look", o.Status)
	}
	// A person's look, which does not send: now it is proven.
	looked := func(op models.Operation) {
		t.Helper()
		c := b.claim(t, op)
		none := models.Evidence{Source: models.FromLookUp, Outcome: models.OutcomeNone}
		must(t, b.Record(t.Context(), store.Outcome{Claim: c, Evidence: none, Decision: models.Decision{Event: models.NotSent, Verdict: models.Retry}, Worker: "olga", LogVerdict: true}))
	}
	looked(low)
	must(t, b.changeTotal(lowered.ID, 1000))
	if op := b.reread(t, low); op.AmountCents != 1000 {
		t.Errorf("the capture is of %d, want 1000", op.AmountCents)
	}
	b.pass(t, time.Hour)
	// Sent, lost, and conclusively not there: withdrawn at once.
	order, op := b.unknownCapture(t)
	looked(op)
	must(t, b.cancelOrder(order.ID))
	if o := b.orderNow(t, order.ID); o.Status != models.OrderCancelled || b.reread(t, op).State != models.Cancelled {
		t.Errorf("the order is %s, its capture %s", o.Status, b.reread(t, op).State)
	}
	b.verify(t)
}

// adopt turns an operation into one that happened without us, as a listing makes it.
func (b bench) adopt(t *testing.T, op models.Operation) models.Operation {
	t.Helper()
	b.exec(t, `DO $$ BEGIN PERFORM set_config('session_replication_role', 'replica', true); UPDATE operations SET cause = 'adopted' WHERE id = '`+op.ID+`'; END $$`)
	return b.reread(t, op)
}

// TestAdoptedIsNeverSent: it is looked up, recorded with proof, and without
// proof it ends, flagged. It is never claimed to be sent.
func TestAdoptedIsNeverSent(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	make := func() []models.Operation {
		_, paid := b.paid(t)
		refund, err := b.refund(paid.ID, 500)
		must(t, err)
		_, capture := b.approved(t)
		return []models.Operation{b.adopt(t, capture), b.adopt(t, refund)}
	}
	for _, op := range make() {
		must(t, b.Hint(t.Context(), nil, op, "listing", "the gateway lists it"))
		c := b.claim(t, op)
		if !c.Look || c.MaySend || c.NoneSince == nil {
			t.Errorf("claim %+v, want a look that may not send, and no proof by an early none", c)
		}
		b.record(t, c, evidence(op, models.FromLookUp, models.OutcomeConfirmed))
		if got := b.reread(t, op); got.State != models.Succeeded {
			t.Errorf("the %s is %s", op.Kind, got.State)
		}
	}
	for _, op := range make() {
		err := b.unclaimed(t, op)
		if _, ok := errors.AsType[*store.Done](err); !ok {
			t.Errorf("the adopted %s: %v, want it done", op.Kind, err)
		}
		if got := b.reread(t, op); got.State != models.Cancelled || got.NeedsAttention != models.FlagNotThere {
			t.Errorf("the %s is %s, flagged %q", op.Kind, got.State, got.NeedsAttention)
		}
	}
	b.verify(t)
}

// TestOpenOutcomes: what a caller must ask about, and what not.
func TestOpenOutcomes(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	open := func(o models.Order) int {
		t.Helper()
		ops, err := b.OpenOutcomes(t.Context(), models.Test, o.ID, 9)
		must(t, err)
		return len(ops)
	}
	want := func(what string, o models.Order, n int) {
		t.Helper()
		if got := open(o); got != n {
			t.Errorf("%s: %d open outcomes, want %d", what, got, n)
		}
	}
	never, neverOp := b.approved(t)
	want("never sent", never, 0)
	must(t, b.Hint(t.Context(), nil, neverOp, "test", "look"))
	want("hinted", never, 1)
	lost, lostOp := b.unknownCapture(t)
	want("unknown", lost, 1)
	c := b.claim(t, lostOp)
	want("somebody's claim", lost, 0)
	b.pass(t, 2*time.Minute)
	want("a dead one's claim", lost, 1)
	_ = c
	paid, _ := b.paid(t)
	want("paid", paid, 0)
	if ops, err := b.OpenOutcomes(t.Context(), models.Live, lost.ID, 9); err != nil || len(ops) != 0 {
		t.Errorf("in the other mode: %d, %v", len(ops), err)
	}
	fresh, _ := b.approved(t)
	b.lookFirst(t, time.Hour)
	want("restored", fresh, 1)
}

// TestOpenWorkIsRenamed: after a restore no name is taken that Redis may
// remember, whatever the generation.
func TestOpenWorkIsRenamed(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	_, op := b.approved(t)
	b.exec(t, `UPDATE work SET generation = 7, published_at = now()`)
	b.lookFirst(t, 0)
	first := read[int](t, b, `SELECT generation FROM work WHERE operation_id = $1 AND published_at IS NULL`, op.ID)
	if minutes := int(time.Now().Unix() / 60); first < minutes-5 || first > minutes+5 {
		t.Errorf("generation %d, want one that counting up never comes to", first)
	}
	b.lookFirst(t, 0)
	if again := read[int](t, b, `SELECT generation FROM work WHERE operation_id = $1`, op.ID); again <= first {
		t.Errorf("a second restore gave generation %d after %d", again, first)
	}
}

// TestNoticeRestore: another timeline, or another cluster, begins the mode, once.
func TestNoticeRestore(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	notice := func(s *store.Store) *store.Restoration {
		t.Helper()
		found, err := s.NoticeRestore(t.Context(), time.Hour, "worker")
		must(t, err)
		return found
	}
	for _, again := range []string{"first", "second"} {
		if found := notice(b.Store); found != nil {
			t.Fatalf("the %s start noticed %+v", again, found)
		}
	}
	for _, change := range []string{`UPDATE origin SET timeline_id = timeline_id + 1`, `UPDATE origin SET system_identifier = 1`} {
		b.exec(t, change)
		found := notice(b.Store)
		if found == nil || len(found.Accounts) != 1 || found.Before == found.Now {
			t.Fatalf("%s: %+v", change, found)
		}
		if notice(b.Store) != nil {
			t.Error("it was noticed twice")
		}
	}
	on, err := b.LookingFirst(t.Context())
	must(t, err)
	if len(on) != 1 || time.Until(*on[0].LookFirstUntil) > time.Hour {
		t.Errorf("looking first: %+v", on)
	}
	// A role that may not ask is told so, and works on.
	b.exec(t, `REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC; CREATE ROLE humble LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO humble`)
	t.Cleanup(func() {
		_, _ = b.db.ExecContext(context.Background(), `DROP OWNED BY humble; DROP ROLE humble`)
	})
	u, err := url.Parse(b.url)
	must(t, err)
	u.User = url.User("humble")
	if _, err := openAt(t, u.String(), models.Tempo{}).NoticeRestore(t.Context(), time.Hour, "worker"); !errors.Is(err, store.ErrOriginHidden) {
		t.Errorf("without the right to ask: %v", err)
	}
}

// TestKeyAgeAfterARestore: what the lost time sent is in no book. A key may be as
// old as the operation that it belongs to.
func TestKeyAgeAfterARestore(t *testing.T) {
	b := restoredBench(t, onApproval, 0)
	_, err := b.LookFirst(t.Context(), "", time.Time{}, "olga")
	must(t, err)
	_, op := b.approved(t)
	age := func(what string, from, to time.Duration) {
		t.Helper()
		got, err := b.KeyAge(t.Context(), op.ID, op.IdempotencyKey())
		must(t, err)
		if got < from || got >= to {
			t.Errorf("%s: the key is %s old, want %s to %s", what, got, from, to)
		}
	}
	b.exec(t, `UPDATE captures SET created_at = created_at - interval '48 hours' WHERE id = $1`, op.ID)
	age("never sent", 0, time.Minute)
	b.lookFirst(t, time.Hour)
	age("perhaps sent in the lost time", 48*time.Hour, 49*time.Hour)
	b.sendAfterLook(t, b.claim(t, op))
	age("perhaps sent in the lost time, and again", 48*time.Hour, 49*time.Hour)
}
