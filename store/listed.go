package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/capstan-pay/capstan/models"
)

// Listed is a line of a gateway's list beside what our book has of its hold.
type Listed struct {
	models.Movement
	// Book is nil when we have no such hold.
	Book       *models.Authorization
	Operations []models.Operation
}

// The look-ups of a page. ?0 is the account, ?1 a list of names.
const (
	holdsListed = ` FROM authorizations AS a WHERE a.payment_gateway_id = ?0 AND a.gateway_transaction_id = ANY (?1)`
	holdsBefore = ` FROM authorizations AS a WHERE a.payment_gateway_id = ?0 AND a.first_transaction_id = ANY (?1)`
	holdsNamed  = ` FROM authorizations AS a WHERE a.payment_gateway_id = ?0 AND a.id IN (
		SELECT o.authorization_id FROM operations AS o WHERE o.kind IN ('capture', 'refund', 'void') AND o.gateway_reference = ANY (?1))`
	refundsListed = ` FROM refunds AS o WHERE o.capture_id IN (SELECT c.id FROM captures AS c WHERE c.authorization_id = ANY (?0::uuid[])) AND o.kind = 'refund'`
)

// MatchListed finds the holds and operations of a page of lines, by the
// gateway's id of the hold, else by our own reference. Each is one look-up in a
// unique index: the cost follows the page, however large the ledger is.
func (s *Store) MatchListed(ctx context.Context, gatewayID string, page []models.Movement) ([]Listed, error) {
	var names, references []string
	for _, m := range page {
		if m.Hold != "" {
			names = append(names, clean(m.Hold))
		} else if m.Reference != "" {
			references = append(references, clean(m.Reference))
		}
	}
	byName, err := s.holdsListed(ctx, gatewayID, names)
	if err != nil {
		return nil, err
	}
	named, err := s.holdsBy(ctx, holdsNamed, gatewayID, references)
	if err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(byName)+len(named))
	for _, a := range byName {
		ids = append(ids, a.ID)
	}
	for _, a := range named {
		ids = append(ids, a.ID)
	}
	ops, err := s.operationsOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	byReference := map[string]*models.Authorization{}
	for i := range named {
		for _, o := range ops[named[i].ID] {
			byReference[o.GatewayReference] = &named[i]
		}
	}
	out := make([]Listed, 0, len(page))
	for _, m := range page {
		l := Listed{Movement: m, Book: byName[clean(m.Hold)]}
		if m.Hold == "" {
			l.Book = byReference[m.Reference]
		}
		if l.Book != nil {
			l.Operations = ops[l.Book.ID]
		}
		out = append(out, l)
	}
	return out, nil
}

// holdsListed finds holds by the id that the gateway has for them, now or before
// a renewal.
func (s *Store) holdsListed(ctx context.Context, gatewayID string, names []string) (map[string]*models.Authorization, error) {
	found := make(map[string]*models.Authorization, len(names))
	for _, from := range []string{holdsBefore, holdsListed} {
		holds, err := s.holdsBy(ctx, from, gatewayID, names)
		if err != nil {
			return nil, err
		}
		for i, a := range holds {
			found[a.GatewayTransactionID] = &holds[i]
			if a.FirstTransactionID != "" && found[a.FirstTransactionID] == nil {
				found[a.FirstTransactionID] = &holds[i]
			}
		}
	}
	return found, nil
}

func (s *Store) holdsBy(ctx context.Context, from, gatewayID string, names []string) ([]models.Authorization, error) {
	if len(names) == 0 {
		return nil, nil
	}
	var holds []models.Authorization
	err := s.query(ctx, nil, &holds, `SELECT `+s.columns(models.Authorization{}, "a")+from, gatewayID, pgdialect.Array(names))
	if err != nil {
		return nil, fmt.Errorf("find the holds of %d lines: %w", len(names), err)
	}
	return holds, nil
}

// operationsOf reads every operation of holds, by hold.
func (s *Store) operationsOf(ctx context.Context, holds []string) (map[string][]models.Operation, error) {
	found := make(map[string][]models.Operation, len(holds))
	if len(holds) == 0 {
		return found, nil
	}
	for _, from := range []string{
		` FROM captures AS o WHERE o.authorization_id = ANY (?0::uuid[]) AND o.kind = 'capture'`,
		` FROM voids AS o WHERE o.authorization_id = ANY (?0::uuid[]) AND o.kind = 'void'`, refundsListed,
	} {
		var ops []models.Operation
		if err := s.query(ctx, nil, &ops, `SELECT `+s.columns(models.Operation{}, "o")+from, uuidArray(holds)); err != nil {
			return nil, fmt.Errorf("read the operations of %d holds: %w", len(holds), err)
		}
		for _, o := range ops {
			found[o.AuthorizationID] = append(found[o.AuthorizationID], o)
		}
	}
	return found, nil
}

// ListedFinding is something that a list, or its silence, says about our book.
type ListedFinding struct {
	// Name is its stable name: the same thing seen again is not written again.
	Name            string
	Verdict         models.Verdict
	Rule            string // in words
	Action, Outcome string
	Hold            *models.Authorization
	Operation       *models.Operation
	Theirs          any
	AmountCents     int64
	CurrencyCode    string
}

// HasFinding tells whether a finding was written before, and whether a person
// has applied or dismissed it since.
func (s *Store) HasFinding(ctx context.Context, name string) (there, settled bool, err error) {
	var rows []struct {
		Settled bool `bun:"settled"`
	}
	err = s.query(ctx, nil, &rows, `SELECT EXISTS (SELECT 1 FROM resolutions AS x WHERE x.verdict_id = v.id) AS settled FROM verdicts AS v WHERE v.finding = ?`, name)
	if err != nil {
		return false, false, fmt.Errorf("look for the finding %s: %w", name, err)
	}
	return len(rows) > 0, len(rows) > 0 && rows[0].Settled, nil
}

// WriteFinding writes a verdict once, and counts it in its run when it is new.
func (s *Store) WriteFinding(ctx context.Context, tx Tx, run *ListingRun, f ListedFinding) (isNew bool, err error) {
	ours, kind := map[string]any{}, models.Kind("")
	var operationID, orderID *string
	if f.Hold != nil {
		orderID = &f.Hold.OrderID
		ours["authorization_id"], ours["hold_cents"], ours["hold_confirmed_cents"] = f.Hold.ID, f.Hold.AmountCents, f.Hold.ConfirmedCents
	}
	if o := f.Operation; o != nil {
		operationID, orderID, kind = &o.ID, &o.OrderID, o.Kind
		ours["state"], ours["version"], ours["amount_cents"], ours["confirmed_cents"] = o.State, o.Version, o.AmountCents, o.ConfirmedCents
		ours["reference"], ours["currency_code"] = o.GatewayReference, o.CurrencyCode
	}
	oursJSON, err := json.Marshal(ours)
	if err != nil {
		return false, fmt.Errorf("encode our side of %s: %w", f.Name, err)
	}
	theirs, err := json.Marshal(f.Theirs)
	if err != nil {
		return false, fmt.Errorf("encode the gateway's side of %s: %w", f.Name, err)
	}
	n, err := s.exec(ctx, tx, `INSERT INTO verdicts (id, reconciliation_id, operation_id, kind, order_id, mode, payment_gateway_id, amount_cents, currency_code,
			verdict, rule, action, outcome, actor, ours, theirs, finding)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULLIF(?, ''), ?, ?, ?, ?, ?, ?::jsonb, ?::jsonb, ?) ON CONFLICT (finding) WHERE finding IS NOT NULL DO NOTHING`,
		NewID(), nullable(run.ID), operationID, kind, orderID, run.Mode, run.GatewayID, f.AmountCents, f.CurrencyCode,
		f.Verdict, f.Rule, f.Action, f.Outcome, "listing:"+run.Slug, string(oursJSON), string(theirs), f.Name)
	if err != nil {
		return false, fmt.Errorf("write the finding %s: %w", f.Name, err)
	}
	return n > 0, nil
}

// ObserveListed is [Store.Observe] with a finding: what the evidence moves and
// the finding that says why are one transaction. What agrees, or waits, is not
// written. It returns the finding as it was judged.
func (s *Store) ObserveListed(ctx context.Context, run *ListingRun, ob Observation, f ListedFinding) (judged ListedFinding, isNew bool, err error) {
	for range observeTries {
		op, d, asked, err := s.judge(ctx, ob)
		if err != nil {
			return f, false, err
		}
		if asked {
			d.Event = ""
		}
		judged = f
		judged.Verdict, judged.Rule, judged.Operation, judged.Outcome = d.Verdict, d.Rule, &op, "nothing to move"
		if d.Event != "" {
			judged.Outcome = string(d.Event)
		}
		if d.Flag != "" {
			judged.Outcome += ", flagged: " + d.Flag
		}
		agrees := d.Verdict == models.InSync || d.Verdict == models.Wait
		if agrees && d.Event == "" {
			return judged, false, nil
		}
		err = s.InTx(ctx, func(ctx context.Context, tx Tx) error {
			if d.Event != "" {
				if err := s.applyIn(ctx, tx, Move{Op: op, Decision: d, Evidence: ob.Evidence, Actor: ob.Actor, Reason: ob.Reason}); err != nil {
					return err
				}
			}
			if agrees {
				return nil
			}
			var err error
			isNew, err = s.WriteFinding(ctx, tx, run, judged)
			return err
		})
		if !errors.Is(err, ErrStale) {
			return judged, isNew, err
		}
	}
	return f, false, fmt.Errorf("observe %s %s: %w %d times; the next comparison tries again", ob.Kind, ob.ID, ErrStale, observeTries)
}

// AnnotateListed calls a person to an operation, or has it looked up at once
// (flagged, hinted), and writes the finding that says why, in one transaction:
// there is never the one without the other. An operation that is flagged
// already, or has ended meanwhile, is left alone.
func (s *Store) AnnotateListed(ctx context.Context, run *ListingRun, f ListedFinding, event models.Event, flag string) (isNew bool, err error) {
	m := Move{Op: *f.Operation, Decision: models.Decision{Event: event, Flag: flag, Verdict: f.Verdict, Rule: f.Rule}, Actor: "listing:" + run.Slug, Reason: f.Rule}
	for range observeTries {
		err = s.InTx(ctx, func(ctx context.Context, tx Tx) error {
			if event == models.Flagged && m.Op.NeedsAttention == "" || event == models.Hinted && m.Op.State.Live() && m.Op.State != models.Capturing {
				if err := s.applyIn(ctx, tx, m); err != nil {
					return err
				}
			}
			var err error
			isNew, err = s.WriteFinding(ctx, tx, run, f)
			return err
		})
		if !errors.Is(err, ErrStale) {
			return isNew, err
		}
		if m.Op, err = s.operation(ctx, nil, m.Op.Kind, m.Op.ID, ""); err != nil {
			return false, err
		}
	}
	return false, fmt.Errorf("annotate %s %s: %w %d times; the next comparison tries again", m.Op.Kind, m.Op.ID, ErrStale, observeTries)
}

// Adoption is an operation that the gateway has under our own derived name, and
// our book does not: the ledger was restored to a time before it.
type Adoption struct {
	Hold     models.Authorization
	Kind     models.Kind
	Sequence int
	// Capture is what a refund returned.
	Capture      *models.Operation
	AmountCents  int64
	CurrencyCode string
	Actor        string
	Finding      ListedFinding
}

// Adopt makes the row anew, with the finding that tells why, and asks for a
// look-up, in one transaction: the next claim looks, and what the gateway says
// is recorded. A claim never sends what was adopted. The caps hold as ever: a
// [Refusal] says which one does not leave room.
func (s *Store) Adopt(ctx context.Context, run *ListingRun, a Adoption) (made models.Operation, err error) {
	err = s.InTx(ctx, func(ctx context.Context, tx Tx) error {
		order, hold, err := s.lockHold(ctx, tx, a.Hold.Mode, a.Hold.ID)
		if err != nil {
			return err
		}
		n := newOperation{
			kind: a.Kind, order: &order, hold: &hold, account: run.Slug, cause: models.CauseAdopted, amount: a.AmountCents, actor: a.Actor,
		}
		if a.CurrencyCode != hold.CurrencyCode {
			return refuse("other_currency", "", "the gateway names %s, and the hold is in %s", a.CurrencyCode, hold.CurrencyCode)
		}
		sequence := &hold.CaptureSequence
		if a.Kind == models.Refund {
			sequence = &hold.RefundSequence
			capture, err := s.operation(ctx, tx, models.Capture, a.Capture.ID, " FOR UPDATE")
			if err != nil {
				return err
			}
			n.capture = &capture
		}
		if *sequence >= a.Sequence {
			return refuse("adopted_before", "", "the %s number %d of the hold is in the book by now", a.Kind, a.Sequence)
		}
		*sequence = a.Sequence - 1
		if made, err = s.create(ctx, tx, n); err != nil {
			return err
		}
		if err := s.Hint(ctx, tx, made, a.Actor, "it happened at the gateway and was missing here"); err != nil {
			return err
		}
		a.Finding.Operation = &made
		_, err = s.WriteFinding(ctx, tx, run, a.Finding)
		return err
	})
	if err != nil {
		return models.Operation{}, fmt.Errorf("adopt %s number %d of hold %s: %w", a.Kind, a.Sequence, a.Hold.ID, err)
	}
	return made, nil
}

// ListedThrough is how far each account's list was compared.
func (s *Store) ListedThrough(ctx context.Context) (map[string]float64, error) {
	var rows []struct {
		Slug string  `bun:"slug"`
		At   float64 `bun:"at"`
	}
	err := s.query(ctx, nil, &rows, `SELECT g.slug, extract(epoch FROM l.listed_through)::float8 AS at FROM listings AS l JOIN payment_gateways AS g ON g.id = l.payment_gateway_id`)
	if err != nil {
		return nil, fmt.Errorf("read how far the gateways' lists were compared: %w", err)
	}
	through := make(map[string]float64, len(rows))
	for _, r := range rows {
		through[r.Slug] = r.At
	}
	return through, nil
}
