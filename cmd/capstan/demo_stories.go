package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/capstan-pay/capstan/models"
)

// demoLimit is the largest order total that the demo's method captures by itself.
const demoLimit = 50_000

// story is one thing that happens to orders in the demo, with how it must end.
type story struct {
	name   string
	share  int // of 200 orders
	method string
	// at is where it happens: Stripe if nothing is said.
	at    at
	fault string // what the gateway does, in the sandbox's words
	total int64
	hold  int64 // 0 is the total
	// play does the shop's and the operator's part, after the hold was made; nil is
	// to place the order and have it approved, and nothing more.
	play func(ctx context.Context, d *demonstration, o *sale) error
	// How it must end.
	payment models.PaymentStatus
	state   models.State // of the first capture; empty: there is none
	taken   int64        // what the gateway keeps in the end
}

// at says at which gateways a story's orders are paid.
type at int

const (
	atStripe   at = iota
	everywhere    // in turn at each gateway that a program can ask
	atTheBank     // at the account whose money a person moves
)

// stories are told in this order.
func stories() []*story {
	return []*story{
		{name: "captured at once", share: 70, at: everywhere, method: onApproval, total: 1500, payment: models.Paid, state: models.Succeeded, taken: 1500},
		{name: "approved by a Commerce Layer webhook", share: 16, method: onApproval, total: 2400, play: announce, payment: models.Paid, state: models.Succeeded, taken: 2400},
		{name: "captured after retries: the gateway throttles", share: 8, at: everywhere, method: onApproval, fault: "capture.429=1:1", total: 1999, payment: models.Paid, state: models.Succeeded, taken: 1999},
		{name: "captured after retries: declined, then accepted", share: 8, method: onApproval, fault: "capture.decline:1", total: 1850, payment: models.Paid, state: models.Succeeded, taken: 1850},
		{name: "never reached the gateway's book, sent again", share: 14, at: everywhere, method: onApproval, fault: "capture.drop_before:1", total: 3100, payment: models.Paid, state: models.Succeeded, taken: 3100},
		{name: "booked, then the answer dropped: asked, or told", share: 14, at: everywhere, method: onApproval, fault: "capture.charge_then_drop:1", total: 4100, payment: models.Paid, state: models.Succeeded, taken: 4100},
		{name: "booked, then answer and webhook dropped: forwarded", share: 16, method: onApproval, fault: "capture.charge_then_drop:1,webhook_drop", total: 4200, payment: models.Paid, state: models.Succeeded, taken: 4200},
		{name: "booked, then a 500: the webhook tells", share: 8, method: onApproval, fault: "capture.charge_then_500:1", total: 4300, payment: models.Paid, state: models.Succeeded, taken: 4300},
		{name: "a stored 500, nothing booked: sent under a new key", share: 6, method: onApproval, fault: "capture.sticky_500:1", total: 4400, payment: models.Paid, state: models.Succeeded, taken: 4400},
		{name: "stuck, and forwarded by hand", share: 6, method: onApproval, fault: "capture.charge_then_drop:1,look_up.lookup_500:2,webhook_drop", total: 5100, play: forwardByHand, payment: models.Paid, state: models.Succeeded, taken: 5100},
		{name: "captured on authorization, edited: cancelled, refunded", share: 8, method: "on authorization", total: 6200, play: edit, payment: models.Unpaid, state: models.Reset, taken: 0},
		{name: "a bank transfer: captured when a person says so", share: 4, at: atTheBank, method: onApproval, total: 2700, play: sayItCame, payment: models.Paid, state: models.Succeeded, taken: 2700},
		{name: "declined for good", share: 6, method: onApproval, fault: "capture.decline_hard", total: 7300, payment: models.Authorized, state: models.Failed, taken: 0},
		{name: "above the limit, captured by hand", share: 6, method: onApproval, total: demoLimit + 1000, play: captureByHand, payment: models.Paid, state: models.Succeeded, taken: demoLimit + 1000},
		{name: "a hold larger than its order: the order's total is taken", share: 4, method: "on authorization", total: 1500, hold: 3000, payment: models.Paid, state: models.Succeeded, taken: 1500},
		{name: "cancelled before its capture: the hold is voided", share: 2, method: "by hand", total: 8800, play: cancelOrder, payment: models.Voided, taken: 0},
	}
}

func approve(ctx context.Context, d *demonstration, o *sale) error {
	if err := d.shop.order(ctx, o); err != nil {
		return err
	}
	return d.shop.patchOrder(ctx, o, map[string]any{"_approve": true})
}

func announce(ctx context.Context, d *demonstration, o *sale) error {
	if err := d.shop.announce(ctx, o); err != nil {
		return err
	}
	return d.shop.find(ctx, o, d.orderID)
}

// forwardByHand waits until Capstan has looked twice in vain, and then does
// what an operator would: ask once more and record the proof.
func forwardByHand(ctx context.Context, d *demonstration, o *sale) error {
	if err := approve(ctx, d, o); err != nil {
		return err
	}
	var id string
	err := until(ctx, "capture of "+o.Reference+" is stuck", func() (bool, error) {
		captures, err := d.shop.captures(ctx, o)
		if err != nil || len(captures) == 0 {
			return false, err
		}
		id = captures[0].ID
		op, err := d.env.store.Operation(ctx, models.Test, models.Capture, id)
		return op.State == models.Unknown && op.LookUps >= 2, err
	})
	if err != nil {
		return err
	}
	// The API says 409 while a worker looks by itself; an operator asks again.
	return until(ctx, "capture of "+o.Reference+" is forwarded", func() (bool, error) {
		err := patchCapture(ctx, d, id, map[string]any{"_forward": true})
		if err != nil && strings.Contains(err.Error(), "HTTP 409") {
			return false, nil
		}
		if err != nil && strings.Contains(err.Error(), "ALREADY_SUCCEEDED") {
			return true, nil // on a busy machine the third look by itself may be first
		}
		return err == nil, err
	})
}

func patchCapture(ctx context.Context, d *demonstration, id string, attributes map[string]any) error {
	return call(ctx, d.shop.api, http.MethodPatch, "/api/captures/"+id, map[string]any{"type": "captures", "id": id, "attributes": attributes}, nil)
}

// edit changes an order's total after its payment was captured on authorization.
func edit(ctx context.Context, d *demonstration, o *sale) error {
	if err := d.shop.order(ctx, o); err != nil {
		return err
	}
	err := until(ctx, "order "+o.Reference+" is paid", func() (bool, error) {
		status, err := d.shop.paymentStatus(ctx, o)
		return status == string(models.Paid), err
	})
	if err != nil {
		return err
	}
	return d.shop.patchOrder(ctx, o, map[string]any{"total_amount_cents": o.Total - 1000})
}

// sayItCame waits until the order waits for its money, and says that it is there.
func sayItCame(ctx context.Context, d *demonstration, o *sale) error {
	if err := approve(ctx, d, o); err != nil {
		return err
	}
	var id string
	err := until(ctx, "the transfer of "+o.Reference+" is waited for", func() (bool, error) {
		captures, err := d.shop.captures(ctx, o)
		if err != nil || len(captures) == 0 {
			return false, err
		}
		id = captures[0].ID
		op, err := d.env.store.Operation(ctx, models.Test, models.Capture, id)
		return op.State == models.Submitted, err
	})
	if err != nil {
		return err
	}
	return send(ctx, d.shop.api, http.MethodPatch, "/api/captures/"+id, map[string]any{
		"data": map[string]any{"type": "captures", "id": id, "attributes": map[string]any{"succeeded": true}},
		"meta": map[string]any{"reason": "the transfer is on the bank's statement"},
	}, nil)
}

func captureByHand(ctx context.Context, d *demonstration, o *sale) error {
	if err := approve(ctx, d, o); err != nil {
		return err
	}
	captures, err := d.shop.captures(ctx, o)
	if err != nil {
		return err
	}
	if len(captures) != 0 {
		return fmt.Errorf("order %s of %d was captured by itself, above the limit of %d", o.Reference, o.Total, demoLimit)
	}
	return call(ctx, d.shop.api, http.MethodPatch, "/api/authorizations/"+o.AuthID,
		map[string]any{"type": "authorizations", "id": o.AuthID, "attributes": map[string]any{"_capture": true}}, nil)
}

func cancelOrder(ctx context.Context, d *demonstration, o *sale) error {
	if err := d.shop.order(ctx, o); err != nil {
		return err
	}
	return d.shop.patchOrder(ctx, o, map[string]any{"_cancel": true})
}
