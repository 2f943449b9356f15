package worker

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// backoff makes asynq's dequeuer wait while Redis answers it with errors, such as OOM, READONLY or NOAUTH. asynq itself asks
// again at once, ten thousand times a second, and logs it. As a hook of the worker's client it holds nobody else up.
type backoff struct {
	stopping context.Context
	failures atomic.Int32 // of the dequeuer in a row
}

const (
	backoffFirst = 50 * time.Millisecond
	backoffMost  = 2 * time.Second // also how late a worker notices that Redis is well again
)

func (b *backoff) DialHook(next redis.DialHook) redis.DialHook { return next }

func (b *backoff) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (b *backoff) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		switch {
		case !isDequeue(cmd):
		case err == nil || errors.Is(err, redis.Nil): // nil is an empty queue
			b.failures.Store(0)
		case redis.HasErrorPrefix(err, "NOSCRIPT"): // the script itself follows
		default:
			wait := min(backoffFirst<<min(b.failures.Add(1), 10), backoffMost)
			select {
			case <-time.After(wait):
			case <-b.stopping.Done():
			}
		}
		return err
	}
}

// isDequeue knows asynq's dequeue script by its second key, the mark of a paused queue, which no other script asks for.
func isDequeue(cmd redis.Cmder) bool {
	if name := cmd.Name(); name != "evalsha" && name != "eval" {
		return false
	}
	args := cmd.Args() // evalsha sha numkeys key key ...
	if len(args) < 5 {
		return false
	}
	key, _ := args[4].(string)
	return strings.HasPrefix(key, "asynq:{") && strings.HasSuffix(key, ":paused")
}
