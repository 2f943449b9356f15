package record_test

import (
	"testing"
	"time"

	"example.com/securemail/internal/record"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// TestEnd_WhatARelayMayHaveIsNotExpired: a mail whose reply was lost ended as expired, of which the documents say that it was not
// sent. It is unknown, also where a later attempt failed in another way, or never began.
func TestEnd_WhatARelayMayHaveIsNotExpired(t *testing.T) {
	s := record.NewStore(testserver.StartRedis(t).Client, retention)
	ctx := t.Context()
	lost, late := record.Result{Reason: tasks.ReasonUnconfirmed}, record.Result{Reason: tasks.ReasonLate}
	fail := func(m record.Entry, r record.Result) {
		if err := s.Defer(ctx, mustOpen(t, s, m), r, time.Now(), true); err != nil {
			t.Fatal(err)
		}
	}
	for name, end := range map[string]func(record.Entry) (tasks.State, error){
		"in its only attempt": func(m record.Entry) (tasks.State, error) { return s.End(ctx, mustOpen(t, s, m), tasks.Expired, lost) },
		"in its last attempt": func(m record.Entry) (tasks.State, error) {
			fail(m, record.Result{Reason: tasks.ReasonNetwork})
			return s.End(ctx, mustOpen(t, s, m), tasks.Expired, lost)
		},
		"and then it was late": func(m record.Entry) (tasks.State, error) {
			fail(m, lost)
			return s.EndUnopened(ctx, m, tasks.Expired, late)
		},
		"and then the relay was away": func(m record.Entry) (tasks.State, error) {
			fail(m, lost)
			fail(m, record.Result{Reason: tasks.ReasonNetwork})
			return s.End(ctx, mustOpen(t, s, m), tasks.Expired, late)
		},
	} {
		m := newMail(name)
		if got, err := end(m); err != nil || got != tasks.Unknown {
			t.Errorf("the reply was lost %s: got %s, %v; want unknown", name, got, err)
		}
		if got, err := s.Status(ctx, m.ID, time.Now()); err != nil || got.State != tasks.Unknown || got.Reason != tasks.ReasonUnconfirmed || !got.NextTry.IsZero() {
			t.Errorf("the reply was lost %s: the status is %+v, %v", name, got, err)
		}
	}
	m := newMail("never handed over")
	fail(m, record.Result{Reason: tasks.ReasonNetwork})
	if got, err := s.EndUnopened(ctx, m, tasks.Expired, late); err != nil || got != tasks.Expired {
		t.Errorf("a mail that no relay can have: got %s, %v; want expired", got, err)
	}
}

// TestEnd_AMailWhoseSecretWasUsedIsAccepted: the person has it, whatever became of the reply. It ended as expired.
func TestEnd_AMailWhoseSecretWasUsedIsAccepted(t *testing.T) {
	s := record.NewStore(testserver.StartRedis(t).Client, retention)
	ctx := t.Context()
	m := newMail("used")
	if err := s.Defer(ctx, mustOpen(t, s, m), record.Result{Reason: tasks.ReasonUnconfirmed}, time.Now(), true); err != nil {
		t.Fatal(err)
	}
	c, err := s.BeginVerify(ctx, m.ID, counters, m.Purpose, "")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := s.FinishVerify(ctx, c, record.Right, true, 0); err != nil || !out.Right {
		t.Fatalf("got %+v, %v; want right", out, err)
	}
	if got, err := s.EndUnopened(ctx, m, tasks.Expired, record.Result{Reason: tasks.ReasonLate}); err != nil || got != tasks.Accepted {
		t.Errorf("got %s, %v; want accepted", got, err)
	}
	if got, err := s.Status(ctx, m.ID, time.Now()); err != nil || got.State != tasks.Accepted || got.Reason != tasks.ReasonUsed || got.Credential != tasks.CredentialVerified {
		t.Errorf("the status is %+v, %v; want accepted, as its secret was used", got, err)
	}
}
