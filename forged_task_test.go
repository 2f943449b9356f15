package securemail_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"example.com/securemail/tasks"
)

// rewrite changes the payload of a queued or deferred task, which takes write access to Redis.
func (f *forge) rewrite(queue, id string, changes map[string]any) {
	f.Helper()
	inspector := asynq.NewInspectorFromRedisClient(f.redis)
	info, err := inspector.GetTaskInfo(queue, id)
	f.must(err)
	var payload map[string]any
	f.must(json.Unmarshal(info.Payload, &payload))
	for name, value := range changes {
		if payload[name] = value; value == nil {
			delete(payload, name)
		}
	}
	body, err := json.Marshal(payload)
	f.must(err)
	f.must(inspector.DeleteTask(queue, id))
	_, err = asynq.NewClientFromRedisClient(f.redis).EnqueueContext(f.Context(), asynq.NewTask(info.Type, body), asynq.TaskID(id), asynq.Queue(queue))
	f.must(err)
}

var codeInMail = regexp.MustCompile(`(?m)^\s*(\d{4} \d{4}|\d{3} \d{3})\s*$`)

// mailTo returns the code in the one mail to the address.
func (f *forge) mailTo(to string) string {
	f.Helper()
	for _, m := range f.env.Messages() {
		if m.To == to {
			if code := codeInMail.FindStringSubmatch(m.Text); code != nil {
				return code[1]
			}
			f.Fatalf("no code in the mail to %s:\n%s", to, m.Text)
		}
	}
	f.Fatalf("no mail to %s", to)
	return ""
}

// TestForged_ATaskThatNoWorkerHasOpenedIsNotAuthenticated: producers have no key ring. Whoever rewrites a waiting task makes its
// code shorter or takes its session away, and the record is made of what the task says then. A code that is mailed to another
// address is not right for the person.
func TestForged_ATaskThatNoWorkerHasOpenedIsNotAuthenticated(t *testing.T) {
	f := newForge(t)
	f.stop()
	code := tasks.Mail{Kind: tasks.Code, Purpose: "sign-in", Session: session}
	ids := map[string]string{}
	for _, who := range []string{"short", "unbound", "redirected"} {
		code.To = who + "@example.com"
		ids[who] = f.queue(code)
	}
	f.rewrite(tasks.QueueCodes, ids["short"], map[string]any{"digits": 6})
	f.rewrite(tasks.QueueCodes, ids["unbound"], map[string]any{"session": nil})
	f.rewrite(tasks.QueueCodes, ids["redirected"], map[string]any{"to": "mallory@example.com"})
	f.start(tasks.Limits{})
	for _, id := range ids {
		if s, err := f.client.Wait(t.Context(), id); err != nil || s.State != tasks.Accepted {
			t.Fatalf("got %s, %v; want accepted", s.State, err)
		}
	}
	verify := func(who, session, typed string) string {
		ref := tasks.Ref{ID: ids[who], To: who + "@example.com", Purpose: "sign-in", Session: session}
		return resultOf(f.client.Verify(t.Context(), ref, typed))
	}
	if typed := f.mailTo("short@example.com"); len(typed) != 7 || verify("short", session, typed) != "right" {
		t.Errorf("a code that was made shorter has %d digits; SECURITY.md says that it is right", len(typed)-1)
	}
	if got := verify("unbound", "", f.mailTo("unbound@example.com")); got != "right" {
		t.Errorf("a code whose session was taken away: got %s; SECURITY.md says that it is right", got)
	}
	if got := verify("redirected", session, f.mailTo("mallory@example.com")); got != "rejected" {
		t.Errorf("a code that was mailed to somebody else: got %s, want rejected", got)
	}
}

// TestForged_NoCodeIsShorterThanTheWorkersLeast, whatever became of its task.
func TestForged_NoCodeIsShorterThanTheWorkersLeast(t *testing.T) {
	f := newForge(t)
	f.stop()
	id := f.queue(tasks.Mail{Kind: tasks.Code, To: alice})
	f.rewrite(tasks.QueueCodes, id, map[string]any{"digits": 6})
	f.start(tasks.Limits{}, 8)
	if s, err := f.client.Wait(t.Context(), id); err != nil || s.State != tasks.Refused || s.Reason != tasks.ReasonMalformed || len(f.env.Messages()) > 0 {
		t.Errorf("got %s %s, %v, and %d mails; want refused", s.State, s.Reason, err, len(f.env.Messages()))
	}
}

// TestForged_ATaskThatAWorkerHasOpenedIsBoundToItsRecord: rewritten while it is deferred, it is not sent. A longer life is
// ignored, because the record has the dates.
func TestForged_ATaskThatAWorkerHasOpenedIsBoundToItsRecord(t *testing.T) {
	f := newForge(t)
	f.stop()
	f.start(tasks.Limits{TotalPerMinute: 1})
	f.sent(tasks.Mail{Kind: tasks.Key, To: "first@example.com"}, tasks.Accepted)
	changes := map[string]map[string]any{
		"digits": {"digits": 6}, "session": {"session": nil}, "to": {"to": "mallory@example.com"}, "purpose": {"purpose": "recovery"},
		"kind": {"kind": "key", "digits": nil}, "seed": {"seed": strings.Repeat("A", 43) + "="}, "expires_at": {"expires_at": time.Now().Add(610 * time.Second)},
		"deleted": {"digits": 6}, "id": {"id": strings.Repeat("i", 26)},
	}
	ids := map[string]string{}
	for name := range changes {
		ids[name] = f.sent(tasks.Mail{Kind: tasks.Code, To: name + "@example.com", Session: session}, tasks.Deferred)
	}
	f.stop()
	f.must(f.redis.Del(t.Context(), "securemail:{total}").Err())
	expires := map[string]time.Time{}
	for name, id := range ids {
		s, err := f.client.Status(t.Context(), id)
		f.must(err)
		expires[name] = s.ExpiresAt
		f.rewrite(tasks.QueueCodes, id, changes[name])
		if name == "deleted" { // with the record, so that it is as one that no worker has opened
			f.must(f.redis.Del(t.Context(), "securemail:{"+id+"}").Err())
		}
	}
	f.logs.TakeAll()
	f.start(tasks.Limits{})
	for name, id := range ids {
		if name == "id" { // it is another mail now, and the record of this one stays deferred
			continue
		}
		s, err := f.client.Wait(t.Context(), id)
		got, want := fmt.Sprint(s.State, " ", s.Reason), "refused record"
		if name == "seed" || name == "expires_at" || name == "deleted" { // of the first two, the record's are used
			want = "accepted "
		}
		if err != nil || got != want || !s.ExpiresAt.Equal(expires[name]) {
			t.Errorf("%s: got %q, %v, until %v; want %q, until %v", name, got, err, s.ExpiresAt, want, expires[name])
		}
	}
	for _, m := range f.env.Messages() {
		if strings.HasPrefix(m.To, "mallory") {
			t.Error("a mail went to the address that was written into a deferred task")
		}
	}
	if _, err := f.client.Status(t.Context(), ids["id"]); errors.Is(err, tasks.ErrNotFound) {
		t.Error("the record of a mail whose task became another's is gone")
	}
}
