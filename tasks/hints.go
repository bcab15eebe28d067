package tasks

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// What stands in Redis beside the tasks. Both are hints, too: without the bell a
// worker looks by itself within a second, and without the room a batch is of
// ordinary size.

// Bell is the channel on which publishers tell idle workers that a task waits.
const Bell = "capstan:bell"

// Ring rings the [Bell].
func Ring(ctx context.Context, r redis.UniversalClient) error {
	if err := r.Publish(ctx, Bell, "").Err(); err != nil {
		return fmt.Errorf("ring for the workers: %w", err)
	}
	return nil
}

// Room is the hash in which workers tell how many captures of one task they get
// through in time: gateway account id to number.
const Room = "capstan:room"

// roomLasts is how long the hash outlives the last worker that told it.
const roomLasts = time.Minute

// TellRoom tells the room of each gateway account; [MaxBatch] is the most.
func TellRoom(ctx context.Context, r redis.UniversalClient, room map[string]int) error {
	if len(room) == 0 {
		return nil
	}
	fields := make([]any, 0, 2*len(room))
	for account, n := range room {
		fields = append(fields, account, strconv.Itoa(clampRoom(n)))
	}
	if _, err := r.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.HSet(ctx, Room, fields...)
		p.PExpire(ctx, Room, roomLasts)
		return nil
	}); err != nil {
		return fmt.Errorf("tell how many captures fit into a task: %w", err)
	}
	return nil
}

// ReadRoom returns what workers told lately. An account that is not in it, or
// whose number makes no sense, is not known.
func ReadRoom(ctx context.Context, r redis.UniversalClient) (map[string]int, error) {
	fields, err := r.HGetAll(ctx, Room).Result()
	if err != nil {
		return nil, fmt.Errorf("read how many captures fit into a task: %w", err)
	}
	room := make(map[string]int, len(fields))
	for account, text := range fields {
		if n, err := strconv.Atoi(text); err == nil && n >= 1 {
			room[account] = clampRoom(n)
		}
	}
	return room, nil
}

func clampRoom(n int) int { return min(max(n, 1), MaxBatch) }
