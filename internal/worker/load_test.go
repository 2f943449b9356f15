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

// mails returns how many mails a test sends: standard, or the number in the variable MAILS.
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

// sinkFixture returns a fixture with a sink as its relay, which keeps only Message-IDs, and with
// enough time for many mails.
func sinkFixture(t *testing.T) (*fixture, *testserver.Sink) {
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

// The recipient's limits decide how many mails are sent. Every other mail has the reason, and none
// of them counts towards the relay's daily limit.
func TestLimits_BoundAFloodToOneRecipient(t *testing.T) {
	h, sink := sinkFixture(t)
	h.mailLimits, h.relayLimit = tasks.DefaultLimits(), &limits.Limit{PerDay: 20}
	// Without a key ring the client does not check the limits, and the worker must.
	sender, err := securemail.NewClient(h.redis.As(testserver.Producer))
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
	// One is sent now, nine more within the next minutes, and then the limit of the hour is
	// reached.
	if states[tasks.Accepted] != 1 || states[tasks.Deferred] != 9 || states[tasks.Refused] != n-10 {
		t.Errorf("of %d mails: %v; want 1 accepted, 9 deferred, the rest refused, all limited", n, states)
	}
	if got := len(sink.Taken()); got != 1 {
		t.Errorf("%d mails were sent, want 1", got)
	}
	h.until(h.send(tasks.Mail{Kind: tasks.Key, To: "bob@example.com"}), tasks.Accepted)
}

// The relay is back after the code has expired.
func TestWorker_SendsNoCodeAfterItsLifeWhenTheRelayIsBack(t *testing.T) {
	h, sink := sinkFixture(t)
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
		t.Errorf("%d mails were sent, want one, to the other recipient", got)
	}
}

// Keys are added and activated while mails are sent and verified. Old keys are removed when no live
// secret needs them.
func TestKeyRing_RotatesUnderLoad(t *testing.T) {
	h, _ := sinkFixture(t)
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
		t.Errorf("no mail was made with the first key; the keys were used as follows: %v", used)
	}
	// All secrets are used up, so none needs the first key. Without it, a new mail is sent and
	// verified as before.
	if err := keyring.Remove(h.ring, first); err != nil {
		t.Fatal(err)
	}
	h.allAccepted([]string{h.send(tasks.Mail{Kind: tasks.Key, To: "alice@example.com"})})
	if err := h.client.Verify(h.ctx, tasks.Ref{ID: ids[0], Purpose: "rotate", To: "alice@example.com"}, "00000000"); !errors.Is(err, tasks.ErrRejected) && !errors.Is(err, tasks.ErrKeyRing) {
		t.Errorf("an answer to a used secret whose key is removed: got %v, want rejected", err)
	}
}
