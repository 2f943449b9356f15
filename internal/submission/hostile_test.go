package submission_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"example.com/securemail/internal/secret"
	"example.com/securemail/internal/submission"
	"example.com/securemail/internal/testserver"
)

// TestHostile_OddRecipientsStopNobodyElse sends bursts of twelve mails a second to recipients that
// Postfix refuses, each of another domain, beside the codes of honest people. HOSTILE=1m is the full
// size: a minute, 45 codes.
func TestHostile_OddRecipientsStopNobodyElse(t *testing.T) {
	lasts := 4 * time.Second
	full := os.Getenv("HOSTILE")
	if full != "" {
		var err error
		if lasts, err = time.ParseDuration(full); err != nil {
			t.Fatal(err)
		}
	}
	p := testserver.StartPostfix(t)
	r, err := submission.NewRelays([]submission.Relay{{
		Name: "postfix", Host: "127.0.0.1", Port: p.SMTPSPort, TLS: submission.ImplicitTLS, RootCAs: p.RootCAs,
		Username: p.Username, Password: secret.New(p.Password),
	}}, submission.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })

	ctx, cancel := context.WithTimeout(context.Background(), lasts)
	defer cancel()
	var sending sync.WaitGroup
	var mu sync.Mutex
	var took []time.Duration
	odd := 0
	every := func(interval time.Duration, f func(n int)) {
		sending.Go(func() {
			tick := time.NewTicker(interval)
			defer tick.Stop()
			for n := 0; ; n++ {
				f(n)
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	every(time.Second, func(n int) {
		for i := range 12 {
			sending.Go(func() {
				if _, e := submitTo(t, r, fmt.Sprintf("u@d%d-%d.odd.example", n, i)); e == nil || e.Code != 554 {
					t.Errorf("an odd recipient: got %v, want Postfix's 554", e)
				}
				mu.Lock()
				odd++
				mu.Unlock()
			})
		}
	})
	every(time.Minute/45, func(int) {
		begun := time.Now()
		if _, e := submitTo(t, r, "inbox@example.com"); e != nil {
			t.Errorf("an honest code: %v", e)
		}
		mu.Lock()
		took = append(took, time.Since(begun))
		mu.Unlock()
	})
	sending.Wait()

	slices.Sort(took)
	median, worst := took[len(took)/2], took[len(took)-1]
	t.Logf("%d codes beside %d odd recipients: median %v, worst %v", len(took), odd, median, worst)
	if most := 2 * time.Second; worst > most || full != "" && median > 100*time.Millisecond {
		t.Errorf("median %v, worst %v; want at most 0.1 s and %v", median, worst, most)
	}
}
