package store_test

import (
	"context"
	"errors"
	"flag"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

func TestVerifierOnAGoodLedger(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	b.paid(t)
	b.approved(t)
	b.verify(t)
	b.audited(t)
}

// storyChecks is how many stories are told, and with -prove; -rapid.checks asks
// for more.
const storyChecks, storyProof = "8", "150"

// TestStories tells random stories about an order: whatever is asked for, in
// whatever order, with whatever the gateway says and however late, the ledger is
// right after each step.
func TestStories(t *testing.T) {
	set := func(name, value string) {
		if f := flag.Lookup(name); f.Value.String() == f.DefValue {
			must(t, f.Value.Set(value))
			t.Cleanup(func() { must(t, f.Value.Set(f.DefValue)) })
		}
	}
	checks := storyChecks
	if *prove {
		checks = storyProof
	}
	set("rapid.checks", checks)
	set("rapid.steps", "50")
	set("rapid.nofailfile", "true")
	for name, policy := range map[string]models.Policy{
		"approval":      {AutoCapture: true, CaptureTrigger: models.TriggerApproval, LastChanceSeconds: ptr(int64(600))},
		"authorization": {AutoCapture: true, CaptureTrigger: models.TriggerAuthorization},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, policy)
			rapid.Check(t, func(t *rapid.T) {
				s := begin(t, b)
				t.Repeat(s.actions())
			})
			b.verify(t)
			b.audited(t)
		})
	}
}

// story is one order's.
type story struct {
	bench
	order string
	// claims were taken by workers that may be slow, or dead.
	claims []store.Claim
	// doubted: the account looks first, as after a restore.
	doubted bool
}

// begin makes the order: free now and then, mostly with a hold that covers it.
func begin(t *rapid.T, b bench) *story {
	order, _, err := b.CreateOrder(context.Background(), models.Order{
		Mode: models.Test, PaymentMethodID: b.method.ID, CurrencyCode: "EUR", TotalAmountCents: rapid.OneOf(rapid.Just(int64(1500)), cents).Draw(t, "total"),
	})
	must(t, err)
	must(t, b.ResumeGateway(context.Background(), "stripe"))
	_, err = b.LookFirst(context.Background(), "stripe", time.Time{}, "test")
	must(t, err)
	s := &story{bench: b, order: order.ID}
	if rapid.IntRange(0, 3).Draw(t, "hold") > 0 {
		_, _, err := s.register(models.Authorization{OrderID: s.order, AmountCents: 1500, MultiCapture: rapid.Bool().Draw(t, "several captures")})
		must(t, err)
	}
	return s
}

var cents = rapid.Custom(func(t *rapid.T) int64 { return 100 * rapid.Int64Range(0, 30).Draw(t, "euros") })

// tolerate lets the ledger say no; any other error ends the story.
func tolerate(t tester, err error) {
	t.Helper()
	var refusal *store.Refusal
	var notYet *store.NotYet
	var done *store.Done
	if err == nil || errors.Is(err, store.ErrStale) || errors.As(err, &refusal) || errors.As(err, &notYet) || errors.As(err, &done) {
		return
	}
	t.Fatalf("%v", err)
}

func (s *story) actions() map[string]func(*rapid.T) {
	all := map[string]func(*rapid.T){
		"":          func(t *rapid.T) { s.verify(t, s.order) },
		"hold":      s.hold,
		"approve":   func(t *rapid.T) { _, err := s.approveOrder(s.order); tolerate(t, err) },
		"fulfill":   s.fulfill,
		"capture":   s.captureSome,
		"refund":    s.refundSome,
		"void":      func(t *rapid.T) { _, err := s.bench.void(s.draw(t, "authorizations")); orUnknown(t, err) },
		"release":   s.release,
		"observe":   s.observe,
		"hint":      s.hint,
		"say":       s.say,
		"elsewhere": s.elsewhere,
		"take back": s.takeBack,
		"edit":      func(t *rapid.T) { tolerate(t, s.changeTotal(s.order, cents.Draw(t, "total"))) },
		"cancel":    s.cancel,
		"give back": s.giveBack,
		"sweep":     func(t *rapid.T) { s.sweep(t) },
		"time":      s.time,
		"task":      s.task,
		"pause":     s.pause,
		"restore":   s.restore,
	}
	for i := range 4 { // what workers do, they do most
		all["claim "+strconv.Itoa(i)], all["record "+strconv.Itoa(i)] = s.claimSome, s.record
	}
	return all
}

// draw picks an id of the order's rows in a table, or one that is nobody's.
func (s *story) draw(t *rapid.T, table string) string {
	ids := column[string](t, s.bench, `SELECT id FROM `+table+` WHERE order_id = $1 ORDER BY id`, s.order)
	if len(ids) == 0 {
		return store.NewID()
	}
	return rapid.SampledFrom(ids).Draw(t, table)
}

// drawOperation picks one of the order's operations; false when it has none.
func (s *story) drawOperation(t *rapid.T) (models.Operation, bool) {
	var ops []models.Operation
	for _, kind := range models.Kinds {
		some, err := s.OperationsBy(context.Background(), models.Test, kind, store.ByOrder, []string{s.order}, 100)
		must(t, err)
		ops = append(ops, some...)
	}
	if len(ops) == 0 {
		return models.Operation{}, false
	}
	return rapid.SampledFrom(ops).Draw(t, "operation"), true
}

func (s *story) hold(t *rapid.T) {
	a := models.Authorization{
		OrderID: s.order, AmountCents: 1 + cents.Draw(t, "amount"), MultiCapture: rapid.Bool().Draw(t, "several captures"),
	}
	if rapid.Bool().Draw(t, "ends") {
		a.CaptureBefore = ptr(time.Now().Add(time.Duration(rapid.IntRange(-1, 60).Draw(t, "minutes")) * time.Minute))
	}
	_, _, err := s.register(a)
	tolerate(t, err)
}

func (s *story) fulfill(t *rapid.T) {
	tolerate(t, s.in(func(ctx context.Context, tx store.Tx) error {
		_, _, err := s.Fulfill(ctx, tx, models.Test, s.order, time.Now(), "test")
		return err
	}))
}

// some is an amount: all there is, or a number of cents.
func some(t *rapid.T) int64 {
	return rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(-1, 3000)).Draw(t, "cents")
}

func orUnknown(t *rapid.T, err error) {
	if errors.Is(err, store.ErrNotFound) {
		return
	}
	tolerate(t, err)
}

func (s *story) captureSome(t *rapid.T) {
	_, err := s.bench.capture(s.draw(t, "authorizations"), some(t))
	orUnknown(t, err)
}

func (s *story) refundSome(t *rapid.T) {
	_, err := s.bench.refund(s.draw(t, "captures"), some(t))
	orUnknown(t, err)
}

func (s *story) giveBack(t *rapid.T) {
	orUnknown(t, s.in(func(ctx context.Context, tx store.Tx) error {
		_, err := s.CancelCapture(ctx, tx, models.Test, s.draw(t, "captures"), time.Now(), "person")
		return err
	}))
}

// cancel comes seldom: little happens afterwards.
func (s *story) cancel(t *rapid.T) {
	if rapid.IntRange(0, 3).Draw(t, "really") == 0 {
		tolerate(t, s.cancelOrder(s.order))
	}
}

func (s *story) pause(t *rapid.T) {
	if rapid.IntRange(0, 7).Draw(t, "really") == 0 {
		must(t, s.PauseGateway(context.Background(), "stripe", "test"))
		return
	}
	must(t, s.ResumeGateway(context.Background(), "stripe"))
}

// restore begins the look-first mode now and then, and mostly ends it.
func (s *story) restore(t *rapid.T) {
	var until time.Time
	if s.doubted = rapid.IntRange(0, 3).Draw(t, "doubted") == 0; s.doubted {
		until = time.Now().Add(time.Hour)
	}
	_, err := s.LookFirst(context.Background(), "stripe", until, "test")
	must(t, err)
}

func (s *story) time(t *rapid.T) {
	s.pass(t, rapid.SampledFrom([]time.Duration{time.Second, 40 * time.Second, 70 * time.Second, 20 * time.Minute, 24 * time.Hour}).Draw(t, "pause"))
}

func (s *story) claimSome(t *rapid.T) {
	for _, kind := range models.Kinds {
		ids := column[string](t, s.bench, `SELECT id FROM operations WHERE order_id = $1 AND kind = $2`, s.order, kind)
		claims, err := s.ClaimAll(context.Background(), kind, ids, rapid.SampledFrom([]string{"anna", "ben"}).Draw(t, "worker"))
		must(t, err)
		for _, c := range claims {
			if !c.Look && !c.MaySend {
				t.Fatalf("%s %s may be sent at once though something stands against it", kind, c.ID)
			}
			if !c.Look && s.doubted {
				t.Fatalf("%s %s may be sent without a look, in a restored ledger", kind, c.ID)
			}
		}
		s.claims = append(s.claims, claims...)
	}
}

// take picks a claim; its worker may come back to it later, as one that hung does.
func (s *story) take(t *rapid.T) (store.Claim, bool) {
	if len(s.claims) == 0 {
		return store.Claim{}, false
	}
	i := rapid.IntRange(0, len(s.claims)-1).Draw(t, "claim")
	c := s.claims[i]
	if rapid.IntRange(0, 3).Draw(t, "again later") > 0 {
		s.claims = append(s.claims[:i:i], s.claims[i+1:]...)
	}
	return c, true
}

func (s *story) record(t *rapid.T) {
	c, ok := s.take(t)
	if !ok {
		return
	}
	ev := said(t, c.Operation)
	ev.Source = models.FromAnswer
	if c.Look {
		ev.Source = models.FromLookUp
	}
	d := models.Judge(c.Operation, ev, c.Facts(s.Tempo(), 10*time.Second, true))
	out := store.Outcome{Claim: c, Evidence: ev, Decision: d, Worker: c.LeaseOwner, LogVerdict: c.Look}
	if !d.Send {
		tolerate(t, s.Record(context.Background(), out))
		return
	}
	sending, err := s.ClaimSend(context.Background(), out)
	if errors.Is(err, store.ErrStale) {
		tolerate(t, s.Release(context.Background(), c, c.LeaseOwner, "something came to stand against sending", 0))
		return
	}
	must(t, err)
	if sending.Look || !sending.MaySend {
		t.Fatalf("%s %s was claimed to send: look %v, may send %v", c.Kind, c.ID, sending.Look, sending.MaySend)
	}
	s.claims = append(s.claims, sending)
}

func (s *story) release(t *rapid.T) {
	if c, ok := s.take(t); ok {
		tolerate(t, s.Release(context.Background(), c, c.LeaseOwner, "the worker stops", 0))
	}
}

func (s *story) observe(t *rapid.T) {
	op, ok := s.drawOperation(t)
	if !ok {
		return
	}
	ev := said(t, op)
	if ev.Source == models.FromAnswer && op.SentVersion == nil {
		ev.Source = models.FromWebhook // nobody answers what was not sent
	}
	_, err := s.Observe(context.Background(), store.Observation{Kind: op.Kind, ID: op.ID, Evidence: ev, Actor: "webhook:stripe"})
	tolerate(t, err)
}

func (s *story) hint(t *rapid.T) {
	if op, ok := s.drawOperation(t); ok && op.State.Live() {
		tolerate(t, s.Hint(context.Background(), nil, op, "person", "look"))
	}
}

// say: a person says what became of an operation.
func (s *story) say(t *rapid.T) {
	op, ok := s.drawOperation(t)
	if !ok {
		return
	}
	w := word(op, rapid.Bool().Draw(t, "happened"))
	if w.Unsent = rapid.Bool().Draw(t, "its gateway can be asked"); w.Unsent {
		w.Mechanism = models.MechanismManual
	}
	_, err := s.Assert(context.Background(), nil, models.Test, w)
	tolerate(t, err)
}

// elsewhere: a person captured, refunded or cancelled without the gateway.
func (s *story) elsewhere(t *rapid.T) {
	w := store.Word{Mechanism: models.MechanismManual, By: says, Reason: "cash"}
	err := s.in(func(ctx context.Context, tx store.Tx) (err error) {
		switch rapid.IntRange(0, 2).Draw(t, "what") {
		case 0:
			_, err = s.CapturedElsewhere(ctx, tx, models.Test, s.draw(t, "authorizations"), some(t), w, models.Labels{})
		case 1:
			_, err = s.RefundedElsewhere(ctx, tx, models.Test, s.draw(t, "captures"), some(t), w)
		default:
			_, err = s.CancelledElsewhere(ctx, tx, models.Test, s.draw(t, "captures"), w)
		}
		return err
	})
	orUnknown(t, err)
}

// takeBack: the gateway reverses what succeeded.
func (s *story) takeBack(t *rapid.T) {
	op, ok := s.drawOperation(t)
	if !ok || op.State != models.Succeeded || rapid.IntRange(0, 2).Draw(t, "really") > 0 {
		return
	}
	_, err := s.Apply(context.Background(), store.Move{Op: op, Decision: models.Decision{Event: models.TakenBack, Rule: "charged back"}, Actor: "webhook:stripe"})
	tolerate(t, err)
}

func (s *story) task(t *rapid.T) {
	if op, ok := s.drawOperation(t); ok {
		tolerate(t, s.WhyNot(context.Background(), op.Kind, op.ID, "worker"))
	}
}

// said is anything a gateway may say about op: mostly sense.
func said(t *rapid.T, op models.Operation) models.Evidence {
	mostly := func(label string) bool { return rapid.IntRange(0, 9).Draw(t, label) > 0 }
	ev := evidence(op, rapid.SampledFrom([]models.Source{models.FromAnswer, models.FromLookUp, models.FromWebhook, models.FromOperator}).Draw(t, "source"),
		rapid.SampledFrom(append([]models.Outcome{models.OutcomeConfirmed, models.OutcomeConfirmed, models.OutcomeConfirmed}, models.Outcomes...)).Draw(t, "outcome"))
	ev.Class = rapid.SampledFrom([]models.Class{"", "", "", models.ClassThrottled, models.ClassConfig, models.ClassBadRequest, models.ClassInProgress}).Draw(t, "class")
	ev.HoldGone, ev.Answered = rapid.Bool().Draw(t, "hold gone"), rapid.Bool().Draw(t, "answered")
	if !mostly("right amount") {
		ev.AmountCents = rapid.Int64Range(-1, 5000).Draw(t, "another amount")
	}
	if !mostly("right currency") {
		ev.CurrencyCode = "USD"
	}
	if !mostly("same transaction") {
		ev.GatewayTransactionID = "tx_other_" + op.ID
	}
	ev.Foreign = !mostly("ours")
	if ev.Source == models.FromOperator {
		ev.By = says
	}
	return ev
}
