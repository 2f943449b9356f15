package queue

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"example.com/securemail/tasks"
)

// TestDisposition_AsynqObeys: a deferred task never runs into asynq's own limit, and one that has ended never comes back.
func TestDisposition_AsynqObeys(t *testing.T) {
	again := Retry(time.Minute, tasks.ReasonNetwork).err
	if got := retryDelay(7, fmt.Errorf("wrapped: %w", again), nil); got != time.Minute {
		t.Errorf("retry: got %v, want 1m", got)
	}
	if got := retryDelay(7, asynq.ErrLeaseExpired, nil); got != recoveredDelay {
		t.Errorf("a task whose lease ended: got %v, want %v", got, recoveredDelay)
	}
	if err := Archive(tasks.Refused, tasks.ReasonRecipient).err; !errors.Is(err, asynq.SkipRetry) {
		t.Errorf("archive: got %v", err)
	}
	if err := Drop(tasks.Expired, tasks.ReasonLate).err; !errors.Is(err, asynq.RevokeTask) {
		t.Errorf("drop: got %v", err)
	}
	if Done().err != nil {
		t.Errorf("done: got %v", Done().err)
	}
}
