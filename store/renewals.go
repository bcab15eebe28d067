package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/capstan-pay/capstan/models"
)

// Renewal is a hold that is about to be renewed at its gateway. The intent is
// committed, and nothing else is asked of the hold until the outcome is.
type Renewal struct {
	Hold    models.Authorization
	Account string
	// Reference names the renewal, the same however often it is tried.
	Reference string
	// Fresh: no earlier call for it can have left.
	Fresh bool
	// Age is how long ago it was first intended.
	Age time.Duration
	// Ends: the hold as it is ends so soon that waiting for an answer costs it.
	Ends bool
}

// BeginRenewal commits the intent to renew a hold, or takes up one whose outcome
// nobody recorded, under a lease. A refusal is a *Refusal.
//
// If the process dies before [Store.EndRenewal], the lease runs out and the next
// run asks again under the same name: the gateway renews once.
func (s *Store) BeginRenewal(ctx context.Context, mode models.Mode, id string) (Renewal, error) {
	var r Renewal
	err := s.InTx(ctx, func(ctx context.Context, tx Tx) error {
		order, hold, err := s.lockHold(ctx, tx, mode, id)
		if err != nil {
			return err
		}
		var now struct {
			At     time.Time `bun:"at"`
			Leased bool      `bun:"leased"`
		}
		err = s.one(ctx, tx, &now, "authorization "+id, `SELECT now() AS at, COALESCE(a.renewal_lease > now(), false) AS leased FROM authorizations AS a WHERE a.id = ?`, id)
		if err != nil {
			return err
		}
		if now.Leased {
			return busy("renewal_under_way", "_reauthorize", "the authorization %s is being renewed right now; ask again in a minute", hold.Number)
		}
		r = Renewal{Fresh: hold.RenewingSince == nil}
		if r.Fresh { // one that may have left is asked for again whatever happened since
			if err := renewable(order, hold, now.At); err != nil {
				return err
			}
		}
		err = s.one(ctx, tx, &r.Hold, "authorization "+id, `UPDATE authorizations AS a SET renewing_since = COALESCE(a.renewing_since, now()), renewal_error = NULL,
				renewal_lease = now() + ? * interval '1 microsecond', updated_at = now() WHERE a.id = ? RETURNING `+s.columns(r.Hold, "a"), s.tempo.Lease().Microseconds(), id)
		if err != nil {
			return err
		}
		r.Age = now.At.Sub(*r.Hold.RenewingSince)
		r.Ends = r.Hold.CaptureBefore != nil && r.Hold.CaptureBefore.Before(now.At.Add(s.tempo.Of(time.Hour)))
		r.Account, err = s.accountOf(ctx, tx, r.Hold.PaymentGatewayID)
		r.Reference = models.RenewalReference(r.Account, r.Hold)
		return err
	})
	return r, err
}

// renewable refuses what a renewal would get in the way of.
func renewable(order models.Order, hold models.Authorization, now time.Time) error {
	switch {
	case hold.ClosedAt != nil:
		return refuse("hold_closed", "_reauthorize", "the authorization %s is %s; make a new one", hold.Number, hold.ClosedReason)
	case hold.Ended(now):
		return refuse("hold_closed", "_reauthorize", "the authorization %s has ended; make a new one", hold.Number)
	case order.Closing():
		return refuse("order_cancelled", "_reauthorize", "the order is cancelled; its hold is voided")
	case hold.LiveOperationID != nil:
		return busy("operation_under_way", "_reauthorize", "the authorization %s has an operation under way; wait for its outcome", hold.Number)
	case hold.RequestedCents > 0:
		return refuse("already_captured", "_reauthorize", "%d of the authorization %s were captured; what is left of it cannot be renewed", hold.RequestedCents, hold.Number)
	}
	return nil
}

// EndRenewal records what the gateway made of a renewal, once: an outcome that
// comes second changes nothing. What is not known stays intended, under its
// lease, and the hold waits for it.
func (s *Store) EndRenewal(ctx context.Context, r Renewal, ev models.Evidence, actor string) error {
	ev = cleanEvidence(ev)
	return s.InTx(ctx, func(ctx context.Context, tx Tx) error {
		order, hold, err := s.lockHold(ctx, tx, r.Hold.Mode, r.Hold.ID)
		if err != nil || hold.RenewingSince == nil || hold.Renewals != r.Hold.Renewals {
			return err
		}
		now, err := s.Now(ctx, tx)
		if err != nil {
			return err
		}
		switch {
		case ev.Outcome == models.OutcomeConfirmed && ev.GatewayTransactionID != "":
			return s.renewed(ctx, tx, &order, hold, ev, now, actor)
		case ev.Outcome == models.OutcomeRefused, ev.Outcome == models.OutcomeDeclined:
			return s.notRenewed(ctx, tx, &order, hold, ev, now, actor)
		case ev.Outcome == models.OutcomeNotSent && r.Fresh:
			// Nothing left: nothing is intended, unless another took the intent up when
			// the lease had run out. Its call may be under way.
			_, err = s.exec(ctx, tx, `UPDATE authorizations SET renewing_since = NULL, renewal_lease = NULL, updated_at = now()
				WHERE id = ? AND renewal_lease = ?::timestamptz + ? * interval '1 microsecond'`, hold.ID, r.Hold.UpdatedAt, s.tempo.Lease().Microseconds())
			if err != nil {
				return fmt.Errorf("take the intent to renew hold %s back: %w", hold.ID, err)
			}
			return s.check(ctx, tx, order.ID, now)
		}
		return nil
	})
}

func (s *Store) renewed(ctx context.Context, tx Tx, order *models.Order, hold models.Authorization, ev models.Evidence, now time.Time, actor string) error {
	_, err := s.exec(ctx, tx, `UPDATE authorizations AS a
		SET first_transaction_id = CASE WHEN a.gateway_transaction_id = ?0 THEN a.first_transaction_id ELSE COALESCE(a.first_transaction_id, a.gateway_transaction_id) END,
		    gateway_transaction_id = ?0, capture_before = ?1, capture_before_source = CASE WHEN ?1::timestamptz IS NULL THEN NULL ELSE ?2 END,
		    -- It lives as long again as it was thought to, when the gateway does not say.
		    estimated_before = CASE WHEN ?1::timestamptz IS NULL THEN now() + (COALESCE(a.estimated_before, a.capture_before) - a.created_at) END,
		    warned_hours = NULL, renewals = a.renewals + 1, renewing_since = NULL, renewal_lease = NULL, updated_at = now()
		WHERE a.id = ?3`, ev.GatewayTransactionID, ev.HoldEndsAt, models.ToldByGateway, hold.ID)
	if violated(err, "authorizations_gateway_transaction") {
		return fmt.Errorf("record the renewal of hold %s: %s is another hold's: %w", hold.ID, ev.GatewayTransactionID, ErrConflict)
	}
	if err != nil {
		return fmt.Errorf("record the renewal of hold %s: %w", hold.ID, err)
	}
	rule := "the hold was renewed before its end"
	if ev.AmountCents > 0 && ev.AmountCents < hold.AmountCents {
		rule = fmt.Sprintf("the hold was renewed for %d of %d only", ev.AmountCents, hold.AmountCents)
	}
	action := fmt.Sprintf("renewed authorization %s: %s became %s", hold.Number, hold.GatewayTransactionID, ev.GatewayTransactionID)
	f := Finding{OrderID: order.ID, Verdict: models.Expiring, Rule: rule}
	// What waited for it is looked at now: captures to plan, the next warnings.
	return errors.Join(s.say(ctx, tx, order, f, action, actor, ""), s.checkAgain(ctx, tx, order.ID, now, nil))
}

func (s *Store) notRenewed(ctx context.Context, tx Tx, order *models.Order, hold models.Authorization, ev models.Evidence, now time.Time, actor string) error {
	_, err := s.exec(ctx, tx, `UPDATE authorizations SET renewals = renewals + 1, renewing_since = NULL, renewal_lease = NULL, renewal_error = ?, updated_at = now() WHERE id = ?`,
		cmp.Or(ev.ErrorCode, "refused"), hold.ID)
	if err != nil {
		return fmt.Errorf("record the refused renewal of hold %s: %w", hold.ID, err)
	}
	if ev.HoldGone {
		if err := s.closeHold(ctx, tx, order, hold.ID, models.ClosedGone); err != nil {
			return err
		}
	}
	f := Finding{OrderID: order.ID, Verdict: models.Expiring, Rule: fmt.Sprintf("the gateway does not renew the hold: %s %s", ev.ErrorCode, ev.Message)}
	return errors.Join(s.say(ctx, tx, order, f, "left authorization "+hold.Number+" as it is", actor, ""), s.check(ctx, tx, order.ID, now))
}

// DueRenewal is a hold to renew.
type DueRenewal struct {
	ID   string      `bun:"id"`
	Mode models.Mode `bun:"mode"`
}

// renewalsOpen are intents that nobody holds: their outcome is not known.
const renewalsOpen = `SELECT a.id, a.mode FROM authorizations AS a JOIN payment_gateways AS g ON g.id = a.payment_gateway_id
	WHERE a.renewing_since IS NOT NULL AND COALESCE(a.renewal_lease, '-infinity') < now() AND g.slug = ANY (?0::text[]) AND g.paused_at IS NULL ORDER BY a.id LIMIT ?1`

// renewalsWanted are holds that a policy has renewed: they end within the last
// warning's time, and nothing is under way on them. Of these it reads the orders
// with a warning, and nothing else. ?2 is that time in microseconds.
const renewalsWanted = `SELECT a.id, a.mode
	FROM order_checks AS k JOIN orders AS o ON o.id = k.order_id JOIN payment_methods AS m ON m.id = o.payment_method_id
	     JOIN authorizations AS a ON a.order_id = o.id JOIN payment_gateways AS g ON g.id = a.payment_gateway_id
	WHERE k.deadline IS NOT NULL AND k.deadline <= now() + ?2 * interval '1 microsecond' AND m.reauthorize
	  AND g.slug = ANY (?0::text[]) AND g.paused_at IS NULL
	  AND o.status <> 'cancelled' AND o.cancel_requested_at IS NULL AND o.refunded_cents = 0 AND o.captured_cents < o.total_amount_cents
	  AND a.closed_at IS NULL AND a.live_operation_id IS NULL AND a.requested_cents = 0 AND a.renewing_since IS NULL AND a.renewal_error IS NULL
	  AND COALESCE(a.capture_before, a.estimated_before) BETWEEN now() AND now() + ?2 * interval '1 microsecond'
	ORDER BY k.deadline, a.id LIMIT ?1`

// DueRenewals lists holds of the given accounts to renew: those whose renewal has
// no outcome yet, then those that their policy has renewed, nearest end first.
func (s *Store) DueRenewals(ctx context.Context, accounts []string, limit int) ([]DueRenewal, error) {
	var open, wanted []DueRenewal
	if err := s.query(ctx, nil, &open, renewalsOpen, pgdialect.Array(accounts), limit); err != nil {
		return nil, fmt.Errorf("list renewals without an outcome: %w", err)
	}
	if err := s.query(ctx, nil, &wanted, renewalsWanted, pgdialect.Array(accounts), limit, s.tempo.LastWarning().Microseconds()); err != nil {
		return nil, fmt.Errorf("list holds to renew: %w", err)
	}
	return append(open, wanted...), nil
}
