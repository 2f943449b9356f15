package worker_test

import (
	"testing"
	"time"

	"example.com/securemail/tasks"
)

// TestARedisThatAnswersErrorsIsNotAskedWithoutPause: asynq alone asks it ten thousand times a second.
func TestARedisThatAnswersErrorsIsNotAskedWithoutPause(t *testing.T) {
	h := newHouse(t)
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
