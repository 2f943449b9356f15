package securemail_test

import (
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap/zapcore"

	"example.com/securemail/tasks"
)

// workerLeads is what the worker's next run makes of a deferred mail, where it does not send it: by field, or by field and value.
// What the MAC covers is not listed.
var workerLeads = map[string]string{
	"state = queued": "accepted", "state = sending": "accepted", "state = deferred": "accepted",
	// An outcome or a dead secret is not sent. Nobody hears that it was Redis who said so.
	"state = accepted": "accepted repeated", "state = refused": "refused repeated", "state = expired": "expired repeated",
	"state = revoked": "revoked repeated", "state = unknown": "unknown repeated",
	"cred = verified": "accepted repeated", "cred = active": "accepted repeated", "cred = exported": "accepted repeated",
	"cred = locked": "expired repeated", "cred = revoked": "revoked repeated",
	// The task is that of an earlier sending.
	"sending = 2": "unknown repeated", "sending = 1e300": "unknown repeated", "sending = 9007199254740993": "unknown repeated",
	"sending = 9223372036854775807": "unknown repeated",
}

// TestForged_AWorkerSendsNoMailOfAForgedRecord: it refuses it once, and tells an operator. A mail that a change leaves alone is
// sent, once. The mails were deferred, by the limit in all.
func TestForged_AWorkerSendsNoMailOfAForgedRecord(t *testing.T) {
	f := newForge(t)
	f.stop()
	f.start(tasks.Limits{TotalPerMinute: 1})
	f.sent(tasks.Mail{Kind: tasks.Key, To: "first@example.com"}, tasks.Accepted)
	type one struct{ id, to, field, value string }
	var tried []one
	other := map[string]string{}
	for i, row := range forgeries {
		for j, value := range append([]string{"another record's"}, row.values...) {
			if value == "" && !row.mac && row.field != "state" && row.field != "cred" {
				continue
			}
			m := tasks.Mail{Kind: tasks.Key, To: fmt.Sprintf("m%d.%d@example.com", i, j), Purpose: "sign-in"}
			switch {
			case row.field == "bound" && j%2 == 0:
				m.Session = session
			case row.field == "digits" && j%2 == 1: // from eight to six, among others
				m.Kind = tasks.Code
			}
			tried = append(tried, one{f.queue(m), m.To, row.field, value})
		}
	}
	f.eventually("all are deferred", func() bool {
		f.TB.Helper()
		return f.logs.FilterMessage("mail deferred").Len() >= len(tried)
	})
	f.stop()
	if err := f.redis.Del(t.Context(), "securemail:{total}").Err(); err != nil {
		t.Fatal(err)
	}
	old := map[string]string{}
	for i := range tried {
		r := f.redis.HGetAll(t.Context(), "securemail:{"+tried[i].id+"}").Val()
		if tried[i].value == "another record's" {
			tried[i].value = other[tried[i].field]
		}
		old[tried[i].id] = r[tried[i].field]
		f.set(tried[i].id, tried[i].field, tried[i].value)
		other = r
	}
	f.logs.TakeAll()
	f.again(tasks.Queue, tasks.QueueCodes)
	f.start(tasks.Limits{})
	first := map[string]string{} // the first line of each, and whether it is an error
	f.eventually("each has run again", func() bool {
		for _, line := range f.logs.All() {
			fields := line.ContextMap()
			id, _ := fields["id"].(string)
			if _, known := first[id]; !known && strings.HasPrefix(line.Message, "mail ") {
				first[id] = fmt.Sprint(fields["state"])
				if fields["reason"] != nil {
					first[id] += fmt.Sprint(" ", fields["reason"])
				}
				if line.Level == zapcore.ErrorLevel {
					first[id] += " error"
				}
			}
		}
		return len(first) >= len(tried)
	})
	f.stop()
	mails := map[string]int{}
	for _, m := range f.env.Messages() {
		mails[m.To]++
	}
	covered := map[string]bool{}
	for _, row := range forgeries {
		covered[row.field] = row.mac
	}
	for _, o := range tried {
		want := "accepted"
		switch lead := workerLeads[o.field+" = "+o.value]; {
		case lead != "":
			want = lead
		case !covered[o.field] || meaning(o.field, o.value) == meaning(o.field, old[o.id]):
		case o.field == "kid": // until the ring has it, or the mail expires
			want = "deferred key-ring error"
		default:
			want = "refused record error"
		}
		if got := first[o.id]; got != want {
			t.Errorf("%s = %.20q: got %q, want %q", o.field, o.value, got, want)
		}
		if sent := mails[o.to]; (want == "accepted") != (sent == 1) {
			t.Errorf("%s = %.20q: %d mails arrived", o.field, o.value, sent)
		}
		if want == "refused record error" {
			if s, err := f.client.Status(t.Context(), o.id); err != nil || s.State != tasks.Refused || s.Reason != tasks.ReasonRecord {
				t.Errorf("%s = %.20q: the status is %s %s, %v", o.field, o.value, s.State, s.Reason, err)
			}
			if life := f.redis.TTL(t.Context(), "securemail:{"+o.id+"}").Val().Hours(); life < 7*24-1 || life > 8*24+1 {
				t.Errorf("%s = %.20q: the record stays for %.0f hours", o.field, o.value, life)
			}
		}
	}
}
