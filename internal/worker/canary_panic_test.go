package worker_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/internal/submission"
)

// panicking is a Limiter that panics for the relay of this name.
type panicking string

func (p panicking) Reserve(_ context.Context, relay string) (time.Duration, error) {
	if relay == string(p) {
		panic("on purpose")
	}
	return 0, nil
}

func (panicking) Release(context.Context, string) {}

// The worker logs the stack of a handler that panics, and the mail is deferred. The first relay is
// down, and the limiter panics for the second one, in the middle of Submit, when the whole message
// is in memory.
func TestCanary_PanicLeaksNothing(t *testing.T) {
	r := newCanaryRun(t)
	sent := r.send(13, 25) // four of each kind
	down := submission.Relay{Name: "down", Host: "127.0.0.1", Port: 1, TLS: submission.ImplicitTLS}
	panics := submission.Relay{Name: "panics", Host: "127.0.0.1", Port: 1, TLS: submission.ImplicitTLS}
	r.start(panicking("panics"), down, panics)
	waitUntil(t, t.Context(), "every mail has made the handler panic", func() bool {
		return strings.Count(r.logs.String(), "panic with a") >= len(sent)
	})
	waitUntil(t, t.Context(), "asynq has written down why", func() bool {
		return strings.Count(canaryErrors(t, r.rdb), "fault; again in") >= len(sent)
	})
	opened := 0
	for _, m := range sent {
		seed, err := r.rdb.HGet(t.Context(), "securemail:{"+m.id+"}", "seed").Bytes()
		if errors.Is(err, redis.Nil) {
			continue // once the first relay is suspended, the panic comes before the mail is opened
		}
		if err != nil {
			t.Fatal(err)
		}
		opened++
		r.expect(m.id, m.Mail, seed)
	}
	if opened == 0 {
		t.Error("no panic happened with a message in memory")
	}
	for place, hits := range r.find(r.places()) {
		r.refuse(place, hits)
	}
}
