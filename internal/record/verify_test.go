package record_test

import (
	"testing"

	"example.com/securemail/internal/record"
	"example.com/securemail/internal/testserver"
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
