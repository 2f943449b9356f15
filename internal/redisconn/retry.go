package redisconn

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"
)

// retryHook repeats, for that long, a command that failed because Redis is unreachable or not ready. go-redis' own
// MaxRetries cannot wait for half a minute. It also repeats the greeting of a new connection, on that same connection,
// which is dead if Redis died in that moment. And it asks a dead Sentinel as often before it asks another.
type retryHook time.Duration

func (h retryHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if isGreeting(cmd) {
			return next(ctx, cmd)
		}
		return h.repeat(ctx, func() error { return next(ctx, cmd) })
	}
}

func (h retryHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if len(cmds) > 0 && isGreeting(cmds[0]) {
			return next(ctx, cmds)
		}
		return h.repeat(ctx, func() error { return next(ctx, cmds) })
	}
}

func (retryHook) DialHook(next redis.DialHook) redis.DialHook { return next }

// isGreeting reports whether go-redis sends the command on a new connection, inside of the command that needs it.
func isGreeting(cmd redis.Cmder) bool {
	switch cmd.Name() {
	case "hello", "auth", "select", "client":
		return true
	}
	return false
}

func (h retryHook) repeat(ctx context.Context, do func() error) error {
	const shortest, longest = 50 * time.Millisecond, time.Second
	end := time.Now().Add(time.Duration(h))
	for pause := shortest; ; pause = min(2*pause, longest) {
		err := do()
		if err == nil || ctx.Err() != nil || !isTransient(err) || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause/2 + rand.N(pause)):
		}
	}
}

// isTransient reports whether a failure can end by itself. It does not look for the context's own errors: a timeout of
// the network is one of them too.
func isTransient(err error) bool {
	var reply redis.Error
	switch {
	case errors.Is(err, redis.ErrClosed):
		return false
	case !errors.As(err, &reply):
		return true
	}
	return redis.IsLoadingError(err) || redis.IsReadOnlyError(err) || redis.IsMasterDownError(err) || redis.IsClusterDownError(err) ||
		redis.IsTryAgainError(err) || redis.IsMaxClientsError(err) || redis.IsNoReplicasError(err)
}
