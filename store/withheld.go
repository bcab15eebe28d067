package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/capstan-pay/capstan/models"
)

// withhold keeps a review from giving back what the gateway took back of a
// capture before, flagged still or not: a flag is acknowledged, or makes way for
// another, and the balance here says too much all the same. Who was called for
// it is not called again.
func (s *Store) withhold(ctx context.Context, tx Tx, review *models.Review) error {
	for _, n := range review.Needs {
		if n.Kind != models.Refund {
			continue
		}
		var taken bool
		err := s.query(ctx, tx, &taken, `SELECT EXISTS (SELECT 1 FROM events WHERE operation_id = ? AND event IN ('flagged', 'confirmed') AND evidence ->> 'outcome' = ?)`,
			n.CaptureID, models.OutcomeTakenBack.String())
		if err != nil {
			return fmt.Errorf("read what was taken back of capture %s: %w", n.CaptureID, err)
		}
		if taken {
			review.Withhold(n.CaptureID)
		}
	}
	var left []models.Need
	for _, n := range review.Withheld {
		var told bool
		err := s.query(ctx, tx, &told, `SELECT EXISTS (SELECT 1 FROM verdicts WHERE operation_id = ? AND verdict = ? AND rule = ?)`, n.CaptureID, n.Verdict, n.Rule)
		if err != nil {
			return fmt.Errorf("read the verdicts on capture %s: %w", n.CaptureID, err)
		}
		if !told {
			left = append(left, n)
		}
	}
	review.Withheld = slices.Clip(left)
	return nil
}

// callForWithheld calls a person for a refund that is needed and not started.
// A capture whose flag was acknowledged is flagged again, for this.
func (s *Store) callForWithheld(ctx context.Context, tx Tx, order *models.Order, need models.Need, actor, run string) (Finding, error) {
	f := Finding{
		OperationID: need.CaptureID, Kind: models.Capture, OrderID: order.ID, State: models.Succeeded, Verdict: need.Verdict, Rule: need.Rule,
	}
	capture, err := s.operation(ctx, tx, models.Capture, need.CaptureID, "")
	if err != nil {
		return f, err
	}
	if capture.NeedsAttention == "" {
		return f, s.flagCancelFailed(ctx, tx, f, actor)
	}
	return f, s.say(ctx, tx, order, f, "withheld", actor, run)
}
