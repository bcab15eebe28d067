package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// Describe asks an account's gateway about a hold, moving nothing. While the
// gateway does not answer, nobody is made to wait for it.
func (r *Runner) Describe(ctx context.Context, account, hold string) (gateway.HoldFacts, error) {
	a, ok := r.accounts[account]
	if !ok {
		return gateway.HoldFacts{}, fmt.Errorf("describe %.80q: no adapter is configured for the account %s: %w", hold, account, gateway.ErrUnsupported)
	}
	if why := a.broken(ctx); why != "" {
		return gateway.HoldFacts{}, fmt.Errorf("describe %.80q: %s", hold, why)
	}
	return a.gateway.Describe(ctx, hold)
}

// Reauthorize renews a hold at its gateway, at an operator's word. A refusal is a
// *store.Refusal.
func (r *Runner) Reauthorize(ctx context.Context, mode models.Mode, id, actor string) error {
	hold, err := r.store.Authorization(ctx, mode, id)
	if err != nil {
		return err
	}
	g, err := r.store.GatewayByID(ctx, hold.PaymentGatewayID)
	if err != nil {
		return err
	}
	a, ok := r.accounts[g.Slug]
	if !ok {
		return noAdapter(g.Slug)
	}
	if !a.caps.Reauthorize {
		return &store.Refusal{Rule: "reauthorize_unsupported", Field: "_reauthorize", Detail: "holds at " + a.caps.Provider + " cannot be renewed; make a new authorization"}
	}
	ev, err := r.renew(ctx, mode, id, actor)
	switch {
	case err != nil:
		return err
	case ev.Outcome == models.OutcomeConfirmed && ev.GatewayTransactionID != "":
		return nil
	case ev.Outcome == models.OutcomeRefused, ev.Outcome == models.OutcomeDeclined:
		return &store.Refusal{Rule: "refused_by_gateway", Field: "_reauthorize", Detail: fmt.Sprintf("the gateway does not renew the hold: %s %s", ev.ErrorCode, ev.Message)}
	case ev.Outcome == models.OutcomeNotSent:
		return &store.Refusal{Rule: "gateway_not_reached", Field: "_reauthorize", Busy: true, Detail: "the gateway was not reached: " + ev.Message}
	}
	return &store.Refusal{Rule: "inconclusive", Field: "_reauthorize", Busy: true, Detail: "the gateway's answer was lost; it is asked again under the same name, and nothing else is asked of the hold until it answers"}
}

// renew takes a hold's renewal from its intent through the call to its outcome.
//
// If the process dies below, the intent stands and its lease runs out: the next
// run asks again under the same key, under which the gateway renews once.
func (r *Runner) renew(ctx context.Context, mode models.Mode, id, actor string) (models.Evidence, error) {
	intent, err := r.store.BeginRenewal(ctx, mode, id)
	if err != nil {
		return models.Evidence{}, err
	}
	r.at(StepClaimed)
	ev := r.callRenewal(ctx, intent)
	r.at(StepAnswered)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.tempo.RecordTimeout())
	defer cancel()
	if err := r.store.EndRenewal(ctx, intent, ev, actor); err != nil {
		return ev, fmt.Errorf("record the renewal of hold %s: %w; it is asked for again under the same name", id, err)
	}
	r.at(StepRecorded)
	return ev, nil
}

func (r *Runner) callRenewal(ctx context.Context, intent store.Renewal) models.Evidence {
	a, ok := r.accounts[intent.Account]
	if !ok {
		return models.Evidence{Outcome: models.OutcomeNotSent, Message: "no adapter is configured here for the account " + intent.Account}
	}
	if window := a.caps.IdempotencyWindow; !intent.Fresh && (intent.Age >= window || intent.Ends) {
		// The key protects no more, or the hold is lost by waiting. It may be as good
		// as ever: what is asked of it next will tell.
		return models.Evidence{Outcome: models.OutcomeRefused, ErrorCode: "renewal_lost", Message: "no answer was had in time; look at the gateway whether there is a new hold"}
	}
	leave, _, why := a.enter(ctx, time.Now().Add(patience))
	if why != "" {
		return models.Evidence{Outcome: models.OutcomeNotSent, Message: why}
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, r.tempo.Budget())
	defer cancel()
	h := intent.Hold
	ev := a.guarded(func() models.Evidence {
		return a.gateway.Reauthorize(ctx, gateway.Request{
			Reference: intent.Reference, Key: models.IdempotencyKey(intent.Reference, 0), AmountCents: h.AmountCents, CurrencyCode: h.CurrencyCode,
			Hold: h.GatewayTransactionID, HoldCents: h.AmountCents,
		})
	})
	if ev.Class == models.ClassThrottled {
		a.slowDown(ev.RetryAfter)
	}
	return ev
}

// renewers are the accounts whose holds can be renewed.
func (r *Runner) renewers() []string {
	var slugs []string
	for slug, a := range r.accounts {
		if a.caps.Reauthorize {
			slugs = append(slugs, slug)
		}
	}
	return slugs
}

// renewEvery is the pause between runs of [Server.renewDue]: none are offered
// where no hold can be renewed.
func (s *Server) renewEvery() time.Duration {
	if len(s.c.Runner.renewers()) == 0 {
		return 0
	}
	return s.c.SweepEvery
}

// renewalBatch bounds one run, so that it ends before its task does.
const renewalBatch = 50

// renewDue renews what the policies want, and asks again what was never answered.
func (s *Server) renewDue(ctx context.Context) error {
	r := s.c.Runner
	due, err := r.store.DueRenewals(ctx, r.renewers(), renewalBatch)
	if err != nil {
		return err
	}
	for _, d := range due {
		if ctx.Err() != nil {
			return nil // the next slot goes on
		}
		ev, err := r.renew(ctx, d.Mode, d.ID, r.name)
		if err != nil {
			s.c.Log.WarnContext(ctx, "hold not renewed", "authorization_id", d.ID, "error", err)
			continue
		}
		s.c.Log.InfoContext(ctx, "hold renewal", "authorization_id", d.ID, "outcome", ev.Outcome.String(), "error_code", ev.ErrorCode)
	}
	return nil
}
