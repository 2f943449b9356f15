package securemail_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"example.com/securemail/tasks"
)

// TestForged_NoChangeOfARecordMakesAWrongAnswerRight: whoever can write to Redis makes no key shorter, changes nobody who can
// verify, and moves no expiry. What they can do is in the table of forgeries.
func TestForged_NoChangeOfARecordMakesAWrongAnswerRight(t *testing.T) {
	f := newForge(t)
	all := f.bases()
	f.stop()
	for state, b := range all {
		others := f.otherValues(all, state)
		unchanged := map[string]string{}
		for _, ask := range asks {
			f.prepare(state, b)
			unchanged[ask] = f.ask(b, ask)
		}
		for _, row := range forgeries {
			f.prepare(state, b)
			old := f.redis.HGet(t.Context(), "securemail:{"+b.ID+"}", row.field).Val()
			for _, value := range append(slices.Clone(row.values), others[row.field]) {
				if value == old {
					continue
				}
				for _, ask := range asks {
					if unchanged[ask] == "" {
						continue
					}
					f.prepare(state, b)
					f.set(b.ID, row.field, value)
					got, want := f.ask(b, ask), unchanged[ask]
					switch listed, known := row.sets[value][state+" "+ask]; {
					case known:
						want = listed
					case ask == "repeated" && row.mac && got == want: // that this answer was wrong is remembered
					case row.mac && meaning(row.field, value) != meaning(row.field, old):
						want = "rejected"
						if row.field == "kid" && got == "key ring" {
							want = got
						}
					case row.verify[state+" "+ask] != "":
						want = row.verify[state+" "+ask]
					}
					if got != want || got == "right" && slices.Contains([]string{"wrong", "short", "repeated", "unbound"}, ask) {
						t.Errorf("%s: %s = %.20q, %s: got %q, want %q", state, row.field, value, ask, got, want)
					}
				}
				f.prepare(state, b)
				f.set(b.ID, row.field, value)
				f.readable(b, fmt.Sprintf("%s: %s = %.20q", state, row.field, value))
			}
		}
	}
}

// prepare restores the record of b. An active TOTP has used the code of this moment.
func (f *forge) prepare(state string, b base) {
	f.Helper()
	f.restore(b.ID, b.record)
	if state == "active" {
		f.set(b.ID, "step", fmt.Sprint(time.Now().Unix()/30))
	}
}

// otherValues returns the fields of another record, of the same kind where there is one.
func (f *forge) otherValues(all map[string]base, state string) map[string]string {
	f.Helper()
	other := map[string]string{"code": "used", "used": "code", "key": "locked", "locked": "key", "pending": "active", "active": "pending", "expired": "code"}[state]
	f.restore(all[other].ID, all[other].record)
	return f.redis.HGetAll(f.Context(), "securemail:{"+all[other].ID+"}").Val()
}

// readable checks that the calls which read the record, or queue its mail again, end, with a result or an error.
func (f *forge) readable(b base, change string) {
	f.Helper()
	s, err := f.client.Status(f.Context(), b.ID)
	if err == nil {
		_, err = json.Marshal(s)
	}
	if err != nil && !errors.Is(err, tasks.ErrNotFound) {
		f.Errorf("%s: Status: %v", change, err)
	}
	switch err := f.client.Resend(f.Context(), b.ID); {
	case err == nil, errors.Is(err, tasks.ErrRejected), errors.Is(err, tasks.ErrStillSending), errors.Is(err, tasks.ErrNotFound):
	default:
		f.Errorf("%s: Resend: %v", change, err)
	}
	if err := f.client.Revoke(f.Context(), b.ID); err != nil && !errors.Is(err, tasks.ErrNotFound) {
		f.Errorf("%s: Revoke: %v", change, err)
	}
}
