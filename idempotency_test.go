package securemail_test

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"example.com/securemail"
	"example.com/securemail/tasks"
)

// queued returns the ids of the tasks that wait for a worker.
func (h *fixture) queued() (ids []string) {
	h.Helper()
	for _, queue := range []string{tasks.Queue, tasks.QueueCodes} {
		waiting, err := h.redis.LRange(h.Context(), "asynq:{"+queue+"}:pending", 0, -1).Result()
		h.must(err)
		ids = append(ids, waiting...)
	}
	return ids
}

// refusesTheKey checks that m is another mail than that which has its key.
func (h *fixture) refusesTheKey(c *securemail.Client, m tasks.Mail) {
	h.Helper()
	if receipt, err := c.Send(h.Context(), m); !errors.Is(err, tasks.ErrKeyReused) || receipt != (tasks.Receipt{}) {
		h.Errorf("another mail with the key: got %+v, %v; want ErrKeyReused", receipt, err)
	}
}

// replays checks that an earlier call has sent m, and returns its receipt.
func (h *fixture) replays(c *securemail.Client, m tasks.Mail, id string, want tasks.CredentialState) tasks.Receipt {
	h.Helper()
	receipt, err := c.Send(h.Context(), m)
	if err != nil || receipt.ID != id || !receipt.Replayed || receipt.Credential != want {
		h.Errorf("the same mail again: got %+v, %v; want %s, replayed, %s", receipt, err, id, want)
	}
	return receipt
}

// TestSend_NeverMailsTwoContentsUnderOneKey (IDM-02, IDM-03, IDM-04): a caller that reuses a key by mistake would
// believe that the second text was mailed, and one whose retry is spelled in another way would send two.
func TestSend_NeverMailsTwoContentsUnderOneKey(t *testing.T) {
	h := newFixture(t)
	base := tasks.Mail{Kind: tasks.Key, To: "A@example.net", IdempotencyKey: "k", Vars: map[string]string{"name": "A"}, ExpiresIn: time.Minute}
	changed := func(change func(*tasks.Mail)) tasks.Mail {
		m := base
		m.Vars = maps.Clone(base.Vars)
		change(&m)
		return m
	}
	first, err := h.client.Send(t.Context(), base)
	if err != nil || first.Replayed || first.Credential != tasks.CredentialNew {
		t.Fatalf("got %+v, %v; want a new mail", first, err)
	}
	for name, m := range map[string]tasks.Mail{
		"IDM-02 another recipient":  changed(func(m *tasks.Mail) { m.To = "b@example.net" }),
		"IDM-03 another text":       changed(func(m *tasks.Mail) { m.Vars["name"] = "B" }),
		"IDM-03 another life":       changed(func(m *tasks.Mail) { m.ExpiresIn = 5 * time.Minute }),
		"IDM-03 another kind":       changed(func(m *tasks.Mail) { m.Kind = tasks.Code }),
		"IDM-03 another purpose":    changed(func(m *tasks.Mail) { m.Purpose = "recovery" }),
		"IDM-03 a session":          changed(func(m *tasks.Mail) { m.Session = "a session of 16 bytes" }),
		"IDM-04 another local part": changed(func(m *tasks.Mail) { m.To = "a@example.net" }), // only its server may call it the same
	} {
		t.Run(name, func(t *testing.T) {
			h := *h
			h.TB = t
			h.refusesTheKey(h.client, m)
		})
	}
	for name, m := range map[string]tasks.Mail{
		"IDM-04 the same":            base,
		"IDM-04 capitals in domain":  changed(func(m *tasks.Mail) { m.To = "A@EXAMPLE.net" }),
		"IDM-04 defaults":            changed(func(m *tasks.Mail) { m.Purpose = "default" }),
		"IDM-04 a fraction":          changed(func(m *tasks.Mail) { m.ExpiresIn += time.Millisecond }),
		"IDM-04 where it comes from": changed(func(m *tasks.Mail) { m.Origin = tasks.Origin{IP: "192.0.2.1", At: time.Now().Add(-time.Minute)} }),
	} {
		t.Run(name, func(t *testing.T) {
			h := *h
			h.TB = t
			receipt := h.replays(h.client, m, first.ID, tasks.CredentialNew)
			if !receipt.ExpiresAt.Equal(first.ExpiresAt) || receipt.Reference != first.Reference {
				t.Errorf("got %+v, want the dates of %+v", receipt, first)
			}
		})
	}
	if ids := h.queued(); len(ids) != 1 {
		t.Errorf("%q are queued, want one mail", ids)
	}
}

// TestSend_SaysThatTheSecretIsDead (IDM-08): a client that pins one key would otherwise be told that its mail is on
// the way.
func TestSend_SaysThatTheSecretIsDead(t *testing.T) {
	h := newFixture(t)
	freshStep()
	for want, end := range map[tasks.CredentialState]func(answer){
		tasks.CredentialLive:     func(answer) {},
		tasks.CredentialVerified: func(a answer) { h.must(check(h.client, t.Context(), a)) },
		tasks.CredentialRevoked:  func(a answer) { h.must(h.client.Revoke(t.Context(), a.ID)) },
		tasks.CredentialLocked: func(a answer) {
			for range 5 {
				check(h.client, t.Context(), wrong(a))
			}
		},
		tasks.CredentialActive: func(a answer) { h.verify(a, authenticator{t, a.Typed}.code(0)) },
		tasks.CredentialExported: func(a answer) {
			h.verify(a, authenticator{t, a.Typed}.code(0))
			_, err := h.client.Export(t.Context(), a.Ref)
			h.must(err)
		},
	} {
		m := tasks.Mail{Kind: tasks.Key, To: string(want) + "@example.com", Purpose: "sign-in", IdempotencyKey: string(want)}
		if want == tasks.CredentialActive || want == tasks.CredentialExported {
			m.Kind = tasks.TOTP
		}
		a := h.sent(m)
		end(a)
		h.replays(h.client, m, a.ID, want)
	}
	// Nothing writes down that a secret has expired.
	m := tasks.Mail{Kind: tasks.Key, To: alice, IdempotencyKey: "expired"}
	a, later := h.sent(m), h.newClient()
	later.SetClock(func() time.Time { return time.Now().Add(25 * time.Hour) })
	h.replays(later, m, a.ID, tasks.CredentialExpired)
	// One that was revoked in the queue was never mailed.
	m.IdempotencyKey = "queued"
	id := h.queue(m)
	h.must(h.client.Revoke(t.Context(), id))
	h.replays(h.client, m, id, tasks.CredentialRevoked)
}

// TestSend_ACrashBeforeQueuingLosesNoMail (IDM-06): a key that answers "in progress" until its long expiry would.
// Here a call that has reserved the key promises nothing: the next one with the same mail queues it, at once and
// without a lock. Another mail is refused for as long as the key is reserved, because the call that died may live
// again.
func TestSend_ACrashBeforeQueuingLosesNoMail(t *testing.T) {
	h := newFixture(t)
	m := tasks.Mail{Kind: tasks.Key, To: alice, IdempotencyKey: "k"}
	task, err := m.Task(tasks.Making{Lives: tasks.DefaultLives(), Now: time.Now()})
	h.must(err)
	// This is all that a call has done until it queues.
	_, _, err = h.records.Reserve(t.Context(), task.ID, task.Fingerprint, task.ExpiresAt, task.CreatedAt)
	h.must(err)
	other := m
	other.To = "bob@example.com"
	h.refusesTheKey(h.client, other)
	if ids := h.queued(); len(ids) != 0 {
		t.Fatalf("%q are queued, want none", ids)
	}
	receipt, err := h.client.Send(t.Context(), m)
	if err != nil || receipt.Replayed || receipt.ID != task.ID {
		t.Errorf("got %+v, %v; want a new mail", receipt, err)
	}
	if ids := h.queued(); len(ids) != 1 || ids[0] != task.ID {
		t.Errorf("%q are queued, want one mail", ids)
	}
	h.replays(h.client, m, task.ID, tasks.CredentialNew)
	h.refusesTheKey(h.client, other)
}

// TestSend_AKeyIsRememberedAsLongAsItSays (IDM-11), which Mail.IdempotencyKey does: until seven days past the expiry.
// The case wants a new id after that. The plan's word is another: the id is the key's, and the mail that then has it
// is a new one.
func TestSend_AKeyIsRememberedAsLongAsItSays(t *testing.T) {
	h := newFixture(t)
	m := tasks.Mail{Kind: tasks.Key, To: alice, IdempotencyKey: "k"}
	a := h.sent(m)
	record := "securemail:{" + a.ID + "}"
	for _, key := range []string{record, record + ":reserved"} {
		if left := h.redis.TTL(t.Context(), key).Val(); left.Round(time.Hour) != 8*24*time.Hour {
			t.Errorf("%s lives for %v, want a day and seven", key, left)
		}
	}
	h.replays(h.client, m, a.ID, tasks.CredentialLive)
	h.finish(a.ID, nil)
	h.must(h.redis.Del(t.Context(), record, record+":mail", record+":reserved").Err())
	if _, err := h.client.Status(t.Context(), a.ID); !errors.Is(err, tasks.ErrNotFound) {
		t.Errorf("the old mail: got %v, want ErrNotFound", err)
	}
	other := m
	other.To = "bob@example.com"
	receipt, err := h.client.Send(t.Context(), other)
	if err != nil || receipt.Replayed || receipt.ID != a.ID {
		t.Errorf("afterwards: got %+v, %v; want a new mail with the id %s", receipt, err, a.ID)
	}
	h.refusesTheKey(h.client, m)
	if got := resultOf(check(h.client, t.Context(), a)); got != "rejected" {
		t.Errorf("the secret of the old mail: got %s, want rejected", got)
	}
}

// TestSend_IDsOfGuessableKeysNeedTheSecret: who guesses a key, such as an order's number, could otherwise ask about
// its mail, or take the key first.
func TestSend_IDsOfGuessableKeysNeedTheSecret(t *testing.T) {
	h := newFixture(t)
	with := func(secret string) *securemail.Client {
		c, err := securemail.NewClient(h.rdb, securemail.WithIdempotencySecret(secret))
		h.must(err)
		return c
	}
	m := tasks.Mail{Kind: tasks.Key, To: alice, IdempotencyKey: "order-1"}
	receipt, err := with("a secret of the shop").Send(t.Context(), m)
	h.must(err)
	h.replays(with("a secret of the shop"), m, receipt.ID, tasks.CredentialNew)
	_, plain, err := tasks.NewTask(m)
	h.must(err)
	other, err := with("a secret of a thief").Send(t.Context(), m)
	if err != nil || plain == receipt.ID || other.ID == receipt.ID || other.Replayed {
		t.Errorf("got %s with the secret, %s without, %s with another, %v; want three ids", receipt.ID, plain, other.ID, err)
	}
	for _, secret := range []string{"", "fifteen bytes !", strings.Repeat("x", 513)} {
		if _, err := securemail.NewClient(h.rdb, securemail.WithIdempotencySecret(secret)); err == nil {
			t.Errorf("a secret of %d bytes was accepted", len(secret))
		}
	}
}
