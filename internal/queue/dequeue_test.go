package queue

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
)

// dequeuer is asynq's dequeuer as the hook sees it, with a Redis whose answers the test says.
type dequeuer struct {
	hook    *dequeueHook
	answers map[string]error // by queue
	asked   []string
}

func (d *dequeuer) look(queue string) error {
	cmd := redis.NewCmd(context.Background(), "evalsha", dequeueSHA, 4, queue, "asynq:{x}:paused", "active", "lease")
	return d.hook.ProcessHook(func(_ context.Context, cmd redis.Cmder) error {
		d.asked = append(d.asked, queue)
		return d.answers[queue]
	})(context.Background(), cmd)
}

func TestDequeueHook_DoesNotAskAnEmptyQueueBeforeEveryTaskOfTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dequeuer{hook: newDequeueHook(t.Context()), answers: map[string]error{"codes": redis.Nil, "keys": nil}}
		looks := func() (codes, keys error) {
			time.Sleep(time.Millisecond)
			return d.look("codes"), d.look("keys")
		}
		for range 50 {
			if codes, keys := looks(); codes != redis.Nil || keys != nil {
				t.Fatalf("got %v and %v, want no code and a key", codes, keys)
			}
		}
		if codes := len(d.asked) - 50; codes != 10 {
			t.Errorf("the codes' queue was asked %d times in 50 ms, want once in 5 ms", codes)
		}
		d.answers["codes"] = nil
		began := time.Now()
		for {
			if codes, _ := looks(); codes == nil {
				break
			}
		}
		if took := time.Since(began); took > emptyFor+time.Millisecond {
			t.Errorf("a code was found after %v, want no more than %v", took, emptyFor)
		}

		d.answers = map[string]error{"codes": redis.Nil, "keys": redis.Nil}
		time.Sleep(emptyFor)
		looks()
		d.asked = nil
		for range 10 {
			looks()
		}
		if len(d.asked) != 20 {
			t.Errorf("while all queues were empty Redis was asked %d times of 20", len(d.asked))
		}
	})
}

// TestDequeueHook_AsksBeforeADequeuerSleeps: one that is told that all queues are empty sleeps, so at least one of them has to be asked.
func TestDequeueHook_AsksBeforeADequeuerSleeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dequeuer{hook: newDequeueHook(t.Context()), answers: map[string]error{"codes": redis.Nil, "keys": redis.Nil}}
		d.look("codes")
		d.look("keys")
		d.answers["codes"] = nil // two codes have come
		d.look("codes")
		time.Sleep(time.Millisecond)
		if err := d.look("codes"); err != nil {
			t.Errorf("the second code: got %v, want that Redis is asked", err)
		}
		d.answers["codes"] = redis.Nil
		d.asked = nil
		d.look("codes")
		d.look("keys")
		if len(d.asked) != 2 {
			t.Errorf("after the last code only %v were asked", d.asked)
		}
	})
}

func TestDequeueHook_BacksOffAfterErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		oom := errors.New("OOM command not allowed when used memory > 'maxmemory'")
		d := &dequeuer{hook: newDequeueHook(t.Context()), answers: map[string]error{"codes": oom}}
		began := time.Now()
		for range 100 {
			if err := d.look("codes"); err != oom {
				t.Fatalf("got %v, want Redis's own error", err)
			}
		}
		if took := time.Since(began); took < 100*time.Second {
			t.Errorf("100 looks that failed took %v: too often", took)
		}
		d.answers["codes"] = redis.Nil
		began = time.Now()
		d.look("codes")
		if took := time.Since(began); took != 0 {
			t.Errorf("a look at a Redis that is well took %v", took)
		}
	})
}
