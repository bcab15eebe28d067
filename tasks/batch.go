package tasks

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
)

// MaxBatch is the most captures that one task names.
const MaxBatch = 500

// maxBatchPayload bounds what is parsed; 500 ids are about 20 KB.
const maxBatchPayload = 32 << 10

// Batch is what a [CapturesRun] task carries: captures of one gateway account,
// claimed together. Like any task it is a hint: each capture in it stands on
// its own, and one that must come again leaves the batch.
type Batch struct {
	Version int      `json:"v"`
	IDs     []string `json:"ids"`
}

// batchNames is the space in which the names of batches are derived.
var batchNames = uuid.MustParse("5f4be66c-36b6-4f6a-9a3b-6e3f4ba1b6c2")

// NewBatch makes the task of several captures, at most [MaxBatch]; generations
// are theirs, in the same order. Its name is derived from both: the same batch
// published twice, by two relays or by one that died in between, is one task. A
// batch that overlaps with another is one more hint, which finds its captures
// claimed.
func NewBatch(ids []string, generations []int, timeout time.Duration) *asynq.Task {
	payload, err := json.Marshal(Batch{Version: version, IDs: ids})
	if err != nil {
		panic(err) // a number and strings always marshal
	}
	var content []byte
	for i, id := range ids {
		content = fmt.Appendf(content, "%s:%d\n", id, generations[i])
	}
	return asynq.NewTask(CapturesRun, payload, asynq.Queue(Captures), asynq.TaskID("captures:"+uuid.NewSHA1(batchNames, content).String()),
		asynq.MaxRetry(maxRetry), asynq.Timeout(seconds(timeout)))
}

// ParseBatch reads the payload of a batch, strictly. The ids come back in the
// spelling that Postgres uses.
func ParseBatch(raw []byte) (Batch, error) {
	var b Batch
	if err := decode(raw, maxBatchPayload, &b); err != nil {
		return b, err
	}
	if err := known(b.Version); err != nil {
		return b, err
	}
	if len(b.IDs) == 0 || len(b.IDs) > MaxBatch {
		return b, fmt.Errorf("%w: %d ids, from 1 to %d", ErrPayload, len(b.IDs), MaxBatch)
	}
	seen := make(map[string]struct{}, len(b.IDs))
	for i, id := range b.IDs {
		if !isID(id) {
			return b, fmt.Errorf("%w: id %d of %d is no UUID", ErrPayload, i+1, len(b.IDs))
		}
		id = strings.ToLower(id)
		if _, twice := seen[id]; twice {
			return b, fmt.Errorf("%w: the id %s comes twice", ErrPayload, id)
		}
		seen[id], b.IDs[i] = struct{}{}, id
	}
	return b, nil
}
