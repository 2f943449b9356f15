package config

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"
)

// patience repeats a command that failed because Redis is out of reach, or not ready, for as long as it says. go-redis'
// own MaxRetries is no way to wait for half a minute: it repeats the greeting on a new connection too, on that same
// connection, which is dead if Redis died in that moment; and it asks a dead Sentinel as often, before it asks another.
type patience time.Duration

func (p patience) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if isGreeting(cmd) {
			return next(ctx, cmd)
		}
		return p.repeat(ctx, func() error { return next(ctx, cmd) })
	}
}

func (p patience) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if len(cmds) > 0 && isGreeting(cmds[0]) {
			return next(ctx, cmds)
		}
		return p.repeat(ctx, func() error { return next(ctx, cmds) })
	}
}

func (patience) DialHook(next redis.DialHook) redis.DialHook { return next }

// isGreeting knows the commands that go-redis sends on a new connection, inside of the command that needs it.
func isGreeting(cmd redis.Cmder) bool {
	switch cmd.Name() {
	case "hello", "auth", "select", "client":
		return true
	}
	return false
}

func (p patience) repeat(ctx context.Context, do func() error) error {
	const shortest, longest = 50 * time.Millisecond, time.Second
	end := time.Now().Add(time.Duration(p))
	for pause := shortest; ; pause = min(2*pause, longest) {
		err := do()
		if err == nil || ctx.Err() != nil || !isPassing(err) || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause/2 + rand.N(pause)):
		}
	}
}

// isPassing reports whether a failure can end by itself. It does not look for the context's own errors: a time-out of
// the network is one of them too.
func isPassing(err error) bool {
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
