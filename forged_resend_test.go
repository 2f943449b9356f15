package securemail_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/securemail/tasks"
)

// TestForged_AResendSendsNoMailOfAForgedRecord: it is refused once, or waits for a key. What somebody else wrote becomes no label
// of a metric, no panic and no long line of the log.
func TestForged_AResendSendsNoMailOfAForgedRecord(t *testing.T) {
	f := newForge(t)
	long := strings.Repeat("A ", 500_000)
	type change struct{ field, value, want string }
	changes := []change{{"client_ref", "x", "accepted"}, {"kid", "k-gone", "deferred key-ring"}, {"kid", long, "deferred key-ring"},
		{"expires", ms(time.Now().Add(-time.Minute)), "accepted late"}, {"expires", "x", "accepted late"}, {"expires", "9223372036854775807", "accepted late"},
		{"expires", ms(time.Now().Add(1000 * time.Hour)), "refused record"}, {"expires", ms(time.Now().Add(48 * time.Hour)), "refused record"},
		{"created", ms(time.Now().Add(-48 * time.Hour)), "refused record"}, {":mail", "x", "refused record"}, {":mail", "", "accepted late"},
		{"seed", "", "refused record"}, {"seed", "x", "refused record"}, {"mac", "x", "refused record"}, {"to", "x", "refused record"},
		{"digits", "6", "refused record"}, {"v", "3", "refused record"}, {"sending", "5", "unknown repeated"},
		{"sending", "9223372036854775807", "unknown repeated"}, {"state", "\xff", "accepted"}, {"state", long, "accepted"}}
	for _, value := range []string{"\xff", "code", "label-1", "label-2", long} {
		changes = append(changes, change{"kind", value, "refused record"}, change{"purpose", value, "refused record"})
	}
	ids := make([]string, len(changes))
	for i := range changes {
		ids[i] = f.sent(tasks.Mail{Kind: tasks.Key, To: fmt.Sprintf("m%d@example.com", i)}, tasks.Accepted)
	}
	f.stop()
	for i, c := range changes {
		f.must(f.client.Resend(t.Context(), ids[i]))
		if c.field == ":mail" {
			f.set(ids[i], "kind", "label-of-a-mail\xff") // which nothing that is sealed contradicts
			f.must(f.redis.Del(t.Context(), "securemail:{"+ids[i]+"}:mail").Err())
			if c.value != "" {
				f.must(f.redis.Set(t.Context(), "securemail:{"+ids[i]+"}:mail", c.value, time.Hour).Err())
			}
			continue
		}
		f.set(ids[i], c.field, c.value)
	}
	f.logs.TakeAll()
	f.start(tasks.Limits{})
	f.eventually("each has run", func() bool { return len(f.outcomes()) >= len(changes) })
	f.stop()
	lines := f.outcomes()
	for i, c := range changes {
		if got := lines[ids[i]]; !slices.Equal(got, []string{c.want}) {
			t.Errorf("%s = %.20q: got %q, want %s", c.field, c.value, got, c.want)
		}
		mails := 0
		for _, m := range f.env.Messages() {
			if m.To == fmt.Sprintf("m%d@example.com", i) {
				mails++
			}
		}
		if want := map[bool]int{true: 2, false: 1}[c.want == "accepted"]; mails != want {
			t.Errorf("%s = %.20q: %d mails arrived, want %d", c.field, c.value, mails, want)
		}
		if s, err := f.client.Status(t.Context(), ids[i]); err != nil || strings.HasPrefix(c.want, "refused") && s.Reason != tasks.ReasonRecord {
			t.Errorf("%s = %.20q: the status is %s %s, %v", c.field, c.value, s.State, s.Reason, err)
		}
	}
	for _, line := range f.logs.All() {
		if n := len(fmt.Sprint(line.ContextMap())); n > 10_000 {
			t.Errorf("a line of the log has %d bytes", n)
		}
	}
	families, err := f.worker.Metrics.Gather()
	f.must(err)
	labels := append(strings.Fields("key code totp none dev connect envelope body final_reply"), "")
	for _, reason := range tasks.Reasons() {
		labels = append(labels, string(reason))
	}
	labels = append(labels, "queued", "sending", "deferred", "accepted", "refused", "expired", "revoked", "unknown")
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if !slices.Contains(labels, label.GetValue()) {
					t.Errorf("%s has the label %s=%.20q", family.GetName(), label.GetName(), label.GetValue())
				}
			}
		}
	}
}
