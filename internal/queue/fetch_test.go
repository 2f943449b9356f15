package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/tasks"
)

var codes, keys = pendingKey(tasks.QueueCodes), pendingKey(tasks.Queue)

// dequeuer is asynq's dequeuer as the fetcher sees it, with a Redis whose answers the test says.
type dequeuer struct {
	t       *testing.T
	fetcher *fetcher
	mu      sync.Mutex
	has     map[string]int   // tasks by pending list; -1 for one that never ends
	fails   map[string]error // by pending list
	asked   []string
	sizes   []int // of the batches that were asked for
	back    []string
	next    int
}

func newDequeuer(t *testing.T, places int) *dequeuer {
	d := &dequeuer{t: t, has: map[string]int{}, fails: map[string]error{}}
	d.fetcher = newFetcher(t.Context(), places, newBell(), func(_ string, ids []string) { d.back = append(d.back, ids...) })
	return d
}

// look asks for one task as asynq does, and returns its message.
func (d *dequeuer) look(pending string) (message string, err error) {
	cmd := redis.NewCmd(context.Background(), "evalsha", dequeueSHA, 4, pending, "paused", "active", "lease", 1, "prefix")
	err = d.fetcher.ProcessHook(d.redis)(context.Background(), cmd)
	if text, _ := cmd.Val().(string); err == nil {
		message = text
	}
	return message, err
}

func (d *dequeuer) redis(_ context.Context, cmd redis.Cmder) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	args := cmd.Args()
	if args[1] != fetchScript.Hash() {
		d.t.Fatalf("asked for %v", args[1])
	}
	pending, n := args[3].(string), args[9].(int)
	d.asked, d.sizes = append(d.asked, pending), append(d.sizes, n)
	if err := d.fails[pending]; err != nil {
		return err
	}
	var reply []string
	for ; n > 0 && d.has[pending] != 0; n-- {
		d.next++
		d.has[pending]--
		reply = append(reply, fmt.Sprint(d.next), fmt.Sprintf("message %d", d.next))
	}
	cmd.(*redis.StringSliceCmd).SetVal(reply)
	return nil
}

// TestFetcher_FetchesAsManyAsThereAreFreePlaces, and not more: one that waits has a lease that nobody renews.
func TestFetcher_FetchesAsManyAsThereAreFreePlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDequeuer(t, 8)
		d.has[keys] = 100
		take := func(n int) {
			t.Helper()
			message, err := d.look(keys)
			if want := fmt.Sprintf("message %d", n); err != nil || message != want {
				t.Fatalf("got %q, %v; want %s", message, err, want)
			}
		}
		for n := range 8 {
			take(n + 1)
			d.fetcher.began(fmt.Sprint(n + 1))
		}
		for n := range 3 {
			d.fetcher.ended(fmt.Sprint(n + 1))
		}
		take(9)
		d.fetcher.began("9")
		if !slices.Equal(d.sizes, []int{8, 3}) {
			t.Errorf("asked for %v tasks, want 8 and then the 3 whose places were free", d.sizes)
		}
		// asynq may refuse a task without a run. Its place is free after a while.
		take(10)
		take(11)
		time.Sleep(startTime + time.Second)
		d.fetcher.ended("9")
		take(12)
		if d.sizes[len(d.sizes)-1] != 3 {
			t.Errorf("asked for %v tasks, want 3 in the end: two never began", d.sizes)
		}
	})
}

// TestFetcher_PutsBackWhatWaitsWhenItStops, the oldest last, so that it is taken first again.
func TestFetcher_PutsBackWhatWaitsWhenItStops(t *testing.T) {
	d := newDequeuer(t, 4)
	ctx, stop := context.WithCancel(t.Context())
	d.fetcher.stopping = ctx
	d.has[keys] = 4
	if _, err := d.look(keys); err != nil {
		t.Fatal(err)
	}
	stop()
	d.fetcher.drain()
	if !slices.Equal(d.back, []string{"4", "3", "2"}) {
		t.Errorf("put back %q", d.back)
	}
	if _, err := d.look(keys); err != redis.Nil {
		t.Errorf("after that: got %v, want nothing", err)
	}
}

// TestFetcher_PutsBackWhatWaitedTooLong: others may have taken it, once its lease has ended.
func TestFetcher_PutsBackWhatWaitedTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDequeuer(t, 4)
		d.has[keys] = 4
		d.look(keys)
		time.Sleep(staleTime)
		d.has[keys] = 1
		if message, err := d.look(keys); err != nil || message != "message 5" || !slices.Equal(d.back, []string{"2", "3", "4"}) {
			t.Errorf("got %q, %v, and put back %q", message, err, d.back)
		}
	})
}

func TestFetcher_DoesNotAskAnEmptyQueueBeforeEveryTaskOfTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDequeuer(t, 1)
		d.has[keys] = -1
		looks := func() (code, key error) {
			time.Sleep(time.Millisecond)
			_, code = d.look(codes)
			_, key = d.look(keys)
			return code, key
		}
		for range 50 {
			if code, key := looks(); code != redis.Nil || key != nil {
				t.Fatalf("got %v and %v, want no code and a key", code, key)
			}
		}
		if n := len(d.asked) - 50; n != 10 {
			t.Errorf("the codes' queue was asked %d times in 50 ms, want once in 5 ms", n)
		}
		d.has[codes] = 1
		began := time.Now()
		for {
			if code, _ := looks(); code == nil {
				break
			}
		}
		if took := time.Since(began); took > emptyFor+time.Millisecond {
			t.Errorf("a code was found after %v, want no more than %v", took, emptyFor)
		}
	})
}

// TestFetcher_WaitsOnlyWhenEveryQueueWasLookedInto: a dequeuer that waits must not leave a task behind.
func TestFetcher_WaitsOnlyWhenEveryQueueWasLookedInto(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDequeuer(t, 1)
		d.has[keys] = 2
		d.look(codes)
		d.look(keys)
		d.look(codes) // answered without Redis: it was empty a moment ago
		d.look(keys)
		began := time.Now()
		d.look(codes)
		d.look(keys) // empty, but the codes were not looked into
		d.look(codes)
		d.look(keys)
		if took := time.Since(began); took != 0 {
			t.Errorf("the dequeuer waited for %v without a look at the codes", took)
		}
		d.look(codes)
		if took := time.Since(began); took != lookInterval {
			t.Errorf("the dequeuer waited for %v, want %v", took, lookInterval)
		}
	})
}

// TestFetcher_IsWokenAtOnce, and then looks into every queue without another wait.
func TestFetcher_IsWokenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDequeuer(t, 1)
		began := time.Now()
		time.AfterFunc(time.Second, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.has[keys] = 1
			d.fetcher.bell.ring(keys)
		})
		d.look(codes)
		d.look(keys)
		d.look(codes)
		if message, err := d.look(keys); message == "" || time.Since(began) != time.Second {
			t.Errorf("got %q, %v after %v; want a task after a second", message, err, time.Since(began))
		}
	})
}

func TestFetcher_BacksOffAfterErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		oom := errors.New("OOM command not allowed when used memory > 'maxmemory'")
		d := newDequeuer(t, 1)
		d.fails[codes] = oom
		began := time.Now()
		for range 100 {
			if _, err := d.look(codes); err != oom {
				t.Fatalf("got %v, want Redis's own error", err)
			}
		}
		if took := time.Since(began); took < 100*time.Second {
			t.Errorf("100 looks that failed took %v: too often", took)
		}
		delete(d.fails, codes)
		began = time.Now()
		d.look(codes)
		if took := time.Since(began); took != 0 {
			t.Errorf("a look at a Redis that is well took %v", took)
		}
	})
}
