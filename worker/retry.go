package worker

import (
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// later ends a task that is to come again. Asynqmon shows its text as the
// task's last error: why, and when it is tried next.
type later struct {
	reason string
	at     time.Time
	// failure counts it as a retry in Asynqmon; a task that merely came early does not.
	failure bool
}

func (l *later) Error() string {
	return fmt.Sprintf("%s; next_attempt_at %s", l.reason, l.at.UTC().Format(time.RFC3339))
}

// retryDelay comes again at the time that the row says, never before: Asynq keeps
// whole seconds and cuts the rest off, so the time is rounded up. Anything
// unforeseen, such as a database that is away, waits a moment.
func retryDelay(t models.Tempo) asynq.RetryDelayFunc {
	return func(_ int, err error, _ *asynq.Task) time.Duration {
		if l, ok := errors.AsType[*later](err); ok {
			now := time.Now()
			if l.at.After(now) {
				return l.at.Truncate(time.Second).Add(time.Second).Sub(now)
			}
			return now.Truncate(time.Second).Add(time.Second).Sub(now)
		}
		return t.Of(5 * time.Second)
	}
}

// isFailure keeps Asynq from counting what is no failure: a crash, whose budget
// lives in the row, and a task that came early.
func isFailure(err error) bool {
	if errors.Is(err, asynq.ErrLeaseExpired) {
		return false
	}
	if l, ok := errors.AsType[*later](err); ok {
		return l.failure
	}
	return true
}

func isLater(err error) bool {
	_, ok := errors.AsType[*later](err)
	return ok
}

// archiveUnknown sends a task about nothing we know to the archive: no retry
// makes the row appear.
func archiveUnknown(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
	}
	return err
}
