package securemail_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"example.com/securemail/tasks"
)

// TestForged_AKeyOfAnotherTypeEndsEveryCall: a string in place of the record, of the sealed mail, of the reservation, of an
// exported secret or of the counters. Each call ends with a result or an error, within its context.
func TestForged_AKeyOfAnotherTypeEndsEveryCall(t *testing.T) {
	h := newFixture(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	mail := tasks.Mail{Kind: tasks.Code, To: alice, Purpose: "sign-in"}
	for suffix, want := range map[string]string{"": "rejected", ":mail": "right", ":reserved": "right", ":export": "right", "counters": "error"} {
		a := h.mailed(tasks.Code, alice, "sign-in")
		key := "securemail:{" + a.ID + "}" + suffix
		m := mail
		m.IdempotencyKey = "key-of" + strings.ReplaceAll(suffix, ":", "-")
		switch suffix {
		case "counters":
			key = h.counters(alice)
		case ":reserved":
			key = "securemail:{" + h.queue(m) + "}:reserved"
		}
		h.must(h.redis.Del(ctx, key).Err())
		h.must(h.redis.LPush(ctx, key, "x").Err())
		if got := wordOf(check(h.client, ctx, a)); got != want {
			t.Errorf("%s: Verify: got %s, want %s", suffix, got, want)
		}
		_, exportErr := h.client.Export(ctx, a.Ref)
		_, statusErr := h.client.Status(ctx, a.ID)
		resendErr := h.client.Resend(ctx, a.ID)
		revokeErr := h.client.Revoke(ctx, a.ID)
		_, sendErr := h.client.Send(ctx, m)
		for call, failed := range map[string]struct {
			err  error
			want bool
		}{"Status": {statusErr, suffix == ""}, "Revoke": {revokeErr, suffix == ""}, "Resend": {resendErr, true}, "Export": {exportErr, true},
			"Send": {sendErr, suffix == ":reserved" || suffix == "counters"}} {
			if (failed.err != nil) != failed.want {
				t.Errorf("%s: %s: got %v", suffix, call, failed.err)
			}
		}
		if err := h.client.Unlock(ctx, alice); err != nil {
			t.Errorf("%s: Unlock: %v", suffix, err)
		}
		if got := wordOf(check(h.client, ctx, h.mailed(tasks.Code, alice, "sign-in"))); got != "right" {
			t.Errorf("%s: after Unlock another code is %s", suffix, got)
		}
	}
	// An exported secret is in a key of its own.
	freshStep()
	a := h.mailed(tasks.TOTP, alice, "sign-in")
	h.verify(a, authenticator{t, a.Typed}.code(0))
	_, err := h.client.Export(ctx, a.Ref)
	h.must(err)
	key := "securemail:{" + a.ID + "}:export"
	for _, write := range []func() error{func() error { return h.redis.Set(ctx, key, "x", 0).Err() },
		func() error { h.redis.Del(ctx, key); return h.redis.LPush(ctx, key, "x").Err() }} {
		h.must(write())
		if _, err := h.client.Export(ctx, a.Ref); err == nil {
			t.Error("Export returned a secret of somebody else")
		}
	}
}

// TestForged_ATaskEndsWhateverIsInPlaceOfItsKeys, within the life of its mail. Before, its worker tried every five seconds, for
// ever. Nor does it keep other workers from taking back what a dead one left.
func TestForged_ATaskEndsWhateverIsInPlaceOfItsKeys(t *testing.T) {
	t.Parallel()
	f := newForge(t)
	f.stop()
	want := map[string]string{}
	for name, end := range map[string]string{"": "refused record", ":mail": "accepted", ":reserved": "accepted", ":export": "accepted", "counters": "expired redis"} {
		to := fmt.Sprintf("m%d@example.com", len(want))
		id := f.queue(tasks.Mail{Kind: tasks.Code, To: to, ExpiresIn: 10 * time.Second})
		key := "securemail:{" + id + "}" + name
		if name == "counters" {
			key = f.counters(to)
		}
		f.must(f.redis.LPush(t.Context(), key, "x").Err())
		if locked, err := f.records.Locked(t.Context(), id); err != nil || locked {
			t.Errorf("%s: whether it is locked: %v, %v", name, locked, err)
		}
		want[id] = end
	}
	f.start(tasks.DefaultLimits())
	f.eventually("every task has ended", func() bool {
		inspector := asynq.NewInspectorFromRedisClient(f.redis)
		for id := range want {
			info, err := inspector.GetTaskInfo(tasks.QueueCodes, id)
			if !errors.Is(err, asynq.ErrTaskNotFound) && (err != nil || info.State != asynq.TaskStateArchived && info.State != asynq.TaskStateCompleted) {
				return false
			}
		}
		return true
	})
	f.stop()
	lines := f.outcomes()
	for id, end := range want {
		if got := lines[id]; len(got) == 0 || got[len(got)-1] != end || len(got) > 5 {
			t.Errorf("got %q, want %s at last", got, end)
		}
	}
}

// TestForged_ALockFarAheadKeepsNoMail: no worker takes a lock for longer than a few seconds. Before, the task waited 189 years.
func TestForged_ALockFarAheadKeepsNoMail(t *testing.T) {
	f := newForge(t)
	f.stop()
	f.start(tasks.Limits{TotalPerMinute: 1})
	f.sent(tasks.Mail{Kind: tasks.Key, To: "first@example.com"}, tasks.Accepted)
	until := []string{"100000000000000", "253402300799999", "9223372036854775807", "1e300", "nan", "x", ms(time.Now().Add(10 * time.Minute))}
	ids := map[string]string{}
	for i, value := range until {
		ids[value] = f.sent(tasks.Mail{Kind: tasks.Key, To: fmt.Sprintf("m%d@example.com", i)}, tasks.Deferred)
	}
	f.stop()
	f.must(f.redis.Del(t.Context(), "securemail:{total}").Err())
	for value, id := range ids {
		f.set(id, "lock", "somebody else's")
		f.set(id, "lock_until", value)
	}
	f.again(tasks.Queue)
	f.start(tasks.Limits{})
	for value, id := range ids {
		s, err := f.client.Wait(t.Context(), id)
		if err != nil || s.State != tasks.Accepted {
			t.Errorf("locked until %s: got %s, %v; want accepted", value, s.State, err)
		}
	}
}

// outcomes returns what the log says of each mail, in order.
func (f *forge) outcomes() map[string][]string {
	all := map[string][]string{}
	for _, line := range f.logs.All() {
		if !strings.HasPrefix(line.Message, "mail ") {
			continue
		}
		fields := line.ContextMap()
		outcome := fmt.Sprint(fields["state"])
		if reason := fields["reason"]; reason != nil {
			outcome += fmt.Sprint(" ", reason)
		}
		id := fmt.Sprint(fields["id"])
		all[id] = append(all[id], outcome)
	}
	return all
}
