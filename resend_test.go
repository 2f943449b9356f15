package securemail_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"example.com/securemail"
	"example.com/securemail/internal/credential"
	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/record"
	"example.com/securemail/tasks"
)

// open opens the queued task of that id, as a worker does. For a resend it reads the mail from the
// record.
func (h *fixture) open(taskID string) (tasks.Task, *record.Attempt, error) {
	h.Helper()
	ring, err := keyring.Load(h.ring)
	h.must(err)
	info, err := asynq.NewInspectorFromRedisClient(h.redis).GetTaskInfo(tasks.Queue, taskID)
	if err != nil {
		info, err = asynq.NewInspectorFromRedisClient(h.redis).GetTaskInfo(tasks.QueueCodes, taskID)
	}
	h.must(err)
	kid, key := ring.Active()
	payload := info.Payload
	task, err := tasks.ParseTask(info.Type, payload)
	h.must(err)
	n := task.Resends
	if n > 0 {
		kept, err := h.records.Kept(h.Context(), task.ID)
		h.must(err)
		kid = kept.KeyID
		key, _ = ring.Key(kid)
		payload, err = credential.Unseal(key, credential.Binding{Use: credential.UseMail, ID: task.ID, Purpose: kept.Purpose, KeyID: kid}, kept.Sealed)
		h.must(err)
		task, err = tasks.ParseTask(info.Type, payload)
		h.must(err)
	}
	sealed, err := credential.Seal(key, credential.Binding{Use: credential.UseMail, ID: task.ID, Purpose: task.Mail.Purpose, KeyID: kid}, payload)
	h.must(err)
	m := record.Entry{ID: task.ID, Kind: task.Mail.Kind, Purpose: task.Mail.Purpose, Digits: task.Mail.Digits, Bound: len(task.Session) > 0, Seed: task.Seed,
		KeyID: kid, CreatedAt: task.CreatedAt, ExpiresAt: task.ExpiresAt, Address: record.AddressTag(ring.Recipients(), task.ID, task.Mail.To),
		Fingerprint: task.Fingerprint, Sealed: sealed, Resends: n}
	m.Sign(key)
	if m.Kind == tasks.TOTP {
		secret, err := credential.Derive(key, credential.Params{Kind: m.Kind, ID: m.ID, Purpose: m.Purpose, To: task.Mail.To, Seed: m.Seed})
		h.must(err)
		m.TOTP, err = credential.Seal(key, credential.Binding{Use: credential.UseTOTP, ID: m.ID, Purpose: m.Purpose, To: task.Mail.To, KeyID: kid},
			[]byte(secret.SharedSecret().Reveal()))
		h.must(err)
	}
	a, err := h.records.Open(h.Context(), m)
	return task, a, err
}

// send queues a mail, marks it as accepted, and returns the right answer.
func (h *fixture) send() answer {
	h.Helper()
	return h.sent(tasks.Mail{Kind: tasks.Key, To: alice, Purpose: "sign-in", Locale: "de", Vars: map[string]string{"name": "Alice"}})
}

// sent is send for a mail of the test's own.
func (h *fixture) sent(m tasks.Mail) answer {
	h.Helper()
	id := h.queue(m)
	task, a, err := h.open(id)
	h.must(err)
	h.accept(a)
	return answer{tasks.Ref{ID: id, Purpose: m.Purpose, To: m.To, Session: m.Session}, h.secretOf(task, a)}
}

func (h *fixture) accept(a *record.Attempt) {
	h.Helper()
	h.must(h.records.Accept(h.Context(), a, record.Result{Code: 250}))
}

func (h *fixture) secretOf(task tasks.Task, a *record.Attempt) string {
	h.Helper()
	ring, err := keyring.Load(h.ring)
	h.must(err)
	key, _ := ring.Key(a.KeyID)
	secret, err := credential.Derive(key, credential.Params{Kind: task.Mail.Kind, ID: task.ID, Purpose: task.Mail.Purpose,
		To: task.Mail.To, Seed: a.Seed, Digits: a.Digits, Session: task.Session})
	h.must(err)
	return secret.Display().Reveal()
}

func TestResend_KeepsTheSecret(t *testing.T) {
	h := newFixture(t)
	sender, err := securemail.NewClient(h.rdb) // Resend needs no key ring
	h.must(err)
	answer := h.send()
	first, err := h.client.Status(t.Context(), answer.ID)
	h.must(err)
	if got := resultOf(check(h.client, t.Context(), wrong(answer))); got != "wrong, 4 left" {
		t.Errorf("got %s", got)
	}
	_, err = keyring.Add(h.ring)
	h.must(err)
	for n := 1; n <= 3; n++ {
		h.must(sender.Resend(t.Context(), answer.ID))
		if s, err := sender.Status(t.Context(), answer.ID); err != nil || s.State != tasks.Queued || s.Resends != n || s.Tries != 0 {
			t.Errorf("after Resend %d: got %+v, %v", n, s, err)
		}
		h.must(sender.Resend(t.Context(), answer.ID)) // another call adds no sending
		task, a, err := h.open(fmt.Sprintf("%s.%d", answer.ID, n))
		h.must(err)
		if got := h.secretOf(task, a); got != answer.Typed {
			t.Errorf("sending %d carries another secret", n)
		}
		if a.Resends != n || a.Try != 1 || task.Mail.Locale != "de" || task.Mail.Vars["name"] != "Alice" || !a.ExpiresAt.Equal(first.ExpiresAt) {
			t.Errorf("sending %d: got %+v of %+v", n, a, task.Mail)
		}
		if err := sender.Resend(t.Context(), answer.ID); !errors.Is(err, tasks.ErrStillSending) {
			t.Errorf("while sending %d is open: got %v, want ErrStillSending", n, err)
		}
		// The first task sends nothing when it is delivered again.
		var ended *record.EndedError
		if _, _, err := h.open(answer.ID); !errors.As(err, &ended) {
			t.Errorf("the first task during sending %d: got %v, want ended", n, err)
		}
		h.must(h.records.Accept(t.Context(), a, record.Result{Code: 250}))
	}
	if got := resultOf(check(h.client, t.Context(), wrong(answer))); got != "wrong, 3 left" {
		t.Errorf("after a resend: got %s, want as many answers left as before", got)
	}
	if got := resultOf(check(h.client, t.Context(), answer)); got != "right" {
		t.Errorf("got %s, want right", got)
	}
	if err := sender.Resend(t.Context(), answer.ID); !errors.Is(err, tasks.ErrRejected) {
		t.Errorf("a resend of a used secret: got %v, want rejected", err)
	}
	if n := h.redis.Exists(t.Context(), "securemail:{"+answer.ID+"}:mail").Val(); n != 0 {
		t.Error("the sealed mail is kept after the secret was used")
	}
}

func TestResend_IsOneInParallel(t *testing.T) {
	h := newFixture(t)
	answer := h.send()
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if err := h.client.Resend(context.Background(), answer.ID); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	queued, err := asynq.NewInspectorFromRedisClient(h.redis).ListPendingTasks(tasks.Queue)
	h.must(err)
	var ids []string
	for _, task := range queued {
		ids = append(ids, task.ID)
		if strings.Contains(task.ID, ".") && string(task.Payload) != `{"v":2,"id":"`+answer.ID+`","resend":1}` {
			t.Errorf("a resend carries %s", task.Payload)
		}
	}
	if len(ids) != 2 { // the task of the first sending is left, because no worker runs
		t.Errorf("the queue has %q, want the mail and one resend", ids)
	}
}

// The resend was interrupted after its task was queued and before its record was written. A worker
// begins the sending nevertheless, and so does another call.
func TestResend_ContinuesAfterAnInterruption(t *testing.T) {
	h := newFixture(t)
	answer := h.send()
	h.must(h.client.Resend(t.Context(), answer.ID))
	h.must(h.redis.HSet(t.Context(), "securemail:{"+answer.ID+"}", "state", "accepted", "sending", 0).Err())
	_, a, err := h.open(answer.ID + ".1")
	if err != nil || a.Resends != 1 || a.Try != 1 {
		t.Errorf("got %+v, %v; want sending 1", a, err)
	}
}

func TestResend_RefusesWhatCannotBeSentAgain(t *testing.T) {
	h := newFixture(t)
	for name, kill := range map[string]func(answer){
		"revoked": func(a answer) { h.must(h.client.Revoke(t.Context(), a.ID)) },
		"locked": func(a answer) {
			for range 5 {
				check(h.client, t.Context(), wrong(a))
			}
		},
		"expired": func(a answer) {
			h.must(h.redis.PExpireAt(t.Context(), "securemail:{"+a.ID+"}:mail", time.Now()).Err())
		},
	} {
		answer := h.send()
		kill(answer)
		if err := h.client.Resend(t.Context(), answer.ID); !errors.Is(err, tasks.ErrRejected) {
			t.Errorf("%s: got %v, want rejected", name, err)
		}
	}
	queued := h.queue(tasks.Mail{Kind: tasks.Key, To: alice})
	for id, want := range map[string]error{queued: tasks.ErrStillSending, "no id": tasks.ErrNotFound, strings.Repeat("0", 26): tasks.ErrNotFound} {
		if err := h.client.Resend(t.Context(), id); !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", id, err, want)
		}
	}
}

// The secret is revoked while the resend is queued.
func TestResend_IsNotSentAfterRevoke(t *testing.T) {
	h := newFixture(t)
	answer := h.send()
	h.must(h.client.Resend(t.Context(), answer.ID))
	h.must(h.client.Revoke(t.Context(), answer.ID))
	s, err := h.client.Status(t.Context(), answer.ID)
	if err != nil || s.State != tasks.Revoked || s.Resends != 1 {
		t.Errorf("got %+v, %v; want sending 1 revoked", s, err)
	}
	kept, err := h.records.Kept(t.Context(), answer.ID)
	if err != nil || len(kept.Sealed) != 0 {
		t.Errorf("the sealed mail is still there: %v", err)
	}
}
