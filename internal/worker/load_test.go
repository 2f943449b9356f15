package worker_test

import (
	"context"
	"errors"
	"os"
	"strconv"
	"testing"
	"time"

	"example.com/securemail"
	"example.com/securemail/internal/credential"
	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/limits"
	"example.com/securemail/internal/submission"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// mails is how many mails the tests below send: few, or as many as the environment says.
func mails(t *testing.T, standard int) int {
	t.Helper()
	text := os.Getenv("MAILS")
	if text == "" {
		return standard
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// sinkHouse is a house whose relay keeps no more of a mail than its Message-ID, and has a limit of time for many mails.
func sinkHouse(t *testing.T) (*fixture, *testserver.Sink) {
	t.Helper()
	h := newFixture(t)
	h.stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	h.ctx = ctx
	sink := testserver.StartSink(t)
	h.relays = []submission.Relay{sinkRelay("sink", sink)}
	return h, sink
}

// TestAFloodToOneRecipient: what goes out is the limit, every other mail says why it did not, and none of them counts for what the
// relay takes a day.
func TestAFloodToOneRecipient(t *testing.T) {
	h, sink := sinkHouse(t)
	h.limited, h.relayLimit = true, &limits.Limit{PerDay: 20}
	sender, err := securemail.NewClient(h.redis.As(testserver.Producer)) // without a key ring, so that the worker has it all
	if err != nil {
		t.Fatal(err)
	}
	n := mails(t, 500)
	ids := make([]string, n)
	for i := range ids {
		receipt, err := sender.Send(h.ctx, tasks.Mail{Kind: tasks.Key, To: "alice@example.com"})
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = receipt.ID
	}
	h.start()
	states := map[tasks.State]int{}
	for _, id := range ids {
		for s, err := range h.client.Watch(h.ctx, id) {
			if err != nil {
				t.Fatal(err)
			}
			if s.State == tasks.Accepted || s.Reason == "limited" {
				states[s.State]++
				break
			}
		}
	}
	// One goes now, nine more have their turn within the next minutes, and the hour is full.
	if states[tasks.Accepted] != 1 || states[tasks.Deferred] != 9 || states[tasks.Refused] != n-10 {
		t.Errorf("of %d mails: %v; want 1 accepted, 9 deferred, the rest refused, all limited", n, states)
	}
	if got := len(sink.Taken()); got != 1 {
		t.Errorf("%d mails went out, want 1", got)
	}
	h.until(h.send(tasks.Mail{Kind: tasks.Key, To: "bob@example.com"}), tasks.Accepted)
}

// TestARelayThatIsDownForACodesWholeLifeGetsNoMailForIt when it is back.
func TestARelayThatIsDownForACodesWholeLifeGetsNoMailForIt(t *testing.T) {
	h, sink := sinkHouse(t)
	sink.Down()
	h.start()
	id := h.send(tasks.Mail{Kind: tasks.Code, To: "alice@example.com", ExpiresIn: 10 * time.Second})
	if s := h.until(id, tasks.Expired); time.Now().After(s.ExpiresAt.Add(time.Second)) {
		t.Errorf("it ended %v after its expiry", time.Since(s.ExpiresAt))
	}
	sink.Up()
	after := h.send(tasks.Mail{Kind: tasks.Code, To: "bob@example.com"})
	h.until(after, tasks.Accepted)
	if got := len(sink.Taken()); got != 1 {
		t.Errorf("%d mails went out, want one, to the other recipient", got)
	}
}

// TestTheRingRotatesUnderLoad: keys are added and made active while mails are sent and checked, and the old ones are
// removed when no living mail needs them any more.
func TestTheRingRotatesUnderLoad(t *testing.T) {
	h, _ := sinkHouse(t)
	h.start()
	n := mails(t, 600)
	old, err := keyring.Load(h.ring)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := old.Active()
	var ids []string
	for range 3 {
		for range n / 3 {
			ids = append(ids, h.send(tasks.Mail{Kind: tasks.Key, To: "alice@example.com", Purpose: "rotate"}))
		}
		kid, err := keyring.Add(h.ring)
		if err != nil {
			t.Fatal(err)
		}
		if err := keyring.Activate(h.ring, kid); err != nil {
			t.Fatal(err)
		}
	}
	h.allAccepted(ids)
	ring, err := keyring.Load(h.ring)
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]int{}
	for _, id := range ids {
		r, err := h.redis.Client.HMGet(h.ctx, "securemail:{"+id+"}", "kid", "seed").Result()
		if err != nil {
			t.Fatal(err)
		}
		kid := r[0].(string)
		used[kid]++
		key, found := ring.Key(kid)
		if !found {
			t.Fatalf("the ring has no key %s", kid)
		}
		c, err := credential.Derive(key, credential.Params{Kind: tasks.Key, ID: id, Purpose: "rotate", To: "alice@example.com", Seed: []byte(r[1].(string))})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.client.Verify(h.ctx, tasks.Ref{ID: id, Purpose: "rotate", To: "alice@example.com"}, c.Display().Reveal()); err != nil {
			t.Fatalf("a mail under the key %s: %v", kid, err)
		}
	}
	if used[first] == 0 {
		t.Errorf("no mail began under the first key; the keys were used so: %v", used)
	}
	// All are used up, so nothing needs the first key; without it, a new mail is sent and checked as before.
	if err := keyring.Remove(h.ring, first); err != nil {
		t.Fatal(err)
	}
	h.allAccepted([]string{h.send(tasks.Mail{Kind: tasks.Key, To: "alice@example.com"})})
	if err := h.client.Verify(h.ctx, tasks.Ref{ID: ids[0], Purpose: "rotate", To: "alice@example.com"}, "x"); !errors.Is(err, tasks.ErrRejected) && !errors.Is(err, tasks.ErrKeyRing) {
		t.Errorf("an answer to a used mail whose key is gone: got %v, want rejected", err)
	}
}
