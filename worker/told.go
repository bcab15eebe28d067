package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// Told is what somebody who is not the gateway says that happened with an
// order's money at the gateway: the shop's own system. It is a reason to look,
// and never proof.
type Told struct {
	Mode    models.Mode
	OrderID string
	// Source names who says it and in which message, for people.
	Source string
	// Captured: it says that the order was captured.
	Captured bool
	// Lines are what it says in detail.
	Lines []ToldLine
}

// ToldLine is one movement that somebody tells of. Its Movement has no reference
// and no transaction: the names are all that may be the gateway's id of it.
type ToldLine struct {
	models.Movement
	Names []string
}

// Heard is what came of it.
type Heard struct {
	// Agreed is how many lines our book has as well, perhaps after a look-up.
	Agreed int
	// Looked is how many open operations are looked up before anything is sent.
	Looked int
	// Findings are what does not agree.
	Findings []ListFinding
	// Busy: a claim of the order is under way. Nothing was done; say it again.
	Busy bool
}

// CompareTold compares what somebody says of an order's money with the ledger.
// What our own operations explain agrees. A capture that is open here, and that
// somebody says was made by another, is looked up first and flagged: it is not
// sent before the gateway proves what became of it, or a person decides. Whatever
// else does not fit is looked up at the gateway and judged by what that says;
// where it cannot say, a verdict calls a person.
//
// It is idempotent: the same line has one finding.
func (r *Runner) CompareTold(ctx context.Context, told Told) (Heard, error) {
	holds, err := r.store.Authorizations(ctx, told.OrderID)
	if err != nil || len(holds) == 0 {
		return Heard{}, err
	}
	captures, err := r.store.OperationsBy(ctx, told.Mode, models.Capture, store.ByOrder, []string{told.OrderID}, maxTold)
	if err != nil {
		return Heard{}, err
	}
	if slices.ContainsFunc(captures, func(o models.Operation) bool { return o.State == models.Capturing }) {
		return Heard{Busy: true}, nil
	}
	var heard Heard
	for _, gatewayID := range accountsOfHolds(holds) {
		g, err := r.store.GatewayByID(ctx, gatewayID)
		if err != nil {
			return heard, err
		}
		h := hearing{r: r, told: told, slug: g.Slug, gatewayID: gatewayID, holds: holds, captures: captures, out: &heard}
		if err := h.compare(ctx, gatewayID == holds[0].PaymentGatewayID); err != nil {
			return heard, fmt.Errorf("compare what %s says with the ledger: %w", told.Source, err)
		}
	}
	return heard, nil
}

// maxTold bounds the captures of an order that are compared.
const maxTold = 200

func accountsOfHolds(holds []models.Authorization) []string {
	var ids []string
	for _, h := range holds {
		if !slices.Contains(ids, h.PaymentGatewayID) {
			ids = append(ids, h.PaymentGatewayID)
		}
	}
	return ids
}

// hearing compares what concerns one account.
type hearing struct {
	r         *Runner
	told      Told
	slug      string
	gatewayID string
	holds     []models.Authorization
	captures  []models.Operation
	out       *Heard
}

// compare compares the lines of the account's holds; the first account takes
// those of holds that nobody knows, too.
func (h hearing) compare(ctx context.Context, first bool) (err error) {
	var page []models.Movement
	for _, l := range h.told.Lines {
		hold := h.hold(l.Hold)
		switch {
		case hold == nil && first, hold != nil && hold.PaymentGatewayID == h.gatewayID && !h.open(hold.ID, l.Kind):
			page = append(page, h.line(l, hold))
		}
	}
	live := h.live()
	if len(page)+len(live) == 0 {
		return nil
	}
	run, err := h.r.store.BeginReport(ctx, h.slug, h.r.name, h.told.Source, false)
	if err != nil {
		return err
	}
	c := h.r.newComparer(h.r.accounts[h.slug], run, false)
	c.hearsay, c.note = true, explanations{}.note
	defer func() { err = errors.Join(err, h.r.store.EndListing(ctx, run)) }()
	if len(page) > 0 {
		err = c.page(ctx, page)
	}
	if err != nil {
		return err
	}
	for _, op := range live {
		if err := h.doubt(ctx, c, op); err != nil {
			return err
		}
	}
	h.out.Agreed += run.Counts[models.InSync] + run.Counts[models.Wait]
	h.out.Findings = append(h.out.Findings, c.report.Findings...)
	return nil
}

func (h hearing) hold(transaction string) *models.Authorization {
	for i, a := range h.holds {
		if transaction != "" && (a.GatewayTransactionID == transaction || a.FirstTransactionID == transaction) {
			return &h.holds[i]
		}
	}
	return nil
}

// live are the captures of the account's holds that are open here. Without word
// of a capture they are nobody's business.
func (h hearing) live() (ops []models.Operation) {
	for _, o := range h.captures {
		if o.State.Live() && o.PaymentGatewayID == h.gatewayID && h.told.Captured {
			ops = append(ops, o)
		}
	}
	return ops
}

// open: the line is about a capture that is open here, and nothing else is known
// of the hold.
func (h hearing) open(holdID string, kind models.MovementKind) bool {
	return kind == models.MovedCaptured && slices.ContainsFunc(h.live(), func(o models.Operation) bool { return o.AuthorizationID == holdID })
}

// names: the line gives the operation's own id at the gateway.
func (l ToldLine) names(o models.Operation) bool {
	return slices.ContainsFunc(l.Names, func(n string) bool { return n != "" && (n == o.GatewayTransactionID || n == o.Token) })
}

// line is the movement as the gateway's own list would tell it. Of a hold that
// can be captured several times, what has none of our names is somebody else's.
func (h hearing) line(l ToldLine, hold *models.Authorization) models.Movement {
	m := l.Movement
	for _, n := range l.Names {
		if n != "" {
			m.TransactionID = n
			break
		}
	}
	for _, o := range h.captures {
		if l.names(o) && m.Kind == models.MovedCaptured {
			m.TransactionID = o.GatewayTransactionID
			return m
		}
	}
	if hold != nil && hold.MultiCapture && m.Kind == models.MovedCaptured && slices.ContainsFunc(h.captures, func(o models.Operation) bool { return o.AuthorizationID == hold.ID }) {
		m.Reference = "told:" + m.ID
	}
	return m
}

// doubt has an open capture looked up before anything is sent. Unless it is
// named as ours, it is flagged first: a look that finds nothing of ours must not
// be followed by a send.
func (h hearing) doubt(ctx context.Context, c *comparer, op models.Operation) error {
	reason := h.told.Source + " says that the order was captured"
	if !slices.ContainsFunc(h.told.Lines, func(l ToldLine) bool { return l.names(op) }) {
		f := store.ListedFinding{
			Name:    findingName(h.slug, "told:"+op.ID, models.NeedsAttention),
			Verdict: models.NeedsAttention, Rule: reason + ", and the capture is open here", Action: "look", Operation: &op, Theirs: h.told.Lines,
			AmountCents: op.AmountCents, CurrencyCode: op.CurrencyCode, Outcome: "looked up first, and not sent until that proves it, or a person decides",
		}
		there, _, err := h.r.store.HasFinding(ctx, f.Name)
		if err == nil && !there { // what a person has settled is not raised again
			err = c.annotate(ctx, f, models.Flagged, models.FlagForeign, h.told.Source)
		}
		if err != nil {
			return err
		}
	}
	h.out.Looked++
	_, err := h.r.store.Observe(ctx, store.Observation{
		Kind: op.Kind, ID: op.ID, Evidence: models.Evidence{Source: models.FromWebhook, Outcome: models.OutcomeLost, Message: reason}, Actor: c.actor(), Reason: reason,
	})
	return err
}
