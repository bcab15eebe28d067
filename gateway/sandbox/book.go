package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"
)

// The statuses of a PaymentIntent.
const (
	needsMethod  = "requires_payment_method"
	needsConfirm = "requires_confirmation"
	needsAction  = "requires_action"
	needsCapture = "requires_capture"
	canceled     = "canceled"
	succeeded    = "succeeded"
)

// intent is a PaymentIntent's state: a value, so that a copy is a snapshot.
// Its metadata is replaced, never changed in place.
type intent struct {
	id, charge    string
	amount        int64
	currency      string
	captured      int64
	refunded      int64
	status        string
	method        string // capture_method
	paymentMethod string
	reason        string // cancellation_reason
	description   string
	metadata      map[string]string
	created       time.Time
	canceledAt    time.Time
	captureBefore time.Time
	live          bool
	wire          string // empty is Stripe's
	releaseID     string // the refund that Stripe books when an uncaptured hold ends
	disputed      int64  // taken back by the payer's bank
	everDisputed  bool   // as the charge says, whatever became of it
}

// refunding is one refund; it never changes.
type refunding struct {
	id, hold, charge string
	amount           int64
	currency         string
	metadata         map[string]string
	reason           string
	created          time.Time
	live             bool
}

// hold is a PaymentIntent with what belongs to it.
type hold struct {
	intent
	before  *intent // what was true before the last change, for stale look-ups
	refunds []refunding
	last    *batch // durable when the hold's newest entry is
	late    int    // bookings that a fault has put off

	disputes []dispute
	paypal   paypalHold
	checkout checkoutHold
	klarna   klarnaHold
	external externalHold
	adyen    adyenHold

	braintree braintreeHold
}

// book is the sandbox's state. Every change is an entry: checked, appended to
// the journal and applied under one lock. What was read or changed may be told
// to a caller only when the batch it came from is durable.
type book struct {
	now     func() time.Time
	log     *slog.Logger
	journal *journal
	booked  func(kind string) // counts bookings and violations

	mu         sync.Mutex
	holds      map[string]*hold
	charges    map[string]*hold
	refunds    map[string]*hold // by the refund's id
	order      []*hold
	expiring   []*hold // waiting for their end, oldest first
	captures   []Booking
	refundList []Booking
	cancels    []Booking
	lines      []line // what came and went, in order

	disputes, disputesWon []Booking
	violations            []Violation
	keys                  *keys
	plans                 func(hold, fault string) error // hands a hold's faults to the engine
	paypal                paypalIndex
	external              externalIndex
}

func newBook(c Config, plans func(hold, fault string) error, booked func(string)) (*book, error) {
	b := &book{
		now: c.Now, log: c.Log, booked: booked, plans: plans, keys: newKeys(c.KeyLife),
		holds: map[string]*hold{}, charges: map[string]*hold{}, refunds: map[string]*hold{}, paypal: newPayPalIndex(),
		external: newExternalIndex(),
	}
	var err error
	b.journal, err = openJournal(c.Dir, func(line []byte) error {
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			return err
		}
		return b.apply(e)
	})
	return b, err
}

var errBeyond = errors.New("a hold would be captured beyond its amount")

// commit writes an entry and applies it. The caller holds the lock and has
// checked everything but the one thing that must never go wrong, which is
// checked here, at the moment of booking.
func (b *book) commit(e entry) error {
	if h := b.holds[e.Hold]; e.Type == entryCapture && (h == nil || e.Amount < 0 || h.captured+e.Amount > h.amount) {
		b.violation(e, errBeyond.Error())
		return errBeyond
	}
	batch, err := b.append(e)
	if err != nil {
		return err
	}
	if err := b.apply(e); err != nil {
		return err
	}
	if h := b.holds[e.Hold]; h != nil {
		h.last = batch
	}
	b.booked(e.Type)
	return nil
}

func (b *book) append(e entry) (*batch, error) {
	line, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode an entry of the book: %w", err)
	}
	return b.journal.append(line), nil
}

// violation shouts: it stands in the book, in the log and in the metrics.
func (b *book) violation(e entry, detail string) {
	v := entry{
		Type: entryViolation, Hold: e.Hold, Amount: e.Amount, Reference: e.Reference, Key: e.Key,
		RequestID: e.RequestID, Detail: detail, At: b.now(),
	}
	b.log.Error("SANDBOX VIOLATION: refused", "detail", detail, "hold", e.Hold, "amount", e.Amount, "reference", e.Reference, "request_id", e.RequestID)
	b.booked(entryViolation)
	if _, err := b.append(v); err != nil {
		b.log.Error("violation not written", "error", err)
	}
	_ = b.apply(v)
}

// apply changes the state as an entry says, at booking and when the book is
// read again.
func (b *book) apply(e entry) error {
	switch e.Type {
	case entryHold:
		b.applyHold(e)
	case entryViolation:
		b.violations = append(b.violations, Violation{
			Hold: e.Hold, Amount: e.Amount, Detail: e.Detail, Reference: e.Reference, Key: e.Key, RequestID: e.RequestID, At: e.At,
		})
		return nil
	case entryUpdate, entryCapture, entryRefund, entryCancel, entryDispute, entryDisputeWon:
		h := b.holds[e.Hold]
		if h == nil {
			return fmt.Errorf("entry %s names hold %q, which is not in the book", e.Type, e.Hold)
		}
		old := h.intent
		h.before = &old
		b.applyChange(h, e)
		b.applyDispute(h, e)
		if l, ok := lineOf(h, e); ok && h.wire == "" {
			b.lines = append(b.lines, l)
		}
	case entryAnswer:
	default:
		return fmt.Errorf("entry of unknown type %q; was the book written by a newer version?", e.Type)
	}
	b.keep(e)
	return nil
}

func (b *book) applyHold(e entry) {
	h := b.holds[e.Hold]
	if h == nil {
		h = &hold{intent: intent{id: e.Hold, created: e.At, amount: e.Amount, currency: e.Currency, live: e.Live, method: e.Method}}
		b.holds[e.Hold] = h
		b.order = append(b.order, h)
	} else {
		old := h.intent
		h.before = &old
	}
	h.status, h.charge, h.paymentMethod = e.Status, e.Charge, e.PaymentMethod
	h.metadata, h.description, h.captureBefore = e.Metadata, e.Description, e.CaptureBefore
	if e.Charge != "" {
		b.charges[e.Charge] = h
	}
	if e.CheckoutCom != nil {
		b.applyCheckoutHold(h, e)
	} else if e.Adyen != nil {
		b.applyAdyenHold(h, e)
	} else if e.Braintree != nil {
		b.applyBraintreeHold(h, e)
	} else if e.PayPal != nil {
		b.applyPayPalHold(h, e)
	} else if e.Klarna != nil {
		b.applyKlarnaHold(h, e)
	} else if e.External != nil {
		b.applyExternalHold(h, e)
	} else if e.Status == needsCapture {
		b.expiring = append(b.expiring, h)
	}
	if f := e.Metadata["fault"]; f != "" {
		_ = b.plans(h.id, f) // checked when the hold was made
	}
}

func (b *book) applyChange(h *hold, e entry) {
	if h.wire == wireExternal {
		b.applyExternal(h, e)
		return
	}
	if h.wire == wirePayPal {
		b.applyPayPal(h, e)
		return
	}
	if h.wire == wireBraintree {
		b.applyBraintree(h, e)
		return
	}
	if h.wire == wireCheckoutCom {
		b.applyCheckout(h, e)
		return
	}
	if h.wire == wireAdyen {
		b.applyAdyen(h, e)
		return
	}
	if h.wire == wireKlarna {
		b.applyKlarna(h, e)
		return
	}
	switch e.Type {
	case entryUpdate:
		if f := e.Metadata["fault"]; f != h.metadata["fault"] {
			_ = b.plans(h.id, f)
		}
		h.metadata, h.description = e.Metadata, e.Description
	case entryCapture:
		h.status, h.captured, h.currency = succeeded, h.captured+e.Amount, e.Currency
		h.metadata = e.Metadata
		b.captures = append(b.captures, booking(e))
	case entryRefund:
		h.refunded += e.Amount
		h.refunds = append(h.refunds, refunding{
			id: e.ID, hold: h.id, charge: h.charge, amount: e.Amount, currency: e.Currency, metadata: e.Metadata,
			reason: e.Reason, created: e.At, live: h.live,
		})
		b.refunds[e.ID] = h
		b.refundList = append(b.refundList, booking(e))
	case entryCancel:
		h.status, h.reason, h.canceledAt, h.releaseID = canceled, e.Reason, e.At, e.ID
		if e.ID != "" {
			b.refunds[e.ID] = h
		}
		b.cancels = append(b.cancels, booking(e))
	}
}

func booking(e entry) Booking {
	return Booking{
		ID: e.ID, Hold: e.Hold, Amount: e.Amount, Currency: e.Currency, Reference: e.Reference, Key: e.Key,
		Reason: e.Reason, RequestID: e.RequestID, Fault: e.Fault, At: e.At,
	}
}

// keep remembers what an entry answers for its idempotency key.
func (b *book) keep(e entry) {
	if e.Key == "" {
		return
	}
	a := saved{print: e.Print, at: e.At, status: 200, requestID: e.RequestID}
	h := b.holds[e.Hold]
	switch {
	case e.AnswerStatus != 0:
		a.status, a.body = e.AnswerStatus, e.Answer
	case e.External != nil:
		a.view, a.life = externalKept{hold: e.Hold, reference: e.Reference}, externalKeyLife
	case e.PayPal != nil:
		a.status, a.view, a.life = e.PayPal.status(e.Type), paypalKept{hold: e.Hold, kind: e.Type, id: e.ID}, paypalKeyLife
	case e.CheckoutCom != nil && e.CheckoutCom.Unkept:
		return
	case e.CheckoutCom != nil:
		a.view, a.status = b.checkoutReply(e)
	case e.Adyen != nil:
		a.view, a.status = adyenReply(e)
		a.life = adyenKeyLife
	case e.Klarna != nil:
		a.view, a.status = klarnaReply(e)
	case e.Type == entryRefund:
		a.view = refundView{h.refunds[len(h.refunds)-1], h.intent}
	default:
		a.view = intentView{h.intent}
	}
	b.keys.keep(keyName(e.Live, e.Key), a)
}

// expire releases a hold that nobody captured in time. The caller holds the lock.
func (b *book) expire(h *hold) error {
	return b.commit(entry{
		Type: entryCancel, ID: newID("re"), Hold: h.id, Amount: h.amount, Currency: h.currency, Reason: "automatic", At: b.now(), Live: h.live,
	})
}

// due reports whether the hold's life is over. The caller holds the lock.
func (b *book) due(h *hold) bool {
	return h.status == needsCapture && !b.now().Before(h.captureBefore)
}

// expireDue releases all holds whose life is over and returns them.
func (b *book) expireDue() []intent {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []intent
	for len(b.expiring) > 0 {
		h := b.expiring[0]
		if h.status == needsCapture && !b.due(h) {
			break
		}
		b.expiring[0] = nil
		b.expiring = b.expiring[1:]
		if h.status == needsCapture && b.expire(h) == nil {
			out = append(out, h.intent)
		}
	}
	return out
}

// snapshot copies the book, or what belongs to one hold.
func (b *book) snapshot(only string) (Snapshot, *batch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Snapshot{Holds: []Hold{}, Violations: []Violation{}, Requests: []Request{}}
	var last *batch
	for _, h := range b.order {
		if only != "" && h.id != only {
			continue
		}
		s.Holds = append(s.Holds, Hold{
			ID: h.id, Charge: h.charge, Amount: h.amount, Currency: h.currency, Captured: h.captured, Refunded: h.refunded,
			Status: h.status, CaptureBefore: h.captureBefore, Metadata: maps.Clone(h.metadata), CreatedAt: h.created,
		})
		last = h.last
	}
	s.Captures, s.Refunds, s.Cancels = pickBookings(b.captures, only), pickBookings(b.refundList, only), pickBookings(b.cancels, only)
	s.Disputes, s.DisputesWon = pickBookings(b.disputes, only), pickBookings(b.disputesWon, only)
	for _, v := range b.violations {
		if only == "" || v.Hold == only {
			s.Violations = append(s.Violations, v)
		}
	}
	if only == "" {
		last = b.journal.newest()
	}
	return s, last
}

func pickBookings(all []Booking, only string) []Booking {
	out := make([]Booking, 0, len(all))
	for _, x := range all {
		if only == "" || x.Hold == only {
			out = append(out, x)
		}
	}
	return out
}
