package record_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/securemail/internal/record"
	"example.com/securemail/internal/testserver"
)

// recipient asks for places of mails to one address.
type recipient struct {
	*testing.T
	redis *testserver.Redis
	store *record.Store
}

func newRecipient(t *testing.T) recipient {
	r := testserver.StartRedis(t)
	return recipient{t, r, record.NewStore(r.Client, retention)}
}

// admit returns in how many minutes a mail goes out, or -1.
func (r recipient) admit(kind string, n int) int {
	r.Helper()
	wait, err := r.store.Admit(r.Context(), "someone", kind, fmt.Sprintf("mail%d", n), 0, time.Now().Add(24*time.Hour))
	if errors.Is(err, record.ErrLimited) {
		return -1
	}
	if err != nil {
		r.Fatal(err)
	}
	return int(wait.Round(time.Minute) / time.Minute)
}

func (r recipient) age(by time.Duration) {
	r.Helper()
	for field := range r.redis.Client.HGetAll(r.Context(), "securemail:{r:someone}").Val() {
		if err := r.redis.Client.HIncrBy(r.Context(), "securemail:{r:someone}", field, -by.Milliseconds()).Err(); err != nil {
			r.Fatal(err)
		}
	}
}

func TestOneMailAMinuteAndTenAnHour(t *testing.T) {
	r := newRecipient(t)
	for n := range 10 {
		kind, want := "code", n
		if n == 9 {
			kind, want = "key", 0 // another kind has its own minute, and the same hour
		}
		for range 3 { // asked again, by another try, the place is the same
			if got := r.admit(kind, n); got != want {
				t.Errorf("mail %d goes out in %d minutes, want %d", n, got, want)
			}
		}
	}
	if got := r.admit("key", 10); got != -1 {
		t.Errorf("the eleventh in an hour goes out in %d minutes, want never", got)
	}
	if ok, err := r.store.Admits(t.Context(), "someone", "key", "another"); ok || err != nil {
		t.Errorf("Admits: got %v, %v, want false", ok, err)
	}
	if ok, err := r.store.Admits(t.Context(), "someone", "key", "mail9"); !ok || err != nil {
		t.Errorf("Admits a mail that was counted: got %v, %v, want true", ok, err)
	}
	if got := r.admit("code", 5); got != 5 {
		t.Errorf("one that has its place was moved to %d minutes", got)
	}
	r.age(time.Hour + 10*time.Minute)
	if ok, err := r.store.Admits(t.Context(), "someone", "key", "another"); !ok || err != nil {
		t.Errorf("Admits an hour later: got %v, %v, want true", ok, err)
	}
	if got := r.admit("key", 10); got != 0 {
		t.Errorf("an hour later: got %d minutes, want 0", got)
	}
}

func TestThirtyMailsADay(t *testing.T) {
	r := newRecipient(t)
	for n := range 30 {
		if got := r.admit("code", n); got < 0 {
			t.Fatalf("mail %d was refused", n)
		}
		r.age(10 * time.Minute)
	}
	if got := r.admit("code", 30); got != -1 {
		t.Errorf("the 31st in a day: got %d, want never", got)
	}
	r.age(24 * time.Hour)
	if got := r.admit("code", 30); got != 0 {
		t.Errorf("a day later: got %d, want 0", got)
	}
	if n := r.redis.Client.HLen(t.Context(), "securemail:{r:someone}").Val(); n != 1 {
		t.Errorf("%d fields are kept, want 1", n)
	}
}

func TestAMailWhoseTurnComesTooLateHasNone(t *testing.T) {
	r := newRecipient(t)
	r.admit("code", 1)
	_, err := r.store.Admit(t.Context(), "someone", "code", "mail2", 0, time.Now().Add(30*time.Second))
	if !errors.Is(err, record.ErrLimited) {
		t.Errorf("got %v, want ErrLimited", err)
	}
	if got := r.admit("code", 3); got != 1 {
		t.Errorf("it took a place all the same: the next goes out in %d minutes, want 1", got)
	}
}

// TestTenThousandMailsToOneRecipient is what a flood comes to.
func TestTenThousandMailsToOneRecipient(t *testing.T) {
	r := newRecipient(t)
	var now, later, refused atomic.Int32
	var group sync.WaitGroup
	for worker := range 20 {
		group.Go(func() {
			for n := worker; n < 10_000; n += 20 {
				wait, err := r.store.Admit(context.Background(), "someone", "code", fmt.Sprintf("mail%d", n), 0, time.Now().Add(8*time.Minute))
				switch {
				case errors.Is(err, record.ErrLimited):
					refused.Add(1)
				case err != nil:
					t.Error(err)
				case wait == 0:
					now.Add(1)
				default:
					later.Add(1)
				}
			}
		})
	}
	group.Wait()
	if now.Load() != 1 || later.Load() != 8 || refused.Load() != 9991 {
		t.Errorf("got %d now, %d later, %d refused; want 1, 8 and 9991: codes are of use for 8 minutes", now.Load(), later.Load(), refused.Load())
	}
}

func TestCapitalsMakeNoOtherRecipient(t *testing.T) {
	key := []byte("key")
	if record.RecipientHash(key, "Alice@example.com") != record.RecipientHash(key, "aLICE@example.com") {
		t.Error("two ways to write an address have two counters")
	}
	if record.AddressTag(key, "id", "Alice@example.com") == record.AddressTag(key, "id", "alice@example.com") {
		t.Error("the tag that an answer is compared with does not tell them apart")
	}
}

// TestAnAnswerThatCouldNotBeReadIsNotCharged: on a cluster the record's server can fail while the counters' server is well.
func TestAnAnswerThatCouldNotBeReadIsNotCharged(t *testing.T) {
	r := testserver.StartRedis(t)
	s := record.NewStore(r.Client, retention)
	if err := r.Client.Set(t.Context(), "securemail:{broken}", "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	for range record.MaxRecipientMisses + 1 {
		if _, err := s.StartCheck(t.Context(), "broken", "r", "sign-in"); err == nil {
			t.Fatal("got no error of a record that cannot be read")
		}
	}
	if c, err := s.StartCheck(t.Context(), "other", "r", "sign-in"); err != nil || c.Limited {
		t.Errorf("got %+v, %v; want that nothing was charged", c, err)
	}
}
