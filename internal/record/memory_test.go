package record_test

import (
	"testing"
	"time"

	"example.com/securemail/internal/record"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// TestAccept_IsWrittenWithoutMemory: a Redis that had reached maxmemory refused the record of an accepted mail, and the
// mail was sent again.
func TestAccept_IsWrittenWithoutMemory(t *testing.T) {
	r := testserver.StartRedis(t)
	s := record.NewStore(r.Client, retention)
	a := mustOpen(t, s, newMail("full"))
	if err := s.Renew(t.Context(), a); err != nil { // loads the script
		t.Fatal(err)
	}
	if err := s.Accept(t.Context(), mustOpen(t, s, newMail("other")), record.Result{}); err != nil {
		t.Fatal(err)
	}
	if err := r.Client.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.Renew(t.Context(), a); err != nil {
		t.Errorf("Renew: %v", err)
	}
	if err := s.Accept(t.Context(), a, record.Result{Code: 250}); err != nil {
		t.Errorf("Accept: %v", err)
	}
	if got, err := s.Status(t.Context(), "full", time.Now()); err != nil || got.State != tasks.Accepted {
		t.Errorf("got %+v, %v; want accepted", got, err)
	}
}

// TestEnd_LeavesNoNextAttempt on a mail that was deferred before.
func TestEnd_LeavesNoNextAttempt(t *testing.T) {
	s := record.NewStore(testserver.StartRedis(t).Client, retention)
	m := newMail("late")
	if err := s.Defer(t.Context(), mustOpen(t, s, m), record.Result{}, time.Now().Add(time.Hour), true); err != nil {
		t.Fatal(err)
	}
	if _, err := s.EndUnopened(t.Context(), m, tasks.Expired, record.Result{Reason: tasks.ReasonLate}); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Status(t.Context(), m.ID, time.Now()); err != nil || got.State != tasks.Expired || !got.NextTry.IsZero() {
		t.Errorf("got %+v, %v; want expired, without a next attempt", got, err)
	}
}
