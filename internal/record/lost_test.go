package record_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"example.com/securemail/internal/record"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// TestAMailWhoseRecordWasLostWhileItWasSentCanBeAnswered: after a failover the replica may not have what Open wrote. The
// person has the mail all the same, and its secret has to be right.
func TestAMailWhoseRecordWasLostWhileItWasSentCanBeAnswered(t *testing.T) {
	r := testserver.StartRedis(t)
	s := record.NewStore(r.Client, retention)
	ctx := context.Background()
	lose := func(id string) { r.Client.Del(ctx, "securemail:{"+id+"}", "securemail:{"+id+"}:mail") }

	for _, kind := range []tasks.Kind{tasks.Key, tasks.TOTP} {
		m := newMail("lost-" + string(kind))
		m.Kind, m.Address, m.Sealed = kind, "tag", []byte("sealed mail")
		if kind == "totp" {
			m.TOTP = []byte("sealed secret")
		}
		a := mustOpen(t, s, m)
		lose(m.ID)
		if err := s.Accept(ctx, a, record.Result{Code: 250}); err != nil {
			t.Fatal(err)
		}
		check, err := s.BeginVerify(ctx, m.ID, counters, m.Purpose, "")
		if err != nil || !check.Live || !bytes.Equal(check.Seed, m.Seed) || check.KeyID != m.KeyID || check.Kind != kind || check.Address != "tag" ||
			!bytes.Equal(check.TOTP, m.TOTP) {
			t.Errorf("%s: got %+v, %v; want what Open had written", kind, check, err)
		}
		if status, err := s.Status(ctx, m.ID, time.Now()); err != nil || status.State != tasks.Accepted || status.Tries != 1 || !status.ExpiresAt.Equal(m.ExpiresAt) {
			t.Errorf("%s: got %+v, %v; want accepted", kind, status, err)
		}
		if kept, err := s.Kept(ctx, m.ID); err != nil || !bytes.Equal(kept.Sealed, m.Sealed) {
			t.Errorf("%s: for a resend there is %q, %v", kind, kept.Sealed, err)
		}
		if ttl := r.Client.PTTL(ctx, "securemail:{"+m.ID+"}").Val(); ttl <= retention || ttl > 2*retention {
			t.Errorf("%s: the record lives for %v", kind, ttl)
		}
		var ended *record.EndedError
		if _, err := s.Open(ctx, m); !errors.As(err, &ended) || ended.Outcome != tasks.Accepted {
			t.Errorf("%s: Open once more: got %v, want that it has ended", kind, err)
		}
	}
}

// TestALostRecordIsNotMadeUpFromTwoKeys: what a later try sealed is under the ring's key of then.
func TestALostRecordIsNotMadeUpFromTwoKeys(t *testing.T) {
	r := testserver.StartRedis(t)
	s := record.NewStore(r.Client, retention)
	ctx := context.Background()
	m := newMail("rotated")
	mustOpen(t, s, m)
	loseLock(t, r.Client, m.ID)
	m.KeyID, m.Sealed = "k2", []byte("sealed under k2")
	a := mustOpen(t, s, m)
	r.Client.Del(ctx, "securemail:{"+m.ID+"}", "securemail:{"+m.ID+"}:mail")
	if err := s.Accept(ctx, a, record.Result{Code: 250}); err != nil {
		t.Fatal(err)
	}
	if kept, err := s.Kept(ctx, m.ID); err != nil || kept.State != tasks.Accepted || len(kept.Sealed) > 0 {
		t.Errorf("got %+v, %v; want accepted, and nothing sealed", kept, err)
	}
}

// TestAcceptBringsNoRevokedSecretBack, neither where the record is there nor where Redis had lost it.
func TestAcceptBringsNoRevokedSecretBack(t *testing.T) {
	r := testserver.StartRedis(t)
	s := record.NewStore(r.Client, retention)
	ctx := context.Background()
	for _, lost := range []bool{false, true} {
		m := newMail(map[bool]string{false: "there", true: "lost"}[lost])
		m.TOTP, m.Sealed = []byte("sealed secret"), []byte("sealed mail")
		a := mustOpen(t, s, m)
		if lost {
			r.Client.Del(ctx, "securemail:{"+m.ID+"}", "securemail:{"+m.ID+"}:mail")
			if err := s.RevokeUnopened(ctx, m); err != nil {
				t.Fatal(err)
			}
		} else if err := s.Revoke(ctx, m.ID); err != nil {
			t.Fatal(err)
		}
		if err := s.Accept(ctx, a, record.Result{Code: 250}); err != nil {
			t.Fatal(err)
		}
		if check, err := s.BeginVerify(ctx, m.ID, counters, m.Purpose, ""); err != nil || check.Live || len(check.TOTP) > 0 {
			t.Errorf("lost %v: got %+v, %v; want nothing to answer", lost, check, err)
		}
	}
}
