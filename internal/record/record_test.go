package record_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/internal/record"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

const retention = time.Hour

func newMail(id string) record.Entry {
	now := time.Now().UTC().Truncate(time.Second)
	return record.Entry{ID: id, Kind: "key", Purpose: "sign-in", Seed: bytes.Repeat([]byte{7, 0}, 16), KeyID: "k1",
		CreatedAt: now, ExpiresAt: now.Add(time.Hour)}
}

// loseLock makes the time pass that a send lock lasts.
func loseLock(t *testing.T, rdb *redis.Client, id string) {
	t.Helper()
	if err := rdb.HSet(context.Background(), "securemail:{"+id+"}", "lock_until", 1).Err(); err != nil {
		t.Fatal(err)
	}
}

func mustOpen(t *testing.T, s *record.Store, m record.Entry) *record.Attempt {
	t.Helper()
	a, err := s.Open(context.Background(), m)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return a
}

func wantStatus(t *testing.T, s *record.Store, id string, want tasks.Status) {
	t.Helper()
	got, err := s.Status(context.Background(), id, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	got.AcceptedAt = time.Time{}
	if got != want {
		t.Errorf("status\n got %+v\nwant %+v", got, want)
	}
}

func TestOneMailsWay(t *testing.T) {
	ctx := context.Background()
	r := testserver.StartRedis(t)
	s := record.NewStore(r.Client, retention)
	m := newMail("way")

	if _, err := s.Status(ctx, m.ID, time.Now()); !errors.Is(err, tasks.ErrNotFound) {
		t.Fatalf("Status before Open: got %v, want ErrNotFound", err)
	}
	a := mustOpen(t, s, m)
	if a.Try != 1 || a.Resends != 0 || !bytes.Equal(a.Seed, m.Seed) || a.KeyID != "k1" || !a.ExpiresAt.Equal(m.ExpiresAt) {
		t.Fatalf("Open: got %+v", a)
	}
	base := tasks.Status{ID: m.ID, Reference: tasks.Reference(m.ID), Kind: "key", Purpose: "sign-in", Credential: tasks.CredentialLive, CreatedAt: m.CreatedAt, ExpiresAt: m.ExpiresAt}
	want := base
	want.State, want.Tries = tasks.Sending, 1
	wantStatus(t, s, m.ID, want)

	next := time.Now().Add(time.Minute).UTC().Truncate(time.Millisecond)
	result := record.Result{Reason: "recipient", Code: 450, EnhancedCode: "4.2.1", Relay: "r1"}
	if err := s.Defer(ctx, a, result, next, true); err != nil {
		t.Fatal(err)
	}
	want.State, want.Reason, want.Code, want.EnhancedCode, want.Relay, want.NextTry = tasks.Deferred, "recipient", 450, "4.2.1", "r1", next
	wantStatus(t, s, m.ID, want)

	// Another seed and another key in a repeated task change nothing: the same mail carries the same secret.
	again := newMail("way")
	again.Seed, again.KeyID = bytes.Repeat([]byte{9}, 32), "k2"
	a = mustOpen(t, s, again)
	if a.Try != 2 || !bytes.Equal(a.Seed, m.Seed) || a.KeyID != "k1" {
		t.Fatalf("second Open: got %+v, want the first one's seed and key id", a)
	}
	if err := s.Accept(ctx, a, record.Result{Code: 250, EnhancedCode: "2.0.0", Relay: "r1", QueueID: "4XYZ"}); err != nil {
		t.Fatal(err)
	}
	want = base
	want.State, want.Tries, want.Code, want.EnhancedCode, want.Relay, want.QueueID = tasks.Accepted, 2, 250, "2.0.0", "r1", "4XYZ"
	wantStatus(t, s, m.ID, want)

	var ended *record.EndedError
	if _, err := s.Open(ctx, m); !errors.As(err, &ended) || ended.Outcome != tasks.Accepted {
		t.Errorf("Open of an accepted mail: got %v, want EndedError", err)
	}
	left, err := r.Client.PTTL(ctx, "securemail:{way}").Result()
	if err != nil || left > 2*time.Hour || left < 2*time.Hour-time.Minute {
		t.Errorf("the record lives for %v (%v), want until an hour after the expiry", left, err)
	}
}

func TestTheLockLetsOneThrough(t *testing.T) {
	ctx := context.Background()
	s := record.NewStore(testserver.StartRedis(t).Client, retention)
	var opened, locked atomic.Int32
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			_, err := s.Open(ctx, newMail("race"))
			var lockedErr *record.LockedError
			switch {
			case err == nil:
				opened.Add(1)
			case errors.As(err, &lockedErr) && lockedErr.For > 0 && lockedErr.For <= record.LockTime:
				locked.Add(1)
			default:
				t.Errorf("Open: %v", err)
			}
		})
	}
	all.Wait()
	if opened.Load() != 1 || locked.Load() != 49 {
		t.Errorf("got %d opened and %d locked, want 1 and 49", opened.Load(), locked.Load())
	}
}

func TestALostLockIsNoticed(t *testing.T) {
	ctx := context.Background()
	r := testserver.StartRedis(t)
	s := record.NewStore(r.Client, retention)
	first := mustOpen(t, s, newMail("lost"))
	if err := s.Renew(ctx, first); err != nil {
		t.Fatalf("Renew of a held lock: %v", err)
	}
	loseLock(t, r.Client, "lost")
	second := mustOpen(t, s, newMail("lost"))
	if err := s.Renew(ctx, first); !errors.Is(err, record.ErrLostLock) {
		t.Errorf("Renew of a lock that another holds: got %v, want ErrLostLock", err)
	}
	var locked *record.LockedError
	if err := s.Defer(ctx, first, record.Result{}, time.Now(), true); !errors.As(err, &locked) {
		t.Errorf("Defer without the lock: got %v, want LockedError", err)
	}
	if _, err := s.End(ctx, first, tasks.Refused, record.Result{}); !errors.As(err, &locked) {
		t.Errorf("End without the lock: got %v, want LockedError", err)
	}
	if err := s.Renew(ctx, second); err != nil {
		t.Errorf("the second holder lost its lock to the first: %v", err)
	}
}

func TestWhatARelayTookIsAcceptedWhoeverHoldsTheLock(t *testing.T) {
	ctx := context.Background()
	r := testserver.StartRedis(t)
	s := record.NewStore(r.Client, retention)
	for _, outcome := range []tasks.State{tasks.Refused, tasks.Expired, tasks.Unknown, tasks.Revoked} {
		id := "late-" + string(outcome)
		first := mustOpen(t, s, newMail(id))
		loseLock(t, r.Client, id)
		second := mustOpen(t, s, newMail(id))
		if _, err := s.End(ctx, second, outcome, record.Result{Reason: "network"}); err != nil {
			t.Fatal(err)
		}
		if err := s.Accept(ctx, first, record.Result{Code: 250}); err != nil {
			t.Fatal(err)
		}
		if got, _ := s.Status(ctx, id, time.Now()); got.State != tasks.Accepted {
			t.Errorf("after %s and Accept: got %s", outcome, got.State)
		}
		// And nothing takes accepted back.
		if _, err := s.End(ctx, second, outcome, record.Result{}); err != nil {
			t.Fatal(err)
		}
		if got, _ := s.Status(ctx, id, time.Now()); got.State != tasks.Accepted {
			t.Errorf("after Accept and %s: got %s", outcome, got.State)
		}
	}
}

func TestATryThatDoesNotCountIsGivenBack(t *testing.T) {
	ctx := context.Background()
	s := record.NewStore(testserver.StartRedis(t).Client, retention)
	for range 3 {
		a := mustOpen(t, s, newMail("free"))
		if err := s.Defer(ctx, a, record.Result{Reason: "relay"}, time.Now(), false); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ := s.Status(ctx, "free", time.Now()); got.Tries != 0 {
		t.Errorf("got %d tries, want 0", got.Tries)
	}
}

func TestAMailThatWasNeverOpenedCanEnd(t *testing.T) {
	ctx := context.Background()
	r := testserver.StartRedis(t)
	s := record.NewStore(r.Client, retention)
	m := newMail("late")
	if _, err := s.EndUnopened(ctx, m, tasks.Expired, record.Result{Reason: "late"}); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, s, m.ID, tasks.Status{ID: "late", Reference: tasks.Reference("late"), Kind: "key", Purpose: "sign-in", State: tasks.Expired, Reason: "late",
		CreatedAt: m.CreatedAt, ExpiresAt: m.ExpiresAt})

	m = newMail("busy")
	mustOpen(t, s, m)
	var locked *record.LockedError
	if _, err := s.EndUnopened(ctx, m, tasks.Expired, record.Result{}); !errors.As(err, &locked) {
		t.Errorf("a mail that is being sent: got %v, want LockedError", err)
	}
	loseLock(t, r.Client, "busy") // its worker died
	if _, err := s.EndUnopened(ctx, m, tasks.Expired, record.Result{}); err != nil {
		t.Errorf("a mail whose worker died: %v", err)
	}
	if got, _ := s.Status(ctx, "busy", time.Now()); got.State != tasks.Expired {
		t.Errorf("got %s, want expired", got.State)
	}
}

// TestAResendThatWasNeverOpenedIsNotQueuedForEver: the worker that finds it too late is faster than the client that shows it
// as queued. The mail was handed over before, so it does not become expired.
func TestAResendThatWasNeverOpenedIsNotQueuedForEver(t *testing.T) {
	ctx := context.Background()
	s := record.NewStore(testserver.StartRedis(t).Client, retention)
	for first, want := range map[tasks.State]tasks.State{tasks.Accepted: tasks.Accepted, tasks.Refused: tasks.Expired} {
		m := newMail("late-" + string(first))
		m.Sealed = []byte("x")
		a := mustOpen(t, s, m)
		var err error
		if first == tasks.Accepted {
			err = s.Accept(ctx, a, record.Result{Code: 250})
		} else {
			_, err = s.End(ctx, a, first, record.Result{Code: 550})
		}
		if err != nil {
			t.Fatal(err)
		}
		again := m
		again.Resends = 1
		for range 2 {
			if got, err := s.EndUnopened(ctx, again, tasks.Expired, record.Result{Reason: "late"}); err != nil || got != want {
				t.Fatalf("got %s, %v; want %s", got, err, want)
			}
			if err := s.Resend(ctx, m.ID, 1); err != nil {
				t.Fatal(err)
			}
			got, err := s.Status(ctx, m.ID, time.Now())
			if err != nil || got.State != want || got.Reason != "late" || got.Resends != 1 || got.Code != 0 {
				t.Errorf("got %+v, %v; want %s, late, of sending 1", got, err, want)
			}
		}
		// The task of the first sending, once more, changes nothing.
		if got, err := s.EndUnopened(ctx, m, tasks.Refused, record.Result{Reason: "malformed"}); err != nil || got != want {
			t.Errorf("got %s, %v; want %s", got, err, want)
		}
		if got, _ := s.Status(ctx, m.ID, time.Now()); got.State != want {
			t.Errorf("got %s, want %s", got.State, want)
		}
	}
}

// TestALateEndOfASendingEndsNoOther: its call was carried out, its reply was lost, and it is repeated after a resend was asked for.
func TestALateEndOfASendingEndsNoOther(t *testing.T) {
	ctx := context.Background()
	s := record.NewStore(testserver.StartRedis(t).Client, retention)
	for name, end := range map[string]func(*record.Attempt) error{
		"accepted": func(a *record.Attempt) error { return s.Accept(ctx, a, record.Result{Code: 250}) },
		"refused":  func(a *record.Attempt) error { _, err := s.End(ctx, a, tasks.Refused, record.Result{}); return err },
		"unknown":  func(a *record.Attempt) error { _, err := s.End(ctx, a, tasks.Unknown, record.Result{}); return err },
	} {
		m := newMail(name)
		m.Sealed = []byte("x")
		a := mustOpen(t, s, m)
		again := m
		again.Resends = 1
		for i, step := range []func() error{
			func() error { return end(a) },
			func() error { return s.Resend(ctx, m.ID, 1) },
			func() error { return end(a) },
			func() error {
				b, err := s.Open(ctx, again)
				if err != nil {
					return err
				}
				return s.Defer(ctx, b, record.Result{}, time.Now(), false)
			},
			func() error { return end(a) },
			func() error { return s.Accept(ctx, mustOpen(t, s, again), record.Result{}) },
		} {
			if err := step(); err != nil {
				t.Fatalf("%s, step %d: %v", name, i, err)
			}
		}
		if got, _ := s.Status(ctx, m.ID, time.Now()); got.State != tasks.Accepted || got.Resends != 1 {
			t.Errorf("%s: got %s of sending %d, want accepted of 1", name, got.State, got.Resends)
		}
	}
}

// TestARepeatedOpenCountsOnce drops the reply to an Open after Redis has carried it out, as a broken connection does.
// go-redis then repeats the script by itself.
func TestARepeatedOpenCountsOnce(t *testing.T) {
	r := testserver.StartRedis(t)
	var drop atomic.Bool
	rdb := redis.NewClient(&redis.Options{MaxRetries: 5, Username: testserver.Worker, Password: testserver.RedisPassword, Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := net.Dial("unix", r.Client.Options().Addr)
		return lossyConn{conn, &drop}, err
	}})
	defer rdb.Close()
	s := record.NewStore(rdb, retention)
	mustOpen(t, s, newMail("warm")) // loads the script, so that the next call is one command
	drop.Store(true)
	a := mustOpen(t, s, newMail("repeat"))
	if drop.Load() {
		t.Fatal("no reply was dropped")
	}
	if a.Try != 1 {
		t.Errorf("got try %d, want 1", a.Try)
	}
}

// lossyConn loses one reply when drop is set: the server has carried the command out when it replies.
type lossyConn struct {
	net.Conn
	drop *atomic.Bool
}

func (c lossyConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.drop.CompareAndSwap(true, false) {
		c.Conn.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}
