package models

// OrderStatus is where an order stands with the shop.
type OrderStatus string

// The statuses of an order. A hold can be captured automatically before
// approval only under the trigger authorization.
const (
	OrderPending   OrderStatus = "pending"
	OrderPlaced    OrderStatus = "placed"
	OrderEditing   OrderStatus = "editing"
	OrderApproved  OrderStatus = "approved"
	OrderCancelled OrderStatus = "cancelled"
)

// Open reports whether the order is not yet approved and not closed: its total
// may still change, and a capture that does not fit the total is a mismatch.
func (s OrderStatus) Open() bool {
	return s == OrderPending || s == OrderPlaced || s == OrderEditing
}

// PaymentStatus says how much of an order is paid. It is derived and never
// set by hand: see [Sums.PaymentStatus].
type PaymentStatus string

// The payment statuses.
const (
	Unpaid              PaymentStatus = "unpaid"
	Authorized          PaymentStatus = "authorized"
	PartiallyAuthorized PaymentStatus = "partially_authorized"
	Paid                PaymentStatus = "paid"
	PartiallyPaid       PaymentStatus = "partially_paid"
	Voided              PaymentStatus = "voided"
	PartiallyVoided     PaymentStatus = "partially_voided"
	Refunded            PaymentStatus = "refunded"
	PartiallyRefunded   PaymentStatus = "partially_refunded"
	Free                PaymentStatus = "free"
)

// FulfillmentStatus says how far the goods are.
type FulfillmentStatus string

// The fulfillment statuses.
const (
	Unfulfilled FulfillmentStatus = "unfulfilled"
	InProgress  FulfillmentStatus = "in_progress"
	Fulfilled   FulfillmentStatus = "fulfilled"
)

// Sums are an order's money, each the sum of its operations' figures as the
// gateway confirmed them, in minor units.
type Sums struct {
	Total    int64 // what the order costs
	Held     int64 // holds that can still be captured
	Voided   int64 // holds that ended without a capture: voided, expired, gone
	Captured int64 // captures that stand: succeeded, neither reset nor reversed
	Refunded int64 // refunds of captures that stand
	Reset    int64 // captures given back by cancel
}

// PaymentStatus derives the status. The database computes the same from the
// same sums in a generated column; a test compares the two over all cases.
//
// Captures that were reset do not count, and neither do their refunds: an open
// order is unpaid after a cancel. A cancelled order says refunded instead,
// since nobody will pay it again.
func (s Sums) PaymentStatus(status OrderStatus) PaymentStatus {
	switch {
	case s.Captured > 0 && s.Refunded >= s.Captured:
		return Refunded
	case s.Captured > 0 && s.Refunded > 0:
		return PartiallyRefunded
	case s.Captured > 0 && s.Captured >= s.Total:
		return Paid
	case s.Captured > 0:
		return PartiallyPaid
	case status == OrderCancelled && s.Reset > 0:
		return Refunded
	case s.Total == 0:
		return Free
	case s.Held >= s.Total:
		return Authorized
	case s.Held > 0 && s.Voided > 0:
		return PartiallyVoided
	case s.Held > 0:
		return PartiallyAuthorized
	case s.Voided > 0:
		return Voided
	}
	return Unpaid
}
