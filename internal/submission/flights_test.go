package submission_test

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/securemail/internal/submission"
)

// distance puts a server far away: whatever passes, either way, arrives half a round trip later.
type distance struct {
	listener net.Listener
	target   string
	half     time.Duration
	running  sync.WaitGroup
	turns    atomic.Int64 // how often a client spoke once the server had: each is a round trip for which the client waited
}

func startDistance(t testing.TB, target string, roundTrip time.Duration) *distance {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &distance{listener: l, target: target, half: roundTrip / 2}
	d.running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				return
			}
			var serverSpoke atomic.Bool
			d.running.Go(func() {
				d.carry(server, client, func() {
					if serverSpoke.Swap(false) {
						d.turns.Add(1)
					}
				})
			})
			d.running.Go(func() { d.carry(client, server, func() { serverSpoke.Store(true) }) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		d.running.Wait()
	})
	return d
}

// carry copies what comes, each piece when its time has come, and then closes the way.
func (d *distance) carry(to, from net.Conn, spoke func()) {
	type piece struct {
		data []byte
		due  time.Time
	}
	pieces := make(chan piece, 1000)
	d.running.Go(func() {
		defer to.Close()
		for p := range pieces {
			time.Sleep(time.Until(p.due))
			if _, err := to.Write(p.data); err != nil {
				from.Close()
			}
		}
	})
	defer close(pieces)
	for {
		b := make([]byte, 32<<10)
		n, err := from.Read(b)
		if n > 0 {
			spoke()
			pieces <- piece{b[:n], time.Now().Add(d.half)}
		}
		if err != nil {
			return
		}
	}
}

func (d *distance) relay(r submission.Relay) submission.Relay {
	r.Port = d.listener.Addr().(*net.TCPAddr).Port
	return r
}

var flights = []struct {
	name, ehlo string
	most       float64
}{{"with PIPELINING", extensions, 2.3}, {"without", `AUTH PLAIN`, 4.3}}

// TestSubmit_RoundTrips counts how often the client waits for an answer from far away before it can
// go on.
func TestSubmit_RoundTrips(t *testing.T) {
	const mails = 20
	for _, tt := range flights {
		t.Run(tt.name, func(t *testing.T) {
			onBothPorts(t, func(t *testing.T, mode submission.TLSMode) {
				s := newServer(t, mode, nil)
				s.ehlo = tt.ehlo
				s.start()
				d := startDistance(t, s.listener.Addr().String(), 10*time.Millisecond)
				c := client(t, d.relay(s.relay()))
				mustSubmit(t, c)
				warm := d.turns.Load()
				for range mails {
					mustSubmit(t, c)
				}
				if got := float64(d.turns.Load()-warm) / mails; got > tt.most || got < 2 {
					t.Errorf("%.2f round trips a mail, want at most %.1f", got, tt.most)
				}
				c.Close()
			})
		})
	}
}

// BenchmarkRelayFarAway reports how long a mail on a warm session takes, as a multiple of the 50 ms
// to the relay and back.
func BenchmarkRelayFarAway(b *testing.B) {
	const roundTrip = 50 * time.Millisecond
	for _, tt := range flights {
		b.Run(tt.name, func(b *testing.B) {
			s := newServer(b, submission.ImplicitTLS, nil)
			s.ehlo = tt.ehlo
			s.start()
			defer s.stop()
			d := startDistance(b, s.listener.Addr().String(), roundTrip)
			c, err := submission.NewClient(d.relay(s.relay()))
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			if _, err := submit(c); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := submit(c); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(roundTrip), "round-trips/mail")
		})
	}
}
