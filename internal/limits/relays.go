package limits

import (
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed lua/reserve.lua
	reserveSource string
	reserveScript = redis.NewScript(reserveSource)

	//go:embed lua/release.lua
	releaseSource string
	releaseScript = redis.NewScript(releaseSource)
)

// Limit is how many messages a relay takes, from all workers together. 0 is no limit.
type Limit struct {
	PerSecond float64 // evenly spread, but for what fits into one second
	PerDay    int     // in any 24 hours, counted by the hour and so at most an hour too strictly
}

// PerRelay counts messages per relay.
type PerRelay struct {
	rdb    redis.UniversalClient
	limits map[string]Limit // by the relay's name
}

// NewPerRelay returns the counters in rdb, which stays the caller's to close. limits has the relays that have a limit, by
// name.
func NewPerRelay(rdb redis.UniversalClient, limits map[string]Limit) *PerRelay {
	return &PerRelay{rdb, limits}
}

// Reserve asks whether relay may be given one more message now. It returns 0, and has counted the message, or how long
// until it may. A call that is repeated because its reply was lost counts twice, which errs on the relay's side.
func (r *PerRelay) Reserve(ctx context.Context, relay string) (time.Duration, error) {
	l, limited := r.limits[relay]
	if !limited {
		return 0, nil
	}
	interval, burst := l.interval(), int64(0) // in µs
	if interval > 0 {
		burst = max(1_000_000-interval, 0)
	}
	wait, err := reserveScript.Run(ctx, r.rdb, []string{relayKey(relay)}, interval, burst, l.PerDay).Int64()
	if err != nil {
		return 0, fmt.Errorf("ask for the relay's limit: %w", err)
	}
	return time.Duration(wait) * time.Millisecond, nil
}

// Release gives back one message that Reserve counted and the relay was not given. A call that is repeated because its
// reply was lost gives back once. Where the call fails the message stays counted, which errs on the relay's side.
func (r *PerRelay) Release(ctx context.Context, relay string) {
	if l, limited := r.limits[relay]; limited {
		key := relayKey(relay)
		releaseScript.Run(ctx, r.rdb, []string{key, key + ":" + rand.Text()}, l.interval())
	}
}

func relayKey(relay string) string { return "securemail:{relay:" + relay + "}" }

// interval is in µs, 0 for none.
func (l Limit) interval() int64 {
	if l.PerSecond <= 0 {
		return 0
	}
	return int64(1e6 / l.PerSecond)
}
