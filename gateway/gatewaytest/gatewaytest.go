package gatewaytest

import (
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// Harness connects the suite to one adapter and to the fake it calls. Every
// field but Told is required. All functions may be called from several goroutines.
type Harness struct {
	// Gateway is the adapter, calling the fake.
	Gateway gateway.Gateway
	// Unreachable is the same adapter with an address at which nobody listens.
	Unreachable gateway.Gateway
	// Hold makes a hold of the amount, ready for one operation of the kind: for
	// a refund it is captured in full already. The operation's calls and
	// look-ups meet the fault; an empty one is none.
	Hold func(t *testing.T, kind models.Kind, cents int64, fault string) Hold
	// Bookings reads the fake's book: the operations of the kind on the hold.
	Bookings func(t *testing.T, kind models.Kind, hold string) []Booking
	// Settled reports that no booking is put off any more for the hold, so that
	// a look-up's None is proof.
	Settled func(hold string) bool
	// Told returns what the provider's webhooks said so far about the operation
	// that r describes, oldest first, verified and translated by the adapter's own
	// parser. It is required of an adapter that is told results later and has no
	// look-up; nil otherwise.
	Told func(t *testing.T, r gateway.Request) []models.Evidence
	// Faults are the modes the fake knows; [Faults] lists the usual ones.
	Faults []Fault
	// Account and Currency go into references and requests.
	Account, Currency string
}

// Hold is a hold at the fake, and the capture to refund where there is one.
type Hold struct {
	ID, Capture string
}

// Booking is one line of the fake's book.
type Booking struct {
	Reference   string // empty where the provider's wire carries none
	Key         string
	AmountCents int64
	Currency    string
}

// End is how an operation must end under a fault.
type End int

// The ends.
const (
	Once   End = iota // booked once with the right amount, and confirmed
	Differ            // booked once with another amount or currency, and told so
	Never             // not booked, and refused
)

// Fault is a mode of the fake, the kinds it fits, and how it must end.
type Fault struct {
	Name  string
	Kinds []models.Kind
	End   End
	// Hangs: the call ends by its own deadline only.
	Hangs bool
}

// Faults are the modes that every fake should know, under the sandbox's names.
func Faults() []Fault {
	all := models.Kinds
	moving := []models.Kind{models.Capture, models.Refund}
	var out []Fault
	for _, name := range []string{
		"", "drop_before", "charge_then_drop", "charge_then_rst", "charge_then_500", "charge_then_502html", "truncated", "empty200",
		"book_after=150ms", "sticky_500", "500_unbooked", "amnesia", "409_in_progress", "429", "lock_timeout", "401",
		"drop_before:3", "500_unbooked:2", "429:3", "sticky_500:2", "charge_then_drop,amnesia", "drop_before,charge_then_rst", "409_in_progress:2,charge_then_500",
		"charge_then_drop,lookup_500:3", "charge_then_502html,lookup_404:2", "lookup_500", "sticky_500,charge_then_drop,lookup_500",
	} {
		out = append(out, Fault{Name: name, Kinds: all})
	}
	return append(out,
		Fault{Name: "hang", Kinds: all, Hangs: true},
		Fault{Name: "charge_then_hang", Kinds: all, Hangs: true},
		Fault{Name: "decline", Kinds: []models.Kind{models.Capture}, End: Never},
		Fault{Name: "decline:2", Kinds: []models.Kind{models.Capture}, End: Once},
		Fault{Name: "decline_hard", Kinds: []models.Kind{models.Capture}, End: Never},
		Fault{Name: "expired", Kinds: []models.Kind{models.Capture}, End: Never},
		Fault{Name: "expired", Kinds: []models.Kind{models.Void}, End: Once},
		Fault{Name: "wrong_amount", Kinds: moving, End: Differ},
		Fault{Name: "partial", Kinds: moving, End: Differ},
		Fault{Name: "wrong_currency", Kinds: moving, End: Differ},
	)
}

// amount is what holds in the suite are made of: odd, so that half of it differs.
const amount = 1501

// Run checks the adapter.
func Run(t *testing.T, h Harness) {
	for _, f := range h.Faults {
		for _, kind := range f.Kinds {
			t.Run(string(kind)+"/"+name(f), func(t *testing.T) { h.fault(t, f, kind) })
		}
	}
	for _, kind := range models.Kinds {
		t.Run(string(kind)+" same key twice", func(t *testing.T) { h.twice(t, kind) })
		t.Run(string(kind)+" same key at once", func(t *testing.T) { h.atOnce(t, kind) })
		t.Run(string(kind)+" nobody listens", func(t *testing.T) { h.unreachable(t, kind) })
		t.Run(string(kind)+" deadline is honoured", func(t *testing.T) { h.deadline(t, kind) })
		t.Run(string(kind)+" cancelled before", func(t *testing.T) { h.cancelled(t, kind) })
		t.Run(string(kind)+" unknown hold", func(t *testing.T) { h.unknownHold(t, kind) })
		t.Run(string(kind)+" never sent", func(t *testing.T) { h.neverSent(t, kind) })
	}
	t.Run("capture under another reference", h.foreign)
	t.Run("capture of part", h.part)
	t.Run("capture of more than the hold", h.tooMuch)
	t.Run("void of a captured hold", h.voidCaptured)
	t.Run("capture of a voided hold", h.captureVoided)
	t.Run("two refunds", h.twoRefunds)
	t.Run("probe", h.probe)
	t.Run("capabilities", h.capabilities)
}

func name(f Fault) string {
	if f.Name == "" {
		return "no fault"
	}
	return f.Name
}

// request describes the n-th operation of a kind on a hold.
func (h Harness) request(kind models.Kind, hold Hold, cents int64, n int) gateway.Request {
	ref := models.GatewayReference(h.Account, hold.ID, kind, n)
	return gateway.Request{
		Kind: kind, Reference: ref, Key: models.IdempotencyKey(ref, 0), AmountCents: cents, CurrencyCode: h.Currency,
		Hold: hold.ID, Capture: hold.Capture, Final: true, OnlyOne: n == 1, HoldCents: amount,
	}
}

// fault runs one operation under a fault to its end and opens the book.
func (h Harness) fault(t *testing.T, f Fault, kind models.Kind) {
	t.Parallel()
	hold := h.Hold(t, kind, amount, f.Name)
	d := driver{harness: h, request: h.request(kind, hold, amount, 1), timeout: 5 * time.Second}
	if f.Hangs {
		d.timeout = 250 * time.Millisecond
	}
	end := d.run(t)
	booked := h.Bookings(t, kind, hold.ID)
	switch {
	case f.End == Never:
		if end.State != models.Failed || len(booked) != 0 {
			t.Fatalf("ended %s with %d bookings, want failed and none\n%s", end.State, len(booked), d.trace())
		}
		return
	case len(booked) != 1:
		t.Fatalf("booked %d times: %+v\n%s", len(booked), booked, d.trace())
	case booked[0].Reference != "" && booked[0].Reference != d.request.Reference:
		t.Fatalf("booked under reference %q, want %q", booked[0].Reference, d.request.Reference)
	}
	b := booked[0]
	if f.End == Once {
		if end.State != models.Succeeded || b.AmountCents != amount || b.Currency != h.Currency || end.AmountCents != amount || end.CurrencyCode != h.Currency {
			t.Fatalf("ended %s with %d %s, booked %d %s, want %d %s\n%s",
				end.State, end.AmountCents, end.CurrencyCode, b.AmountCents, b.Currency, amount, h.Currency, d.trace())
		}
		return
	}
	if b.AmountCents == amount && b.Currency == h.Currency {
		t.Fatalf("the fake booked what was asked for: %+v", b)
	}
	if end.AmountCents != b.AmountCents || end.CurrencyCode != b.Currency || end.Flag == "" {
		t.Fatalf("the adapter says %d %s (flag %q), the book %d %s\n%s",
			end.AmountCents, end.CurrencyCode, end.Flag, b.AmountCents, b.Currency, d.trace())
	}
}
