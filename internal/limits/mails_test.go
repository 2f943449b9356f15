package limits_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/securemail/internal/limits"
	"example.com/securemail/internal/mailaddr"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

const counters = "securemail:{r:someone}"

func sending(kind tasks.Kind, n int) limits.Sending {
	return limits.Sending{ID: fmt.Sprintf("mail%d", n), Kind: kind, Recipient: counters, Until: time.Now().Add(24 * time.Hour)}
}

// recipient asks for places of mails to one address.
type recipient struct {
	*testing.T
	redis *testserver.Redis
	mails *limits.Mails
}

func newRecipient(t *testing.T) recipient {
	r := testserver.StartRedis(t)
	return recipient{t, r, limits.NewMails(r.Client, tasks.DefaultLimits())}
}

// admit returns in how many minutes a mail goes out, or -1.
func (r recipient) admit(kind tasks.Kind, n int) int {
	r.Helper()
	place, err := r.mails.Admit(r.Context(), sending(kind, n))
	if errors.Is(err, tasks.ErrLimited) {
		return -1
	}
	if err != nil {
		r.Fatal(err)
	}
	return int(place.Wait.Round(time.Minute) / time.Minute)
}

// looks is whether a look finds a place for the mail.
func (r recipient) looks(kind tasks.Kind, n int) bool {
	r.Helper()
	_, err := r.mails.Look(r.Context(), sending(kind, n))
	if err != nil && !errors.Is(err, tasks.ErrLimited) {
		r.Fatal(err)
	}
	return err == nil
}

func (r recipient) age(by time.Duration) {
	r.Helper()
	for field := range r.redis.Client.HGetAll(r.Context(), counters).Val() {
		if err := r.redis.Client.HIncrBy(r.Context(), counters, field, -by.Milliseconds()).Err(); err != nil {
			r.Fatal(err)
		}
	}
}

func TestAdmit_OneMailAMinuteAndTenAnHour(t *testing.T) {
	r := newRecipient(t)
	for n := range 10 {
		kind, want := tasks.Code, n
		if n == 9 {
			kind, want = tasks.Key, 0 // another kind has its own minute, and the same hour
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
	if r.looks("key", 99) {
		t.Error("Look finds a place for the eleventh")
	}
	if !r.looks("key", 9) {
		t.Error("Look finds no place for a mail that was counted")
	}
	if got := r.admit("code", 5); got != 5 {
		t.Errorf("one that has its place was moved to %d minutes", got)
	}
	r.age(time.Hour + 10*time.Minute)
	if !r.looks("key", 99) {
		t.Error("Look finds no place an hour later")
	}
	if got := r.admit("key", 10); got != 0 {
		t.Errorf("an hour later: got %d minutes, want 0", got)
	}
}

func TestAdmit_ThirtyMailsADay(t *testing.T) {
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
	if n := r.redis.Client.HLen(t.Context(), counters).Val(); n != 1 {
		t.Errorf("%d fields are kept, want 1", n)
	}
}

func TestAdmit_RefusesATurnThatComesTooLate(t *testing.T) {
	r := newRecipient(t)
	r.admit("code", 1)
	late := sending("code", 2)
	late.Until = time.Now().Add(30 * time.Second)
	_, err := r.mails.Admit(t.Context(), late)
	if !errors.Is(err, tasks.ErrLimited) {
		t.Errorf("got %v, want ErrLimited", err)
	}
	if got := r.admit("code", 3); got != 1 {
		t.Errorf("it has a place nevertheless: the next goes out in %d minutes, want 1", got)
	}
}

func TestAdmit_BoundsAFlood(t *testing.T) {
	r := newRecipient(t)
	var now, later, refused atomic.Int32
	var group sync.WaitGroup
	for worker := range 20 {
		group.Go(func() {
			for n := worker; n < 10_000; n += 20 {
				s := sending("code", n)
				s.Until = time.Now().Add(8 * time.Minute)
				place, err := r.mails.Admit(context.Background(), s)
				switch {
				case errors.Is(err, tasks.ErrLimited):
					refused.Add(1)
				case err != nil:
					t.Error(err)
				case place.Wait == 0:
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

func TestRecipientKey_IgnoresCapitals(t *testing.T) {
	key := func(address string) string {
		t.Helper()
		to, err := mailaddr.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		return limits.RecipientKey([]byte("key"), to)
	}
	if key("Alice@example.com") != key("aLICE@example.com") {
		t.Error("two ways to write an address have two counters")
	}
	if key("alice@example.com") == key("bob@example.com") {
		t.Error("two addresses share their counters")
	}
}
