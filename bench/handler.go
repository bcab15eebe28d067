package main

import (
	"context"
	"fmt"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// tx is a transaction, of bun's or of pgx'. Statements have bun's placeholders.
type tx interface {
	exec(ctx context.Context, sql string, args ...any) error
	row(ctx context.Context, sql string, args []any, dest ...any) error
}

// plain is a ledger that claims and records each capture in a transaction of
// its own, a statement for each table.
type plain struct {
	inTx   func(ctx context.Context, fn func(tx) error) error
	lease  time.Duration
	worker string
	about  string
	closes func() error
}

func (p *plain) settings() string { return p.about }
func (p *plain) close() error     { return p.closes() }

func (p *plain) claim(ctx context.Context, id string) (claim, bool, error) {
	c, due := claim{id: id}, false
	err := p.inTx(ctx, func(t tx) error {
		err := t.row(ctx, readSQL, []any{id}, &c.order, &c.holdID, &c.hold, &c.reference, &c.key, &c.currency, &c.cents, &c.holdCents, &c.version, &c.look, &due)
		if err != nil || !due {
			return err
		}
		var hash []byte
		if err := t.row(ctx, claimSQL, []any{id, c.version, p.lease.Microseconds(), p.worker}, &c.version, &hash); err != nil {
			return err
		}
		call := "send"
		if c.look {
			call = "look_up"
		}
		if err := t.exec(ctx, attemptSQL, id, c.version, call, c.key, c.cents, c.currency, p.worker, p.lease.Microseconds(), hash); err != nil {
			return err
		}
		return t.exec(ctx, leaseSQL, id, p.lease.Microseconds())
	})
	if err != nil {
		return c, false, fmt.Errorf("claim capture %s: %w", id, err)
	}
	return c, due, nil
}

func (p *plain) record(ctx context.Context, c claim, ev models.Evidence, wait time.Duration) error {
	end, known := endings[ev.Outcome]
	if !known {
		return fmt.Errorf("record capture %s: no rule for the outcome %s", c.id, ev.Outcome)
	}
	if err := p.inTx(ctx, func(t tx) error { return p.write(ctx, t, c, ev, end, wait) }); err != nil {
		return fmt.Errorf("record capture %s as %s: %w", c.id, end.state, err)
	}
	return nil
}

// write is the transaction of an outcome.
func (p *plain) write(ctx context.Context, t tx, c claim, ev models.Evidence, end ending, wait time.Duration) error {
	var amount *int64
	if end.event == models.Confirmed {
		amount = &ev.AmountCents
	}
	evidence := string(ev.JSON())
	args := []any{c.id, c.version, string(end.event), string(end.state), amount, c.currency, p.worker, end.reason, evidence}
	switch end.event {
	case models.Confirmed:
		args = append(args, ev.GatewayTransactionID)
	case models.Refused:
		args = append(args, ev.ErrorCode, ev.ErrorDetail, ev.Message)
	default:
		args = append(args, wait.Microseconds(), ev.Message)
	}
	var version int64
	var hash []byte
	if err := t.row(ctx, end.sql, args, &version, &hash); err != nil {
		return err
	}
	following := []statement{
		{eventSQL, []any{c.id, version, string(end.event), string(end.state), p.worker, end.reason, amount, c.currency, ev.GatewayTransactionID, evidence, hash}},
		{resultSQL, []any{c.id, c.version, ev.Outcome.String(), ev.Status, ev.ErrorCode}},
	}
	switch end.event {
	case models.Confirmed:
		following = append(following, statement{holdTakenSQL, []any{c.holdID, ev.AmountCents}}, statement{orderPaidSQL, []any{c.order, ev.AmountCents, c.holdCents}},
			statement{workDoneSQL, []any{c.id}})
	case models.Refused:
		following = append(following, statement{holdFreedSQL, []any{c.holdID, c.cents}}, statement{orderFreedSQL, []any{c.order, c.cents}}, statement{checkSQL, []any{c.order}},
			statement{workDoneSQL, []any{c.id}})
	default:
		following = append(following, statement{workLaterSQL, []any{c.id, wait.Microseconds()}})
	}
	for _, s := range following {
		if err := t.exec(ctx, s.sql, s.args...); err != nil {
			return err
		}
	}
	return nil
}

// statement is one of a transaction.
type statement struct {
	sql  string
	args []any
}
