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

// archiveSize is how many tasks asynq keeps in its archive; it drops the oldest of more without a word.
const archiveSize = 10_000

// TestOutcomesOutliveTheArchive: the record says how every mail ended, also those that asynq has forgotten, and the counters
// agree with the records.
func TestOutcomesOutliveTheArchive(t *testing.T) {
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
	// Others fill it up meanwhile.
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
		t.Errorf("the records say %v, want %d refused and 1 accepted", states, n)
	}
	for state, want := range states {
		waitUntil(t, h.ctx, fmt.Sprintf("%v are counted as %s", want, state), func() bool { return h.counted(state) == want })
	}
}

// TestWordsThatAreNotUTF8StrandNoTask: asynq cannot write an error down that has such words in it, and would leave the task
// active, to be run again and again.
func TestWordsThatAreNotUTF8StrandNoTask(t *testing.T) {
	h, sink := sinkHouse(t)
	sink.Refuse("no \xff\xfe such \xc3 user")
	h.start()
	refused := h.send(tasks.Mail{Kind: tasks.Key, To: "alice@example.com"})
	h.until(refused, tasks.Refused)
	h.task(refused, asynq.TaskStateArchived)
	malformed, _ := payload(t, func(map[string]any) {})
	h.enqueue(malformed, tasks.Type, []byte("\xff\xfe{"))
	h.task(malformed, asynq.TaskStateArchived)
}

// counted is what the worker's counters say of mails that came to a state.
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
