package submission_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/securemail/internal/submission"
)

// TestPool_ManyFaultsLeaveNothingBehind has a server that fails at random, at any step, and callers
// that cancel at random. In the end there is not a goroutine, a file or a slot in the pool more
// than before, and at no time were there too many connections.
func TestPool_ManyFaultsLeaveNothingBehind(t *testing.T) {
	sends := 5000 // on each port
	if testing.Short() {
		sends = 500
	}
	files, goroutines := openFiles(t), runtime.NumGoroutine()
	onBothPorts(t, func(t *testing.T, mode submission.TLSMode) { soak(t, mode, sends) })
	waitFor(t, "the goroutines", func() bool { return runtime.NumGoroutine() <= goroutines+2 })
	if after := openFiles(t); after > files+2 {
		t.Errorf("%d files are open, %d were before", after, files)
	}
}

func soak(t *testing.T, mode submission.TLSMode, sends int) {
	const most, callers = 20, 32
	s := newServer(t, mode, nil)
	s.chance = misfortune
	var tooMany, accepted, faulted atomic.Int64
	s.onAccept = func() {
		if now, _, _ := s.connections(); now <= most {
			return
		}
		// The server has yet to notice that some are closed; the kernel knows, or will at once.
		for range 50 {
			if established(t, s) <= most {
				return
			}
			time.Sleep(time.Millisecond)
		}
		tooMany.Add(1)
	}
	r := s.start().relay()
	r.MaxConnections = most
	c := s.clientOf(r)
	var sending sync.WaitGroup
	for range callers {
		sending.Go(func() {
			for faulted.Load() < int64(sends) {
				ctx, cancel := context.WithCancel(context.Background())
				if rand.IntN(10) == 0 {
					ctx, cancel = context.WithTimeout(context.Background(), rand.N(10*time.Millisecond))
				}
				_, err := c.Submit(ctx, envelope, mail, nil)
				cancel()
				switch {
				case err == nil:
					accepted.Add(1)
				case !errors.As(err, new(*submission.Error)):
					t.Errorf("got %v, want an *Error", err)
				default:
					faulted.Add(1)
				}
			}
		})
	}
	sending.Wait()
	waitFor(t, "QUITs", func() bool { open, _, _ := c.Pool(); return open <= most })
	c.ExpireIdle()
	waitFor(t, "an empty pool", func() bool { open, waiting, _ := c.Pool(); return open == 0 && waiting == 0 })
	s.stop()
	if n := tooMany.Load(); n > 0 {
		t.Errorf("%d times there were more than %d connections", n, most)
	}
	if accepted.Load() == 0 || s.conns < sends/10 {
		t.Errorf("%d mails were accepted, over %d connections: this was no test", accepted.Load(), s.conns)
	}
	t.Logf("%d sends failed, %d did not, over %d connections", faulted.Load(), accepted.Load(), s.conns)
	s.checkNothingInClear()
}

// misfortune says how the server fails at a step, if it does.
func misfortune(step string) string {
	if rand.IntN(12) > 0 {
		return ""
	}
	actions := []string{
		"421 4.3.2 bye", "450 4.3.0 later", "550 5.7.1 no", "550 5.1.1 no", "(drop)", "(garbage)", "(half)25", "354 what", "250 what",
		"220 what", "(raw)250-",
	}
	action := actions[rand.IntN(len(actions))]
	if action == "(raw)250-" || step == "body" && action[0] != '(' || step == "data" && action[0] == '3' {
		return "(drop)"
	}
	return action
}

// established asks the kernel how many connections to s its peers have not closed.
func established(t *testing.T, s *server) int {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Skip("counting connections needs /proc")
	}
	local, n := fmt.Sprintf(": 0100007F:%04X ", s.relay().Port), 0
	for line := range strings.Lines(string(table)) {
		if _, rest, ours := strings.Cut(line, local); ours && strings.HasPrefix(rest[len("0100007F:0000 "):], "01 ") {
			n++
		}
	}
	return n
}
