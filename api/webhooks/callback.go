package webhooks

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// byAnswer applies a notice that cannot change what its gateway answered when it
// accepted the operation. It names the operation by our reference, or by the
// token that the gateway gave it; only an open one is found by that.
func (w *Webhooks) byAnswer(ctx context.Context, s Source, n gateway.Notice) (end, error) {
	op, err := w.accepted(ctx, s, n)
	if errors.Is(err, store.ErrNotFound) {
		return notYet(n.Reference == "", "no operation is known that was accepted as %.80q%s", n.Transaction, n.Reference), nil
	}
	if err != nil {
		return end{}, err
	}
	account, err := w.store.GatewayBySlug(ctx, s.Slug)
	if err != nil {
		return end{}, err
	}
	if op.PaymentGatewayID != account.ID {
		return ended(parked, "the %s %s belongs to another gateway account than the sender's", op.Kind, op.GatewayReference), nil
	}
	first, there, err := w.store.AcceptedAs(ctx, op.ID)
	if err != nil {
		return end{}, err
	}
	if !there && op.State == models.Capturing {
		return notYet(false, "the %s is being worked on, and its answer is not recorded yet", op.Kind), nil
	}
	said := n.Evidence
	n.Evidence = asAnswered(n.Evidence, op, first, there)
	odd := contradictions(said, first, there, n.Transaction)
	if odd != "" {
		w.log.WarnContext(ctx, "a callback names something else than was answered; that is ignored", "source", s.Slug, "event_id", n.EventID, "operation_id", op.ID, "differs", odd)
	}
	result, err := w.observe(ctx, s, op, n)
	if err == nil && odd != "" {
		result.reason += "; it named something else than was answered, which is ignored: " + odd
	}
	return result, err
}

// accepted finds the operation that a notice names.
func (w *Webhooks) accepted(ctx context.Context, s Source, n gateway.Notice) (models.Operation, error) {
	if n.Reference != "" && n.Kind != "" {
		return w.store.FindOperation(ctx, s.Slug, n.Kind, n.Reference, "")
	}
	return w.store.OpenByToken(ctx, s.Slug, n.Transaction)
}

// asAnswered puts the figures of the accepting answer into a callback's evidence.
// Where no such answer is recorded, its own count if they are whole; else it only
// says that something happened.
func asAnswered(ev models.Evidence, op models.Operation, first store.AcceptedAnswer, there bool) models.Evidence {
	if ev.Outcome != models.OutcomeConfirmed {
		return ev
	}
	if there {
		ev.AmountCents, ev.CurrencyCode, ev.GatewayTransactionID, ev.Token = first.AmountCents, first.CurrencyCode, first.GatewayTransactionID, first.GatewayTransactionID
		return ev
	}
	if ev.GatewayTransactionID = ev.Token; ev.CurrencyCode == "" {
		ev.CurrencyCode = op.CurrencyCode
	}
	if ev.AmountCents == 0 || ev.Token == "" {
		ev.Outcome = models.OutcomeLost
	}
	return ev
}

// contradictions says in what a callback differs from the accepting answer.
func contradictions(said models.Evidence, first store.AcceptedAnswer, there bool, transaction string) string {
	var odd []string
	differs := func(what string, said, answered any) {
		odd = append(odd, fmt.Sprintf("%s %v, not %v", what, said, answered))
	}
	if !there {
		return ""
	}
	if said.AmountCents != 0 && said.AmountCents != first.AmountCents {
		differs("amount", said.AmountCents, first.AmountCents)
	}
	if said.CurrencyCode != "" && said.CurrencyCode != first.CurrencyCode {
		differs("currency", said.CurrencyCode, first.CurrencyCode)
	}
	if said.Token != "" && said.Token != first.GatewayTransactionID {
		differs("transaction", said.Token, first.GatewayTransactionID)
	}
	if transaction != "" && transaction != first.Token {
		differs("action", transaction, first.Token)
	}
	return strings.Join(odd, ", ")
}
