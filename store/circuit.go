package store

import (
	"context"
	"fmt"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// circuitTry is the pause between two operations that try an open circuit.
const circuitTry = time.Minute

// Circuit is the state of a gateway's circuit.
type Circuit struct {
	// Failures are the calls in a row that proved nothing, counted while it was closed.
	Failures int  `bun:"failures"`
	Open     bool `bun:"open"`
	// Try: it is open, and the caller is the one who may try it now.
	Try bool `bun:"try"`
}

// EnterCircuit reads an account's circuit before a call. Of all who ask while it
// is open, in whatever process, one a minute may try it.
func (s *Store) EnterCircuit(ctx context.Context, slug string) (Circuit, error) {
	return s.circuit(ctx, slug, `WITH tried AS (
			UPDATE payment_gateways SET circuit_tried_at = now()
			WHERE slug = ?0 AND circuit_opened_at IS NOT NULL AND COALESCE(circuit_tried_at, circuit_opened_at) <= now() - ?1 * interval '1 microsecond'
			RETURNING id
		) SELECT g.circuit_failures AS failures, g.circuit_opened_at IS NOT NULL AS open, EXISTS (SELECT 1 FROM tried) AS try
		FROM payment_gateways AS g WHERE g.slug = ?0`, slug, s.tempo.Of(circuitTry).Microseconds())
}

// Circuit reads an account's circuit, and tries nothing.
func (s *Store) Circuit(ctx context.Context, slug string) (Circuit, error) {
	return s.circuit(ctx, slug, `SELECT circuit_failures AS failures, circuit_opened_at IS NOT NULL AS open, false AS try FROM payment_gateways WHERE slug = ?0`, slug)
}

func (s *Store) circuit(ctx context.Context, slug, sql string, args ...any) (Circuit, error) {
	var c Circuit
	err := s.one(ctx, nil, &c, "the circuit of payment gateway "+slug, sql, args...)
	return c, err
}

// CircuitFailed counts a call that proved nothing, and opens the circuit when
// that makes more than after in a row. It reports whether it did; an open circuit
// counts no further.
func (s *Store) CircuitFailed(ctx context.Context, slug string, after int) (failures int, opened bool, err error) {
	var rows []struct {
		Failures int  `bun:"failures"`
		Opened   bool `bun:"opened"`
	}
	err = s.query(ctx, nil, &rows, `UPDATE payment_gateways
		SET circuit_failures = circuit_failures + 1, circuit_opened_at = CASE WHEN circuit_failures + 1 > ?1 THEN now() END, updated_at = now()
		WHERE slug = ?0 AND circuit_opened_at IS NULL RETURNING circuit_failures AS failures, circuit_opened_at IS NOT NULL AS opened`, slug, after)
	if err != nil {
		return 0, false, fmt.Errorf("count a failed call to %s: %w", slug, err)
	}
	if len(rows) == 0 {
		return 0, false, nil
	}
	return rows[0].Failures, rows[0].Opened, nil
}

// CircuitAnswered ends a row of failures: the gateway answered. It reports
// whether that closed the circuit; then the account's open rows are due now.
func (s *Store) CircuitAnswered(ctx context.Context, slug string) (closed bool, err error) {
	if c, err := s.Circuit(ctx, slug); err != nil || !c.Open && c.Failures == 0 {
		return false, err // as nearly always
	}
	err = s.InTx(ctx, func(ctx context.Context, tx Tx) error {
		closed, err = s.closeCircuit(ctx, tx, slug)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("close the circuit of %s: %w", slug, err)
	}
	return closed, nil
}

func (s *Store) closeCircuit(ctx context.Context, tx Tx, slug string) (bool, error) {
	n, err := s.exec(ctx, tx, `UPDATE payment_gateways SET circuit_failures = 0, circuit_opened_at = NULL, circuit_tried_at = NULL, updated_at = now()
		WHERE slug = ? AND circuit_opened_at IS NOT NULL`, slug)
	if err != nil {
		return false, err
	}
	if n == 1 {
		return true, s.wakeGateway(ctx, tx, slug)
	}
	_, err = s.exec(ctx, tx, `UPDATE payment_gateways SET circuit_failures = 0, updated_at = now() WHERE slug = ? AND circuit_opened_at IS NULL AND circuit_failures > 0`, slug)
	return false, err
}

// GatewayAction is what a person does to an account.
type GatewayAction string

// The actions.
const (
	DisableGateway      GatewayAction = "disable"       // nothing is claimed any more; nothing fails
	EnableGateway       GatewayAction = "enable"        // claims go on, and open rows are due now
	ResetGatewayCircuit GatewayAction = "reset_circuit" // it is closed, and open rows are due now
)

// ActOnGateway does what a person asks for, and keeps who did and why in a
// verdict. Doing it again changes nothing and is kept, too.
func (s *Store) ActOnGateway(ctx context.Context, tx Tx, g models.PaymentGateway, action GatewayAction, actor, reason string) error {
	if tx == nil {
		return s.InTx(ctx, func(ctx context.Context, tx Tx) error { return s.ActOnGateway(ctx, tx, g, action, actor, reason) })
	}
	if err := s.actOnGateway(ctx, tx, g, action, actor, reason); err != nil {
		return err
	}
	_, err := s.exec(ctx, tx, `INSERT INTO verdicts (id, mode, payment_gateway_id, verdict, rule, action, outcome, actor) VALUES (?, ?, ?, ?, ?, ?, 'done', ?)`,
		NewID(), g.Mode, g.ID, models.Wait, clean("by hand: "+reason), "gateway_"+string(action), clean(actor))
	if err != nil {
		return fmt.Errorf("keep who did %s to payment gateway %s: %w", action, g.Slug, err)
	}
	return nil
}

func (s *Store) actOnGateway(ctx context.Context, tx Tx, g models.PaymentGateway, action GatewayAction, actor, reason string) error {
	var err error
	switch action {
	case DisableGateway:
		_, err = s.exec(ctx, tx, `UPDATE payment_gateways SET paused_at = COALESCE(paused_at, now()), disabled_at = COALESCE(disabled_at, now()), paused_reason = ?, updated_at = now() WHERE id = ?`,
			clean("disabled by "+actor+": "+reason), g.ID)
	case EnableGateway:
		var n int64
		n, err = s.exec(ctx, tx, `UPDATE payment_gateways SET paused_at = NULL, disabled_at = NULL, paused_reason = NULL, updated_at = now() WHERE id = ? AND paused_at IS NOT NULL`, g.ID)
		if err == nil && n == 1 {
			err = s.wakeGateway(ctx, tx, g.Slug)
		}
	case ResetGatewayCircuit:
		_, err = s.closeCircuit(ctx, tx, g.Slug)
	default:
		err = fmt.Errorf("%q is nothing that is done to an account", action)
	}
	if err != nil {
		return fmt.Errorf("%s payment gateway %s: %w", action, g.Slug, err)
	}
	return nil
}
