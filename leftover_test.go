package securemail_test

import (
	"errors"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/record"
	"example.com/securemail/tasks"
)

// TestSend_ATaskThatHasFinishedSwallowsNoLaterMail: asynq keeps an archived task for 90 days, and the record is gone after some 8.
// Send with the same idempotency key returned nil, and nothing was mailed. Status said queued for ever.
func TestSend_ATaskThatHasFinishedSwallowsNoLaterMail(t *testing.T) {
	f := newForge(t)
	inspector := asynq.NewInspectorFromRedisClient(f.redis)
	for to, test := range map[string]struct {
		state asynq.TaskState
		end   tasks.State
	}{"bob+550@example.com": {asynq.TaskStateArchived, tasks.Refused}, "carol@example.com": {asynq.TaskStateCompleted, tasks.Accepted}} {
		m := tasks.Mail{Kind: tasks.Key, To: to, IdempotencyKey: "the-order-of-" + to}
		for _, gone := range []string{"the record", "the record and its reservation"} {
			id := f.sent(m, test.end)
			key := "securemail:{" + id + "}"
			leave := func() {
				t.Helper()
				f.eventually("asynq has finished with it", func() bool {
					info, err := inspector.GetTaskInfo(tasks.Queue, id)
					return err == nil && info.State == test.state
				})
				f.must(f.redis.Del(t.Context(), key, key+":mail").Err())
			}
			leave()
			if gone != "the record" {
				f.must(f.redis.Del(t.Context(), key+":reserved").Err())
			}
			if s, err := f.client.Status(t.Context(), id); !errors.Is(err, tasks.ErrNotFound) {
				t.Errorf("%s: Status: got %+v, %v; want ErrNotFound", test.state, s, err)
			}
			if s, err := f.client.Wait(t.Context(), id); !errors.Is(err, tasks.ErrNotFound) {
				t.Errorf("%s: Wait: got %+v, %v; want ErrNotFound", test.state, s, err)
			}
			if err := f.client.Resend(t.Context(), id); !errors.Is(err, tasks.ErrNotFound) {
				t.Errorf("%s: Resend: got %v, want ErrNotFound", test.state, err)
			}
			if err := f.client.Revoke(t.Context(), id); !errors.Is(err, tasks.ErrNotFound) || f.redis.Exists(t.Context(), key).Val() > 0 {
				t.Errorf("%s: Revoke: got %v, want ErrNotFound, and no record", test.state, err)
			}
			if r, err := f.client.Send(t.Context(), m); err != nil || r.ID != id || r.Replayed {
				t.Errorf("%s, without %s: Send: got %+v, %v; want a new mail", test.state, gone, r, err)
			}
			if s, err := f.client.Wait(t.Context(), id); err != nil || s.State != test.end {
				t.Errorf("%s, without %s: the new mail is %s, %v; want %s", test.state, gone, s.State, err, test.end)
			}
			leave()
			f.must(f.redis.Del(t.Context(), key+":reserved").Err())
		}
	}
	mails := 0
	for _, m := range f.env.Messages() {
		if m.To == "carol@example.com" {
			mails++
		}
	}
	if mails != 4 {
		t.Errorf("%d mails arrived, want one for each Send, 4", mails)
	}
}

// TestResend_InTheLastFifthOfALifeIsRejected: no worker would send it. Resend returned nil, and the accepted mail became expired.
func TestResend_InTheLastFifthOfALifeIsRejected(t *testing.T) {
	h := newFixture(t)
	for _, test := range []struct {
		age  time.Duration
		want string
	}{{7 * time.Minute, "right"}, {9 * time.Minute, "rejected"}} {
		created := time.Now().Add(-test.age)
		m := record.Entry{ID: "life-of-" + test.age.String() + "-minutes", Kind: tasks.Code, Purpose: "sign-in", Digits: 8, Seed: []byte("s"),
			CreatedAt: created, ExpiresAt: created.Add(10 * time.Minute), Sealed: []byte("x")}
		a, err := h.records.Open(t.Context(), m)
		h.must(err)
		h.must(h.records.Accept(t.Context(), a, record.Result{Code: 250}))
		if got := resultOf(h.client.Resend(t.Context(), m.ID)); got != test.want {
			t.Errorf("after %v of 10 minutes: got %s, want %s", test.age, got, test.want)
		}
		_, err = asynq.NewInspectorFromRedisClient(h.redis).GetTaskInfo(tasks.QueueCodes, m.ID+".1")
		if queued := err == nil; queued != (test.want == "right") {
			t.Errorf("after %v of 10 minutes: a task is queued: %v", test.age, queued)
		}
		if s, err := h.client.Status(t.Context(), m.ID); err != nil || test.want == "rejected" && s.State != tasks.Accepted {
			t.Errorf("after %v of 10 minutes: got %s, %v", test.age, s.State, err)
		}
	}
}

// TestVerify_AcceptsTheMailWhoseRecordWasLostDuringARotation: a failover lost what Open had written, and the ring got another
// active key between two attempts. The person has the mail.
func TestVerify_AcceptsTheMailWhoseRecordWasLostDuringARotation(t *testing.T) {
	h := newFixture(t)
	id := h.queue(tasks.Mail{Kind: tasks.Key, To: alice, Purpose: "sign-in"})
	_, a, err := h.open(id)
	h.must(err)
	h.must(h.records.Defer(t.Context(), a, record.Result{Reason: tasks.ReasonNetwork}, time.Now(), true))
	kid, err := keyring.Add(h.ring)
	h.must(err)
	h.must(keyring.Activate(h.ring, kid))
	task, a, err := h.open(id)
	h.must(err)
	if a.KeyID == kid {
		t.Fatal("the ring was not rotated between the attempts")
	}
	h.must(h.redis.Del(t.Context(), "securemail:{"+id+"}", "securemail:{"+id+"}:mail").Err())
	h.must(h.records.Accept(t.Context(), a, record.Result{Code: 250}))
	s, err := h.client.Status(t.Context(), id)
	if err != nil || s.State != tasks.Accepted || s.Credential != tasks.CredentialLive || !s.ExpiresAt.Equal(task.ExpiresAt) {
		t.Errorf("got %+v, %v; want accepted and live", s, err)
	}
	if got := h.verify(answer{Ref: tasks.Ref{ID: id, To: alice, Purpose: "sign-in"}}, h.secretOf(task, a)); got != "right" {
		t.Errorf("what was mailed is %s, want right", got)
	}
}
