package record

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed lua/allow.lua
	allowSource string
	allowScript = redis.NewScript(allowSource)

	//go:embed lua/unallow.lua
	unallowSource string
	unallowScript = redis.NewScript(unallowSource)
)

// Limit is how many messages a relay takes, from all workers together. 0 is no limit.
type Limit struct {
	PerSecond float64 // evenly spread, but for what fits into one second
	PerDay    int     // in any 24 hours, counted by the hour and so at most an hour too strictly
}

// Allow asks whether relay may be given one more message now. It returns 0, and has counted the message, or how long
// until it may. A call that is repeated because its reply was lost counts twice, which errs on the relay's side.
func (s *Store) Allow(ctx context.Context, relay string, l Limit) (time.Duration, error) {
	interval, burst := l.interval(), int64(0) // in µs
	if interval > 0 {
		burst = max(1_000_000-interval, 0)
	}
	wait, err := allowScript.Run(ctx, s.rdb, []string{"securemail:{relay:" + relay + "}"}, interval, burst, l.PerDay).Int64()
	if err != nil {
		return 0, fmt.Errorf("ask for the relay's limit: %w", err)
	}
	return time.Duration(wait) * time.Millisecond, nil
}

// Unallow takes back a message that Allow has counted and that relay was not given.
func (s *Store) Unallow(ctx context.Context, relay string, l Limit) error {
	if err := unallowScript.Run(ctx, s.rdb, []string{"securemail:{relay:" + relay + "}"}, l.interval()).Err(); err != nil {
		return fmt.Errorf("give back what counts for the relay's limit: %w", err)
	}
	return nil
}

// interval is in µs, 0 for none.
func (l Limit) interval() int64 {
	if l.PerSecond <= 0 {
		return 0
	}
	return int64(1e6 / l.PerSecond)
}
