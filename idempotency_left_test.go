package securemail_test

import (
	"context"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"example.com/securemail/internal/record"
	"example.com/securemail/tasks"
)

// finish runs the queued tasks as a worker does, until that of this id has ended with err.
func (h *fixture) finish(taskID string, err error) {
	h.Helper()
	handler := asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return err })
	server := asynq.NewServerFromRedisClient(h.redis, asynq.Config{Queues: map[string]int{tasks.Queue: 1, tasks.QueueCodes: 1},
		TaskCheckInterval: 5 * time.Millisecond, LogLevel: asynq.FatalLevel})
	h.must(server.Start(handler))
	defer server.Shutdown()
	want := asynq.TaskStateCompleted
	if err != nil {
		want = asynq.TaskStateArchived
	}
	for limit := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		for _, queue := range []string{tasks.Queue, tasks.QueueCodes} {
			if info, err := asynq.NewInspectorFromRedisClient(h.redis).GetTaskInfo(queue, taskID); err == nil && info.State == want {
				return
			}
		}
		if time.Now().After(limit) {
			h.Fatalf("the task %s did not end", taskID)
		}
	}
}

// TestSend_ALeftoverOfAsynqSwallowsNoMail: asynq keeps an archived task for 90 days, longer than any record lives,
// under the id that the key's next mail needs; so does it with a resend's.
func TestSend_ALeftoverOfAsynqSwallowsNoMail(t *testing.T) {
	for name, end := range map[string]error{"completed": nil, "archived": asynq.SkipRetry} {
		t.Run(name, func(t *testing.T) {
			h := newFixture(t)
			for _, m := range []tasks.Mail{{Kind: tasks.Key, To: alice, IdempotencyKey: "key"}, {Kind: tasks.Code, To: alice, IdempotencyKey: "code"}} {
				a := h.sent(m)
				h.must(h.client.Resend(t.Context(), a.ID))
				h.finish(a.ID, end)
				h.finish(a.ID+".1", end)
				record := "securemail:{" + a.ID + "}"
				h.must(h.redis.Del(t.Context(), record, record+":mail").Err()) // the workers' record_retention is shorter than the reservation
				again, err := h.client.Send(t.Context(), m)
				if err != nil || again.Replayed || again.ID != a.ID {
					t.Errorf("%s: got %+v, %v; want a new mail", m.Kind, again, err)
				}
				if ids := h.queued(); len(ids) != 1 || ids[0] != a.ID {
					t.Errorf("%s: %q are queued, want the mail", m.Kind, ids)
				}
				task, attempt, err := h.open(a.ID)
				h.must(err)
				if h.secretOf(task, attempt) == a.Typed {
					t.Errorf("%s: a new mail has the secret of the old one", m.Kind)
				}
				h.accept(attempt)
				h.finish(a.ID, nil)
				h.must(h.client.Resend(t.Context(), a.ID))
				if ids := h.queued(); len(ids) != 1 || ids[0] != a.ID+".1" {
					t.Errorf("%s: %q are queued, want the resend", m.Kind, ids)
				}
				h.finish(a.ID+".1", nil)
			}
		})
	}
}

// TestSend_AnotherKindsLeftoverIsNoReplay: a key can have been that of a code, which left its task in the other
// queue.
func TestSend_AnotherKindsLeftoverIsNoReplay(t *testing.T) {
	h := newFixture(t)
	a := h.sent(tasks.Mail{Kind: tasks.Code, To: alice, IdempotencyKey: "k"})
	h.finish(a.ID, asynq.SkipRetry)
	record := "securemail:{" + a.ID + "}"
	h.must(h.redis.Del(t.Context(), record, record+":mail", record+":reserved").Err())
	m := tasks.Mail{Kind: tasks.Key, To: alice, IdempotencyKey: "k"}
	if receipt, err := h.client.Send(t.Context(), m); err != nil || receipt.Replayed {
		t.Errorf("got %+v, %v; want a new mail", receipt, err)
	}
	h.replays(h.client, m, a.ID, tasks.CredentialNew)
	if s, err := h.client.Status(t.Context(), a.ID); err != nil || s.State != tasks.Queued {
		t.Errorf("got %+v, %v; want queued", s, err)
	}
}

// TestSend_TheTaskAndTheRecordKnowWhoseTheKeyIs where the reservation does not: a client of asynq makes none, and on
// a Cluster a failover can lose it alone. The call that is refused must leave none behind.
func TestSend_TheTaskAndTheRecordKnowWhoseTheKeyIs(t *testing.T) {
	h := newFixture(t)
	m := tasks.Mail{Kind: tasks.Key, To: alice, IdempotencyKey: "k"}
	other := m
	other.To = "bob@example.com"
	task, id, err := tasks.NewTask(m)
	h.must(err)
	_, err = asynq.NewClientFromRedisClient(h.redis).EnqueueContext(t.Context(), task)
	h.must(err)
	h.refusesTheKey(h.client, other)
	h.replays(h.client, m, id, tasks.CredentialNew)

	_, a, err := h.open(id)
	h.must(err)
	h.accept(a)
	h.must(h.redis.Del(t.Context(), "securemail:{"+id+"}:reserved").Err())
	h.refusesTheKey(h.client, other)
	h.replays(h.client, m, id, tasks.CredentialLive)
	h.refusesTheKey(h.client, other)
	// One that may only send reserved it for another mail.
	h.must(h.redis.Set(t.Context(), "securemail:{"+id+"}:reserved", "another mail", time.Hour).Err())
	h.replays(h.client, m, id, tasks.CredentialLive)
}

// TestSend_AReplayOfAMailThatWasRefusedUnreadIsNoOtherMail: a worker that cannot rely on a task writes a record
// without a fingerprint.
func TestSend_AReplayOfAMailThatWasRefusedUnreadIsNoOtherMail(t *testing.T) {
	h := newFixture(t)
	m := tasks.Mail{Kind: tasks.Key, To: alice, IdempotencyKey: "k"}
	id := h.queue(m)
	now := time.Now()
	_, err := h.records.EndUnopened(t.Context(), record.Entry{ID: id, CreatedAt: now, ExpiresAt: now}, tasks.Refused, record.Result{Reason: tasks.ReasonMalformed})
	h.must(err)
	receipt, err := h.client.Send(t.Context(), m)
	if err != nil || receipt.ID != id || !receipt.Replayed || receipt.Credential.Verifiable() {
		t.Errorf("got %+v, %v; want a replay, and nothing to verify", receipt, err)
	}
	m.To = "bob@example.com"
	h.refusesTheKey(h.client, m)
}
