package dev

import (
	"context"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// clockStep is the step of the embedded Redis's clock. A key may expire too early or too late by as
// much.
const clockStep = 50 * time.Millisecond

// redisServer is a miniredis whose keys expire.
type redisServer struct {
	mini   *miniredis.Miniredis
	addr   string
	cancel context.CancelFunc
	clock  sync.WaitGroup
}

func startRedis(addr string) (*redisServer, error) {
	mini := miniredis.NewMiniRedis()
	if err := mini.StartAddr(addr); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &redisServer{mini: mini, addr: mini.Addr(), cancel: cancel}
	r.clock.Go(func() { r.moveClock(ctx) })
	return r, nil
}

// moveClock lets keys expire: in miniredis the time to live of a key does not pass by itself.
// miniredis's ClockTTL would also let it pass during a script, where Redis does not, and visit all
// keys at every command.
func (r *redisServer) moveClock(ctx context.Context) {
	ticker := time.NewTicker(clockStep)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			now := time.Now()
			r.mini.FastForward(now.Sub(last))
			last = now
		}
	}
}

func (r *redisServer) close() {
	r.cancel()
	r.clock.Wait()
	// miniredis's Close drops its server while commands still run, and an INFO among them then
	// panics. So the commands must end first. Cancelling the context wakes those that block; the
	// lock makes sure that none misses it. Close of the server then waits for all of them.
	r.mini.Lock()
	r.mini.CtxCancel()
	r.mini.Unlock()
	r.mini.Server().Close()
	r.mini.Close()
}
