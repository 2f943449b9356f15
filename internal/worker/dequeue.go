package worker

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// dequeueHook stands between asynq's dequeuers and Redis, as a hook of the worker's client; no other command notices it.
//
// It makes them wait while Redis answers with errors, such as OOM, READONLY or NOAUTH: asynq itself asks again at once,
// ten thousand times a second, and logs it.
//
// And it answers for a queue that was empty a moment ago, while others have tasks: asynq itself looks into the codes'
// queue before each single task of the other one, which doubles the time that fetching takes.
type dequeueHook struct {
	stopping context.Context

	mu       sync.Mutex
	failures int    // in a row
	busy     string // the queue in which a task was found last; "" once that one was empty
	empty    map[string]time.Time
}

const (
	backoffFirst = 50 * time.Millisecond
	backoffMost  = 2 * time.Second // also how late a worker notices that Redis is well again
	// emptyFor is how long an empty queue is taken to be empty while another one has tasks: how late a code may be noticed.
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
		queue, ok := dequeuesFrom(cmd)
		if !ok {
			return next(ctx, cmd)
		}
		if h.isEmpty(queue) {
			cmd.SetErr(redis.Nil)
			return redis.Nil
		}
		err := next(ctx, cmd)
		if wait := h.note(queue, err); wait > 0 {
			select {
			case <-time.After(wait):
			case <-h.stopping.Done():
			}
		}
		return err
	}
}

// isEmpty reports whether queue was found to be empty a moment ago, while another one is busy. That one is always asked: a
// dequeuer that finds nothing anywhere sleeps, and must not do so unasked.
func (h *dequeueHook) isEmpty(queue string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.busy != "" && h.busy != queue && time.Since(h.empty[queue]) < emptyFor
}

// note takes down what Redis answered, and returns how long the dequeuer is to wait.
func (h *dequeueHook) note(queue string, err error) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case redis.HasErrorPrefix(err, "NOSCRIPT"): // the script itself follows
		return 0
	case err == nil:
		h.busy = queue
	case errors.Is(err, redis.Nil):
		h.empty[queue] = time.Now()
		if h.busy == queue {
			h.busy = ""
		}
	default:
		h.failures++
		return min(backoffFirst<<min(h.failures-1, 10), backoffMost)
	}
	h.failures = 0
	return 0
}

// dequeuesFrom returns the queue that cmd takes a task from, by the key of its list. asynq's dequeue script is known by its
// second key, the mark of a paused queue, which no other script asks for.
func dequeuesFrom(cmd redis.Cmder) (queue string, ok bool) {
	if name := cmd.Name(); name != "evalsha" && name != "eval" {
		return "", false
	}
	args := cmd.Args() // evalsha sha numkeys key key ...
	if len(args) < 5 {
		return "", false
	}
	paused, _ := args[4].(string)
	queue, _ = args[3].(string)
	return queue, strings.HasPrefix(paused, "asynq:{") && strings.HasSuffix(paused, ":paused")
}
