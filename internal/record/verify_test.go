package record_test

import (
	"testing"

	"example.com/securemail/internal/record"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// counters is the key of a recipient's counters.
const counters = "securemail:{r:someone}"

func TestAddressTag_TellsCapitalsApart(t *testing.T) {
	key := []byte("key")
	if record.AddressTag(key, "id", "Alice@example.com") == record.AddressTag(key, "id", "alice@example.com") {
		t.Error("two addresses have the same tag")
	}
}

// TestBeginVerify_ReservesNothingWhereTheRecordCannotBeRead: on a cluster the record's server can fail while the counters' server is well.
func TestBeginVerify_ReservesNothingWhereTheRecordCannotBeRead(t *testing.T) {
	r := testserver.StartRedis(t)
	s := record.NewStore(r.Client, retention)
	if err := r.Client.Set(t.Context(), "securemail:{broken}", "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	for range record.MaxRecipientMisses + 1 {
		if _, err := s.BeginVerify(t.Context(), "broken", counters, "sign-in", ""); err == nil {
			t.Fatal("got no error of a record that cannot be read")
		}
	}
	if c, err := s.BeginVerify(t.Context(), "other", counters, "sign-in", ""); err != nil || c.Limited {
		t.Errorf("got %+v, %v; want that nothing was reserved", c, err)
	}
}

// TestFinishVerify_ACodeHasNoStateOfATOTP, also where somebody writes it between the two round trips of an answer. It had no end
// then, and was right once more for every code of an authenticator.
func TestFinishVerify_ACodeHasNoStateOfATOTP(t *testing.T) {
	r := testserver.StartRedis(t)
	s := record.NewStore(r.Client, retention)
	for kind, states := range map[tasks.Kind][]string{tasks.Code: {"active", "pending"}, tasks.TOTP: {"live"}} {
		for _, state := range states {
			m := newMail(string(kind) + state)
			m.Kind = kind
			if kind == tasks.TOTP {
				m.TOTP = []byte("sealed")
			}
			mustOpen(t, s, m)
			c, err := s.BeginVerify(t.Context(), m.ID, counters, m.Purpose, "")
			if err != nil || !c.Live {
				t.Fatalf("got %+v, %v; want live", c, err)
			}
			if err := r.Client.HSet(t.Context(), "securemail:{"+m.ID+"}", "cred", state, "step", -1).Err(); err != nil {
				t.Fatal(err)
			}
			if out, err := s.FinishVerify(t.Context(), c, record.Right, true, 1); err != nil || out.Right {
				t.Errorf("a %s that is %s: got %+v, %v; want not right", kind, state, out, err)
			}
		}
	}
}
