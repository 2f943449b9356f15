package worker_test

import (
	"net"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"example.com/securemail/tasks"
)

// asynq alone would send ten thousand commands a second.
func TestWorker_PausesWhileRedisAnswersWithErrors(t *testing.T) {
	h := newFixture(t)
	// The server has a task to retry.
	id := h.send(tasks.Mail{Kind: tasks.Key, To: "alice+450@example.com"})
	h.until(id, tasks.Deferred)
	h.redis.Client.ConfigSet(h.ctx, "maxmemory", "1")
	before := h.commands()
	const spell = 2 * time.Second
	time.Sleep(spell) // the time that is measured
	if got := h.commands() - before; got > 300 {
		t.Errorf("%d commands in %v of errors, want at most 300", got, spell)
	}
	h.redis.Client.ConfigSet(h.ctx, "maxmemory", "0")
	h.until(h.send(tasks.Mail{Kind: tasks.Key, To: "bob@example.com"}), tasks.Accepted)
}

// asynq cancels the context of a task whose lease expired, as it does when an operator cancels the
// task. Another worker may have the task by then.
func TestWorker_StopsAtOnceWhenItsLeaseIsLost(t *testing.T) {
	h := newFixture(t)
	h.stop()
	mute, err := net.Listen("tcp", "127.0.0.1:0") // accepts connections and sends nothing
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	h.relays[0].Port = mute.Addr().(*net.TCPAddr).Port
	h.start()
	id := h.send(tasks.Mail{Kind: tasks.Key, To: "alice@example.com"})
	h.until(id, tasks.Sending)
	inspector := asynq.NewInspectorFromRedisClient(h.redis.Client)
	waitUntil(t, h.ctx, "the attempt ends", func() bool {
		if err := inspector.CancelProcessing(id); err != nil {
			t.Fatal(err)
		}
		s, err := h.client.Status(h.ctx, id)
		if err == nil && s.State == tasks.Deferred && (s.Reason != "stopping" || s.Tries != 0) {
			t.Fatalf("got %+v, want deferred for stopping, and no attempt used", s)
		}
		return err == nil && s.State == tasks.Deferred
	})
}
