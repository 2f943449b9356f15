package worker_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/record"
	"example.com/securemail/tasks"
)

// finished waits until asynq has finished with each task of the queue, and none is left to run.
func (h *fixture) finished() {
	h.t.Helper()
	waitUntil(h.t, h.ctx, "no task waits or runs", func() bool {
		info, err := asynq.NewInspectorFromRedisClient(h.redis.Client).GetQueueInfo(tasks.Queue)
		return err == nil && info.Pending+info.Active+info.Scheduled+info.Retry == 0
	})
}

// TestResend_OnlyTheNextNumberIsSent: whoever can queue tasks and knows an id made the record unreadable with a huge number, left
// the owner's next resend queued for ever, and mailed past the limits.
func TestResend_OnlyTheNextNumberIsSent(t *testing.T) {
	h := newFixture(t)
	for i, number := range []string{"2", "1000000", "1000001", "9007199254740993", "9223372036854775807", "9223372036854775808", "-1", "1.5", "1e300"} {
		id := h.send(tasks.Mail{Kind: tasks.Key, To: fmt.Sprintf("m%d@example.com", i)})
		h.until(id, tasks.Accepted)
		h.enqueue(id+"."+number, tasks.Type, []byte(`{"v":2,"id":"`+id+`","resend":`+number+`}`))
		h.finished()
		if s, err := h.client.Status(h.ctx, id); err != nil || s.State != tasks.Accepted || s.Resends != 0 || s.Reason != "" {
			t.Errorf("%s: got %+v, %v; want accepted as before", number, s, err)
		}
		if n := len(h.env.Messages()); n != 2*i+1 {
			t.Errorf("%s: %d mails arrived, want %d", number, n, 2*i+1)
		}
		if err := h.client.Resend(h.ctx, id); err != nil {
			t.Errorf("%s: the owner's resend: %v", number, err)
		}
		if s := h.until(id, tasks.Accepted); s.Resends != 1 {
			t.Errorf("%s: got %d resends, want 1", number, s.Resends)
		}
		h.enqueue(id+".1b", tasks.Type, []byte(`{"v":2,"id":"`+id+`","resend":1}`)) // once more, under another name
		h.finished()
		if n := len(h.env.Messages()); n != 2*i+2 {
			t.Errorf("%s: %d mails arrived, want %d", number, n, 2*i+2)
		}
	}
}

// TestResend_AnotherNumberEndsNoMailThatWaits.
func TestResend_AnotherNumberEndsNoMailThatWaits(t *testing.T) {
	h := newFixture(t)
	id := h.send(tasks.Mail{Kind: tasks.Key, To: "alice+450@example.com"})
	h.until(id, tasks.Deferred)
	for _, number := range []string{"2", "1000001", "1", "9223372036854775807", "-1", "x", ""} {
		body := `{"v":2,"id":"` + id + `","resend":` + number + `}`
		if number == "1" {
			body = "{"
		}
		h.enqueue(id+"."+number, tasks.Type, []byte(body))
	}
	waitUntil(t, h.ctx, "the others have ended", func() bool {
		info, err := asynq.NewInspectorFromRedisClient(h.redis.Client).GetQueueInfo(tasks.Queue)
		return err == nil && info.Pending+info.Active+info.Scheduled == 0 && info.Retry == 1
	})
	if s, err := h.client.Status(h.ctx, id); err != nil || s.State != tasks.Deferred || s.Resends != 0 {
		t.Errorf("got %+v, %v; want deferred as before", s, err)
	}
}

// TestMalformed_ChoosesNoKeyAndNoLengthOfALine: the id under which asynq has a malformed task became the key of a record, over the
// counters of a relay or a recipient, for as long as its expiry said, and stood in the log at any length.
func TestMalformed_ChoosesNoKeyAndNoLengthOfALine(t *testing.T) {
	h := newFixture(t)
	h.redis.Client.HSet(h.ctx, "securemail:{relay:127.0.0.1}", "tat", 1)
	keys := func() []string {
		all, err := h.redis.Client.Keys(h.ctx, "securemail:*").Result()
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(all)
		return all
	}
	before := keys()
	for _, id := range []string{"relay:127.0.0.1", "r:" + strings.Repeat("0", 32), "total", "}{", "a\nb", "a", strings.Repeat("a", 65), strings.Repeat("a", 1<<20)} {
		for i, body := range []string{"{", `{"v":2}`, `{"v":2,"id":"relay:127.0.0.1","expires_at":"9999-12-31T23:59:59Z"}`, `{"v":2,"id":"` + strings.Repeat("b", 15<<10) + `"}`} {
			h.enqueue(fmt.Sprint(id, strings.Repeat(".", i)), tasks.Type, []byte(body))
		}
	}
	h.finished()
	if after := keys(); !slices.Equal(before, after) {
		t.Errorf("the keys are %.200q, and were %q", after, before)
	}
	if fields := h.redis.Client.HGetAll(h.ctx, "securemail:{relay:127.0.0.1}").Val(); len(fields) != 1 {
		t.Errorf("the counters of a relay are %v", fields)
	}

	far, body := payload(t, func(p map[string]any) { p["expires_at"] = "9999-12-31T23:59:59Z" })
	h.enqueue(far, tasks.Type, body)
	old, body := payload(t, func(p map[string]any) {
		p["created_at"], p["expires_at"] = "0001-01-01T00:00:00Z", "0001-01-01T10:00:00Z"
	})
	h.enqueue(old, tasks.Type, body)
	for id, want := range map[string]tasks.State{far: tasks.Refused, old: tasks.Expired} {
		s := h.until(id, want)
		if life := h.redis.Client.TTL(h.ctx, "securemail:{"+id+"}").Val(); life < 6*24*time.Hour || life > 8*24*time.Hour {
			t.Errorf("the record of a task that expires at %v stays for %v", s.ExpiresAt, life)
		}
	}
	h.finished()
	for _, line := range h.logs.All() {
		if n := len(line.Message) + len(fmt.Sprint(line.ContextMap())); n > 4000 {
			t.Errorf("a line of the log has %d bytes: %.100s", n, line.Message)
		}
	}
	// A revoked one stays no longer, whatever its waiting task says.
	h.stop()
	far, body = payload(t, func(p map[string]any) { p["expires_at"] = "9999-12-31T23:59:59Z" })
	h.enqueue(far, tasks.Type, body)
	if err := h.client.Revoke(h.ctx, far); err != nil {
		t.Fatal(err)
	}
	days, err := h.redis.Client.Do(h.ctx, "TTL", "securemail:{"+far+"}").Int64() // a Duration has no room for thousands of years
	if days /= 24 * 60 * 60; err != nil || days < 1 || days > 60 {
		t.Errorf("the record of a revoked mail stays for %d days, %v", days, err)
	}
}

// TestWorker_IsLateByTheDatesOfTheRecord: a repeated task has a new life, and the secret keeps its own. It was mailed with seconds
// to live.
func TestWorker_IsLateByTheDatesOfTheRecord(t *testing.T) {
	h := newFixture(t)
	id, body := payload(t, func(map[string]any) {})
	task, err := tasks.ParseTask(tasks.Type, body)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.Load(h.ring)
	if err != nil {
		t.Fatal(err)
	}
	kid, key := ring.Active()
	ends := time.Now().Add(time.Hour).Truncate(time.Millisecond).UTC()
	m := record.Entry{ID: id, Kind: tasks.Key, Purpose: task.Mail.Purpose, Seed: task.Seed, KeyID: kid, CreatedAt: ends.Add(-24 * time.Hour),
		ExpiresAt: ends, Address: record.AddressTag(ring.Recipients(), id, task.Mail.To)}
	m.Sign(key)
	records := record.NewStore(h.redis.Client, 7*24*time.Hour)
	a, err := records.Open(h.ctx, m)
	if err == nil {
		err = records.Defer(h.ctx, a, record.Result{Reason: tasks.ReasonNetwork}, time.Now(), false)
	}
	if err != nil {
		t.Fatal(err)
	}
	h.enqueue(id, tasks.Type, body)
	if s := h.until(id, tasks.Expired); s.Reason != tasks.ReasonLate || !s.ExpiresAt.Equal(ends) || len(h.env.Messages()) > 0 {
		t.Errorf("got %+v, and %d mails; want late, by the record's dates, and none", s, len(h.env.Messages()))
	}
}
