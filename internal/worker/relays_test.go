package worker_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"example.com/securemail/internal/secret"
	"example.com/securemail/internal/submission"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

func sinkRelay(name string, s *testserver.Sink) submission.Relay {
	return submission.Relay{Name: name, Host: "127.0.0.1", Port: s.Port, TLS: submission.ImplicitTLS, RootCAs: s.RootCAs,
		Username: "u", Password: secret.New("p"), LocalName: "localhost"}
}

// sendMany enqueues mails to kind-0@example.com, kind-1@example.com and so on, and returns their
// ids.
func (h *fixture) sendMany(kind tasks.Kind, n int) []string {
	h.t.Helper()
	ids := make([]string, n)
	for i := range ids {
		ids[i] = h.send(tasks.Mail{Kind: kind, To: fmt.Sprintf("%s-%d@example.com", kind, i)})
	}
	return ids
}

// allAccepted waits until every mail is accepted, and checks that each used up one attempt.
func (h *fixture) allAccepted(ids []string) {
	h.t.Helper()
	for _, id := range ids {
		if s, err := h.client.Wait(h.ctx, id); err != nil || s.State != tasks.Accepted || s.Tries != 1 {
			h.t.Fatalf("got %+v, %v; want accepted after one attempt", s, err)
		}
	}
}

// No mail is lost or sent twice, no outage uses up an attempt, and the log says when a relay is
// suspended and why.
func TestWorker_FailsOverToTheSecondRelayAndBack(t *testing.T) {
	h := newFixture(t)
	h.stop()
	first, second := testserver.StartSink(t), testserver.StartSink(t)
	h.relays = []submission.Relay{sinkRelay("first", first), sinkRelay("second", second)}
	var mu sync.Mutex
	var changes []string
	h.changed = func(relay string, open bool, cause error, until time.Time) {
		mu.Lock()
		defer mu.Unlock()
		if open && (cause == nil || time.Until(until) <= 0) {
			t.Errorf("%s is suspended until %v because of %v", relay, until, cause)
		}
		changes = append(changes, fmt.Sprintf("%s %v", relay, open))
	}
	count := func(s *testserver.Sink) int { return len(s.Taken()) }

	n := 2000
	if testing.Short() {
		n = 300
	}
	ids := h.sendMany(tasks.Key, n/2)
	h.start() // with a backlog, or the first relay might have all mails before it goes down
	waitUntil(t, h.ctx, "the first relay has taken some", func() bool { return count(first) > n/20 })
	first.Down()
	waitUntil(t, h.ctx, "the second one takes over", func() bool { return count(second) > n/20 })
	ids = append(ids, h.sendMany(tasks.Key, n/2)...)
	h.allAccepted(ids)
	before := count(first)
	first.Up()
	waitUntil(t, h.ctx, "the first relay is used again", func() bool {
		ids = append(ids, h.send(tasks.Mail{Kind: tasks.Key, To: "probe@example.com"}))
		return count(first) > before
	})
	h.allAccepted(ids)

	total := 0
	for name, sink := range map[string]*testserver.Sink{"first": first, "second": second} {
		for id, copies := range sink.Taken() {
			if total++; copies != 1 {
				t.Errorf("%s accepted %s %d times", name, id, copies)
			}
			if _, twice := first.Taken()[id]; twice && name == "second" {
				t.Errorf("both relays accepted %s", id)
			}
		}
	}
	if total != len(ids) {
		t.Errorf("%d mails were accepted, want %d", total, len(ids))
	}
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"first true", "first false"}; !slices.Equal(changes, want) {
		t.Errorf("the relays changed as %q, want %q", changes, want)
	}
}

// While no relay accepts mail, the backlog stays in the queue. Redis has little to do, no mail uses
// up an attempt, and when a relay is back, codes are sent first. OUTAGE=60s is the full size.
func TestWorker_KeepsTheBacklogWhileNoRelayAcceptsMail(t *testing.T) {
	outage, keys, codes := 2*time.Second, 600, 200
	if text := os.Getenv("OUTAGE"); text != "" {
		var err error
		if outage, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
		keys, codes = 4000, 1000
	}
	h := newFixture(t)
	h.stop()
	ctx, cancel := context.WithTimeout(context.Background(), outage+3*time.Minute)
	defer cancel()
	h.ctx = ctx
	sink := testserver.StartSink(t)
	sink.Down()
	h.relays = []submission.Relay{sinkRelay("only", sink)}
	left := make(chan struct{}, 1000)
	h.changed = func(_ string, open bool, _ error, _ time.Time) {
		if open {
			left <- struct{}{}
		}
	}
	h.start()
	ids := append(h.sendMany(tasks.Key, keys), h.sendMany(tasks.Code, codes)...)
	select {
	case <-left:
	case <-ctx.Done():
		t.Fatal("the relay was not suspended")
	}

	commands, begun := h.commands(), time.Now()
	select {
	case <-time.After(outage): // commands are counted during the outage
	case <-ctx.Done():
	}
	perSecond := float64(h.commands()-commands) / time.Since(begun).Seconds()
	t.Logf("%d mails waited for %v: %.1f Redis commands a second", len(ids), outage, perSecond)
	if perSecond > 200 {
		t.Errorf("%.1f Redis commands a second while no relay accepts mail", perSecond)
	}

	sink.Up()
	h.allAccepted(ids)
	order := sink.Order()
	if len(order) != len(ids) {
		t.Errorf("%d mails were accepted, want %d", len(order), len(ids))
	}
	// A mail that already had a slot, or was the last failed probe, may come first.
	late := 0
	for _, to := range order[min(codes+100, len(order)):] {
		if strings.Contains(to, "code-") {
			late++
		}
	}
	if late > codes/100 {
		t.Errorf("%d of %d codes were sent after other mails", late, codes)
	}
}

// commands returns how many commands Redis has run.
func (h *fixture) commands() int {
	h.t.Helper()
	info, err := h.redis.Client.Info(h.ctx, "stats").Result()
	if err != nil {
		h.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(info, "total_commands_processed:")
	number, _, _ := strings.Cut(rest, "\r\n")
	n, err := strconv.Atoi(number)
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

// TestWorker_RelaysHaveTheirOwnHeaders: the lines that turn a provider's link rewriting off go through that provider alone.
func TestWorker_RelaysHaveTheirOwnHeaders(t *testing.T) {
	h := newFixture(t)
	h.stop()
	h.relays[0].Headers = []string{"X-Mailgun-Track: no", `X-SMTPAPI: {"filters":{}}`}
	h.start()
	h.until(h.send(tasks.Mail{Kind: tasks.Key, To: "alice@example.com"}), tasks.Accepted)
	mail := h.env.Messages()[0]
	if mail.Defect != "" || mail.Header.Get("X-Mailgun-Track") != "no" || mail.Header.Get("X-SMTPAPI") != `{"filters":{}}` || mail.Header.Get("From") == "" {
		t.Errorf("got %v, %q", mail.Header, mail.Defect)
	}
}

// TestWorker_RecordsWhatTheRelaySaid: an operator needs the server's own words, without the address.
func TestWorker_RecordsWhatTheRelaySaid(t *testing.T) {
	h := newFixture(t)
	id := h.send(tasks.Mail{Kind: tasks.Key, To: "alice+550@example.com"})
	s := h.until(id, tasks.Refused)
	if s.RelaySaid == "" || strings.Contains(s.RelaySaid, "alice") || len(s.RelaySaid) > 300 {
		t.Errorf("the relay said %q", s.RelaySaid)
	}
	waitUntil(t, h.ctx, "the log has it", func() bool {
		return h.logs.FilterField(zap.String("said", s.RelaySaid)).Len() == 1
	})
}
