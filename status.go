package securemail

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"example.com/securemail/tasks"
)

// Status returns the state of the mail.
//
// Errors: [tasks.ErrNotFound], or any other error (Redis unavailable).
func (c *Client) Status(ctx context.Context, id string) (tasks.Status, error) {
	if !tasks.ValidID(id) {
		return tasks.Status{}, tasks.ErrNotFound
	}
	s, err := c.records.Status(ctx, id, c.now())
	if errors.Is(err, tasks.ErrNotFound) {
		s, queueErr := c.queuedStatus(id)
		if !errors.Is(queueErr, tasks.ErrNotFound) {
			return s, queueErr
		}
		s, err = c.records.Status(ctx, id, c.now()) // a worker may have opened and ended it between the two looks
		if err == nil {
			return s, nil
		}
	}
	if err != nil && !errors.Is(err, tasks.ErrNotFound) {
		return tasks.Status{}, fmt.Errorf("status of the mail: %w", err)
	}
	return s, err
}

// queuedStatus is the status of a mail that has no record, because no worker has opened it yet.
func (c *Client) queuedStatus(id string) (tasks.Status, error) {
	w, err := c.queue.Find(id)
	if err != nil {
		return tasks.Status{}, err
	}
	return tasks.Status{ID: id, Reference: tasks.Reference(id), ClientRef: w.Task.Mail.ClientRef, State: tasks.Queued, Credential: tasks.CredentialNew,
		NextTry: w.NextRun}, nil
}

// Wait waits until the mail has ended and returns its status. On an error it returns the last status that it saw.
//
// Errors: [tasks.ErrNotFound], ctx's error, or any other error (Redis unavailable), after which it does not try again.
func (c *Client) Wait(ctx context.Context, id string) (tasks.Status, error) {
	var last tasks.Status
	for s, err := range c.Watch(ctx, id) {
		if err != nil {
			return last, err
		}
		last = s
	}
	return last, nil
}

// Watch yields the mail's status now and whenever it has changed, until the mail has ended. After an error it yields
// nothing more; the errors are those of [Client.Wait]. It asks Redis 100 times a second at first, and then less and less
// often, down to twice a second.
func (c *Client) Watch(ctx context.Context, id string) iter.Seq2[tasks.Status, error] {
	return func(yield func(tasks.Status, error) bool) {
		var last tasks.Status
		pause := 10 * time.Millisecond
		for {
			s, err := c.Status(ctx, id)
			if err != nil {
				yield(tasks.Status{}, err)
				return
			}
			if s != last && !yield(s, nil) || s.State.Ended() {
				return
			}
			last = s
			select {
			case <-ctx.Done():
				yield(tasks.Status{}, ctx.Err())
				return
			case <-time.After(pause):
			}
			pause = min(pause*5/4, 500*time.Millisecond)
		}
	}
}
