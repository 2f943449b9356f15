package queue

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// dequeueSHA is the SHA-1 of asynq's dequeue script (asynq v0.26.0, internal/rdb/rdb.go, dequeueCmd).
const dequeueSHA = "a8153319360adc71cdc370107f8ab9786f204765"

// dequeueHook stands between asynq's dequeuers and Redis, as a hook of the worker's client. It touches no other command.
//
// It makes the dequeuers wait while Redis answers with errors such as OOM, READONLY or NOAUTH. asynq itself asks again
// at once, ten thousand times a second, and logs each error.
//
// It answers for a queue that was empty a moment ago, while another queue has tasks. asynq itself looks into the codes'
// queue before each task of the other one, which doubles the time that fetching takes.
type dequeueHook struct {
	stopping context.Context

	mu       sync.Mutex
	failures int    // in a row
	busy     string // the queue in which a task was found last; "" once that one was empty
	empty    map[string]time.Time
}

const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 2 * time.Second // also how late a worker notices that Redis works again
	// emptyFor is how long an empty queue counts as empty while another one has tasks: how late a code may be noticed.
	emptyFor = 5 * time.Millisecond
)

func newDequeueHook(stopping context.Context) *dequeueHook {
	return &dequeueHook{stopping: stopping, empty: map[string]time.Time{}}
}

func (h *dequeueHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *dequeueHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h *dequeueHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		key, ok := dequeuesFrom(cmd)
		if !ok {
			return next(ctx, cmd)
		}
		if h.isEmpty(key) {
			cmd.SetErr(redis.Nil)
			return redis.Nil
		}
		err := next(ctx, cmd)
		if wait := h.note(key, err); wait > 0 {
			select {
			case <-time.After(wait):
			case <-h.stopping.Done():
			}
		}
		return err
	}
}

// isEmpty reports whether a queue was empty a moment ago while another one is busy. The busy one is always asked: a
// dequeuer that finds nothing anywhere sleeps, and must not do so without asking.
func (h *dequeueHook) isEmpty(key string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.busy != "" && h.busy != key && time.Since(h.empty[key]) < emptyFor
}

// note records what Redis answered, and returns how long the dequeuer has to wait.
func (h *dequeueHook) note(key string, err error) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case redis.HasErrorPrefix(err, "NOSCRIPT"): // the script itself follows
		return 0
	case err == nil:
		h.busy = key
	case errors.Is(err, redis.Nil):
		h.empty[key] = time.Now()
		if h.busy == key {
			h.busy = ""
		}
	default:
		h.failures++
		return min(minBackoff<<min(h.failures-1, 10), maxBackoff)
	}
	h.failures = 0
	return 0
}

// dequeuesFrom returns the list from which asynq's dequeue script takes a task, or false for another command.
func dequeuesFrom(cmd redis.Cmder) (key string, ok bool) {
	args := cmd.Args() // evalsha sha numkeys key ..., or eval source numkeys key ...
	if len(args) < 4 {
		return "", false
	}
	script, _ := args[1].(string)
	switch cmd.Name() {
	case "evalsha":
	case "eval":
		sum := sha1.Sum([]byte(script))
		script = hex.EncodeToString(sum[:])
	default:
		return "", false
	}
	key, _ = args[3].(string)
	return key, script == dequeueSHA
}
