package worker_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"example.com/securemail/tasks"
)

// archiveSize is how many tasks asynq keeps in its archive. It silently drops older ones.
const archiveSize = 10_000

// The record has the outcome of every mail, also of those whose task asynq has dropped, and the
// counters agree with the records.
func TestRecord_KeepsOutcomesThatTheArchiveDrops(t *testing.T) {
	h := newFixture(t)
	var cancel context.CancelFunc
	h.ctx, cancel = context.WithTimeout(context.Background(), 10*time.Minute) // for MAILS=10100
	defer cancel()
	n := mails(t, 100)
	refused := func(n int) (ids []string) {
		for i := range n {
			ids = append(ids, h.send(tasks.Mail{Kind: tasks.Key, To: fmt.Sprintf("m%d+550@example.com", i)}))
		}
		for _, id := range ids {
			h.until(id, tasks.Refused)
		}
		return ids
	}
	ids := refused(n / 2)
	for _, id := range ids {
		h.task(id, asynq.TaskStateArchived)
	}
	// Other tasks fill the archive.
	for range max(0, archiveSize-n/2) {
		other := redis.Z{Score: float64(time.Now().Add(time.Hour).Unix()), Member: fmt.Sprint("other-", h.redis.Client.Incr(h.ctx, "others").Val())}
		h.redis.Client.ZAdd(h.ctx, "asynq:{"+tasks.Queue+"}:archived", other)
	}
	ids = append(ids, refused(n-n/2)...)

	inspector := asynq.NewInspectorFromRedisClient(h.redis.Client)
	waitUntil(t, h.ctx, "the archive drops the oldest", func() bool {
		_, err := inspector.GetTaskInfo(tasks.Queue, ids[0])
		return errors.Is(err, asynq.ErrTaskNotFound)
	})
	ids = append(ids, h.send(tasks.Mail{Kind: tasks.Key, To: "alice@example.com"}))
	h.until(ids[n], tasks.Accepted)
	states := map[tasks.State]float64{}
	for _, id := range ids {
		s, err := h.client.Status(h.ctx, id)
		if err != nil {
			t.Fatalf("an outcome is gone: %v", err)
		}
		states[s.State]++
	}
	if states[tasks.Refused] != float64(n) || states[tasks.Accepted] != 1 {
		t.Errorf("the records have %v, want %d refused and 1 accepted", states, n)
	}
	for state, want := range states {
		waitUntil(t, h.ctx, fmt.Sprintf("%v are counted as %s", want, state), func() bool { return h.counted(state) == want })
	}
}

// asynq cannot store an error text that is not UTF-8. It would leave the task active and run it
// again and again.
func TestWorker_EndsATaskWhoseErrorIsNotUTF8(t *testing.T) {
	h, sink := sinkFixture(t)
	sink.Refuse("no \xff\xfe such \xc3 user")
	h.start()
	refused := h.send(tasks.Mail{Kind: tasks.Key, To: "alice@example.com"})
	h.until(refused, tasks.Refused)
	h.task(refused, asynq.TaskStateArchived)
	malformed, _ := payload(t, func(map[string]any) {})
	h.enqueue(malformed, tasks.Type, []byte("\xff\xfe{"))
	h.task(malformed, asynq.TaskStateArchived)
}

// counted returns how many runs with this state the worker's metrics count.
func (h *fixture) counted(state tasks.State) (sum float64) {
	h.t.Helper()
	families, err := h.metrics.Gather()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if f.GetName() == "securemail_runs_total" && labels["state"] == string(state) && labels["reason"] != "repeated" {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}
