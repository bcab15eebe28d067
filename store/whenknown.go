package store

import (
	"context"
	"errors"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// WhenKnown adds to a refusal that waits for an outcome of an order when that is
// looked for again. Any other error, and nil, come back as they are.
func (s *Store) WhenKnown(ctx context.Context, mode models.Mode, orderID string, err error) error {
	refusal, ok := errors.AsType[*Refusal](err)
	if !ok || !refusal.Busy {
		return err
	}
	open, listErr := s.OpenOutcomes(ctx, mode, orderID, 1)
	if listErr != nil || len(open) == 0 || open[0].NextAt == nil {
		return err // it is said without the time
	}
	worded := *refusal
	worded.Detail += "; the gateway is asked again at " + open[0].NextAt.UTC().Format(time.RFC3339)
	return &worded
}
