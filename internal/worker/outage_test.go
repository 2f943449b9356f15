package worker_test

import (
	"net"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"example.com/securemail/tasks"
)

// TestARedisThatAnswersErrorsIsNotAskedWithoutPause: asynq alone asks it ten thousand times a second.
func TestARedisThatAnswersErrorsIsNotAskedWithoutPause(t *testing.T) {
	h := newFixture(t)
	id := h.send(tasks.Mail{Kind: tasks.Key, To: "alice+450@example.com"}) // so that there is something to do
	h.until(id, tasks.Deferred)
	h.redis.Client.ConfigSet(h.ctx, "maxmemory", "1")
	before := h.commands()
	const spell = 2 * time.Second
	time.Sleep(spell) // this is what is measured, not waited for
	if got := h.commands() - before; got > 300 {
		t.Errorf("%d commands in %v of errors, want at most 300", got, spell)
	}
	h.redis.Client.ConfigSet(h.ctx, "maxmemory", "0")
	h.until(h.send(tasks.Mail{Kind: tasks.Key, To: "bob@example.com"}), tasks.Accepted)
}

// TestWhoLosesTheLeaseLeavesAtOnce: asynq cancels the context of a task whose lease ended, as it does of one that somebody
// cancels. Another worker may have the task by then.
func TestWhoLosesTheLeaseLeavesAtOnce(t *testing.T) {
	h := newFixture(t)
	h.stop()
	mute, err := net.Listen("tcp", "127.0.0.1:0") // what connects to it hears nothing
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	h.relays[0].Port = mute.Addr().(*net.TCPAddr).Port
	h.start()
	id := h.send(tasks.Mail{Kind: tasks.Key, To: "alice@example.com"})
	h.until(id, tasks.Sending)
	inspector := asynq.NewInspectorFromRedisClient(h.redis.Client)
	waitUntil(t, h.ctx, "the try ends", func() bool {
		if err := inspector.CancelProcessing(id); err != nil {
			t.Fatal(err)
		}
		s, err := h.client.Status(h.ctx, id)
		if err == nil && s.State == tasks.Deferred && (s.Reason != "stopping" || s.Tries != 0) {
			t.Fatalf("got %+v, want deferred for stopping, at no cost", s)
		}
		return err == nil && s.State == tasks.Deferred
	})
}
