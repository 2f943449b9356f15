package dev

import (
	"context"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// clockStep is how often the embedded Redis's clock moves on, and so by how much a key may expire too early or too late.
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

// moveClock makes time to live pass, which in miniredis stands still. Its own ClockTTL would do so inside running
// scripts as well, where Redis holds time still, and walk all keys at every command.
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
	// miniredis's Close forgets its server while commands still run, and an INFO among them then panics. So they end
	// first: the cancelled context wakes those that block, under the lock so that none misses it, and the server's
	// Close waits for all.
	r.mini.Lock()
	r.mini.CtxCancel()
	r.mini.Unlock()
	r.mini.Server().Close()
	r.mini.Close()
}
