package record_test

import (
	"errors"
	"testing"
	"time"

	"example.com/securemail/internal/record"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

func TestRevokeEndsAMailThatIsNotBeingSent(t *testing.T) {
	r := testserver.StartRedis(t)
	s := record.NewStore(r.Client, retention)
	ctx := t.Context()
	if err := s.Revoke(ctx, "none"); !errors.Is(err, tasks.ErrNotFound) {
		t.Errorf("no record: got %v, want ErrNotFound", err)
	}
	prepare := map[string]func(m record.Entry){
		"queued": func(m record.Entry) {},
		"deferred": func(m record.Entry) {
			if err := s.Defer(ctx, mustOpen(t, s, m), record.Result{}, time.Now().Add(time.Minute), true); err != nil {
				t.Fatal(err)
			}
		},
		"abandoned": func(m record.Entry) {
			mustOpen(t, s, m)
			loseLock(t, r.Client, m.ID)
		},
	}
	for name, prepare := range prepare {
		m := newMail(name)
		prepare(m)
		for range 2 {
			if err := s.RevokeUnopened(ctx, m); err != nil {
				t.Fatal(err)
			}
		}
		got, err := s.Status(ctx, name, time.Now())
		if err != nil || got.State != tasks.Revoked || got.Credential != tasks.CredentialRevoked || got.Kind != "key" || !got.ExpiresAt.Equal(m.ExpiresAt) {
			t.Errorf("%s: got %+v, %v; want both revoked", name, got, err)
		}
		var ended *record.EndedError
		if _, err := s.Open(ctx, m); !errors.As(err, &ended) || ended.Outcome != tasks.Revoked {
			t.Errorf("%s: Open after Revoke: got %v, want ended as revoked", name, err)
		}
	}
}

func TestRevokeLeavesAnExpiredSecretExpired(t *testing.T) {
	s := record.NewStore(testserver.StartRedis(t).Client, retention)
	ctx := t.Context()
	live, old := newMail("live"), newMail("old")
	old.CreatedAt, old.ExpiresAt = old.CreatedAt.Add(-2*time.Minute), old.CreatedAt.Add(-time.Minute)
	for _, m := range []record.Entry{live, old} {
		if err := s.Accept(ctx, mustOpen(t, s, m), record.Result{}); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[string]tasks.CredentialState{"live": tasks.CredentialRevoked, "old": tasks.CredentialExpired} {
		if err := s.Revoke(ctx, id); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Status(ctx, id, time.Now()); err != nil || got.State != tasks.Accepted || got.Credential != want {
			t.Errorf("%s: got %s, %s, %v; want accepted, %s", id, got.State, got.Credential, err, want)
		}
	}
}

func TestRevokeWhileTheMailIsSent(t *testing.T) {
	s := record.NewStore(testserver.StartRedis(t).Client, retention)
	ctx := t.Context()
	ends := map[string]struct {
		end  func(a *record.Attempt) error
		want tasks.State
	}{
		"deferred": {func(a *record.Attempt) error {
			return s.Defer(ctx, a, record.Result{}, time.Now().Add(time.Hour), true)
		}, tasks.Revoked},
		"accepted": {func(a *record.Attempt) error { return s.Accept(ctx, a, record.Result{}) }, tasks.Accepted},
		"refused":  {func(a *record.Attempt) error { _, err := s.End(ctx, a, tasks.Refused, record.Result{}); return err }, tasks.Refused},
	}
	for name, test := range ends {
		a := mustOpen(t, s, newMail(name))
		if err := s.Revoke(ctx, name); err != nil {
			t.Fatal(err)
		}
		if got, _ := s.Status(ctx, name, time.Now()); got.State != tasks.Sending || got.Credential != tasks.CredentialRevoked {
			t.Errorf("%s: got %s, %s; want sending, revoked", name, got.State, got.Credential)
		}
		if err := s.Renew(ctx, a); !errors.Is(err, record.ErrLostLock) {
			t.Errorf("%s: Renew: got %v, want ErrLostLock", name, err)
		}
		if err := test.end(a); err != nil {
			t.Fatal(err)
		}
		got, _ := s.Status(ctx, name, time.Now())
		if got.State != test.want || got.Credential != tasks.CredentialRevoked || !got.NextTry.IsZero() {
			t.Errorf("%s: got %s, %s, next try %v; want %s, revoked, none", name, got.State, got.Credential, got.NextTry, test.want)
		}
	}
}

// TestTheMailOfADeadCredentialIsNotSent: a worker that tries again after it was cut off finds the credential used.
func TestTheMailOfADeadCredentialIsNotSent(t *testing.T) {
	s := record.NewStore(testserver.StartRedis(t).Client, retention)
	ctx := t.Context()
	for _, test := range []struct {
		was    record.Comparison
		times  int
		want   tasks.State
		reason tasks.Reason
	}{{record.Right, 1, tasks.Accepted, "used"}, {record.Wrong, record.MaxMisses, tasks.Expired, "misses"}} {
		m := newMail(string(test.reason))
		a := mustOpen(t, s, m)
		for range test.times {
			c, err := s.BeginVerify(ctx, m.ID, counters, m.Purpose, "")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.FinishVerify(ctx, c, test.was, false, 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Defer(ctx, a, record.Result{Reason: "unconfirmed"}, time.Now(), true); err != nil {
			t.Fatal(err)
		}
		var ended *record.EndedError
		if _, err := s.Open(ctx, m); !errors.As(err, &ended) || ended.Outcome != test.want {
			t.Errorf("Open: got %v, want ended as %s", err, test.want)
		}
		if got, _ := s.Status(ctx, m.ID, time.Now()); got.State != test.want || got.Reason != test.reason {
			t.Errorf("got %s, %s; want %s, %s", got.State, got.Reason, test.want, test.reason)
		}
	}
}
