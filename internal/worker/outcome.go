package worker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"example.com/securemail/internal/limits"
	"example.com/securemail/internal/queue"
	"example.com/securemail/internal/record"
	"example.com/securemail/internal/submission"
	"example.com/securemail/tasks"
)

// outcome is the result of one run.
type outcome struct {
	state       tasks.State
	result      record.Result
	next        time.Time // of the next attempt, where one follows
	cause       error     // for the log; never an address, a secret or a server's own words
	alert       bool      // an operator has to look at it
	disposition queue.Disposition
}

// retry leaves the record as it is and runs the task again after a while.
func (r *run) retry(after time.Duration, reason tasks.Reason, cause error) outcome {
	return outcome{state: tasks.Deferred, result: record.Result{Reason: reason}, next: r.now().Add(after), cause: cause,
		disposition: queue.Retry(after, reason)}
}

// alert is retry for something that an operator has to look at.
func (r *run) alert(after time.Duration, reason tasks.Reason, cause error) outcome {
	o := r.retry(after, reason, cause)
	o.alert = true
	return o
}

// ended is a mail with an outcome that the record has. What an operator may have to look at is archived, where asynqmon
// shows it. What came too late, or was one too many, is dropped.
func ended(state tasks.State, result record.Result, cause error) outcome {
	o := outcome{state: state, result: result, cause: cause, disposition: queue.Archive(state, result.Reason)}
	if state == tasks.Expired || state == tasks.Revoked || result.Reason == tasks.ReasonLimited {
		o.disposition = queue.Drop(state, result.Reason)
	}
	return o
}

// end gives an opened mail its outcome.
func (r *run) end(ctx context.Context, state tasks.State, result record.Result, cause error) outcome {
	now, err := r.records.End(ctx, r.attempt, state, result)
	if err != nil {
		return r.notEnded(err)
	}
	return ended(now, result, cause)
}

// endUnopened gives an outcome to a mail that was not opened.
func (r *run) endUnopened(ctx context.Context, state tasks.State, reason tasks.Reason, cause error) outcome {
	result := record.Result{Reason: reason}
	now, err := r.records.EndUnopened(ctx, r.plainMail(), state, result)
	if err != nil {
		return r.notEnded(err)
	}
	return ended(now, result, cause)
}

// notEnded keeps a task whose outcome could not be written down: a mail that vanished without one would be lost.
func (r *run) notEnded(err error) outcome {
	var locked *record.LockedError
	switch {
	case errors.As(err, &locked):
		return r.retry(locked.For, tasks.ReasonLocked, nil)
	case errors.Is(err, record.ErrBroken):
		return broken(err)
	}
	return r.alert(redisDelay, tasks.ReasonRedis, err)
}

// broken ends a mail whose record can neither be read nor written.
func broken(err error) outcome {
	o := ended(tasks.Refused, record.Result{Reason: tasks.ReasonRecord}, err)
	o.alert = true
	return o
}

// notOpened is the outcome where there is nothing to send, now or ever.
func (r *run) notOpened(err error) outcome {
	var locked *record.LockedError
	var done *record.EndedError
	switch {
	case errors.As(err, &done):
		return outcome{state: done.Outcome, result: record.Result{Reason: tasks.ReasonRepeated}, disposition: queue.Done()}
	case errors.As(err, &locked):
		return r.retry(locked.For, tasks.ReasonLocked, nil)
	case errors.Is(err, record.ErrBroken):
		return broken(err)
	}
	return r.alert(redisDelay, tasks.ReasonRedis, err)
}

// unreadable ends a task that is invalid, and leaves one of a newer version for a newer worker.
func (r *run) unreadable(ctx context.Context, err error) outcome {
	id, number, isResend := strings.Cut(r.queued.ID, ".")
	resends, numberErr := strconv.Atoi(number)
	if !tasks.ValidID(id) || isResend && (numberErr != nil || resends < 1) {
		// No record can have this id, and no producer of ours has made it.
		o := ended(tasks.Refused, record.Result{Reason: tasks.ReasonMalformed}, fmt.Errorf("the task's id is not that of a mail: %w", err))
		o.alert = true
		return o
	}
	if errors.Is(err, tasks.ErrNewer) {
		return r.newer(ctx, id, resends, err)
	}
	if r.task.ID == "" || r.task.ExpiresAt.After(r.now().Add(r.config.MaxLife[r.task.Mail.Kind])) {
		// Nothing in the payload can be relied on. The id that asynq knows is the one the producer asks with.
		now := r.now()
		r.task = tasks.Task{ID: id, Resends: resends, CreatedAt: now, ExpiresAt: now}
	}
	return r.endUnopened(ctx, tasks.Refused, tasks.ReasonMalformed, err)
}

// newer leaves a task for a newer worker, until the life of its secret ends, as far as a record tells.
func (r *run) newer(ctx context.Context, id string, resends int, cause error) outcome {
	kept, err := r.records.Kept(ctx, id)
	if err == nil && r.now().After(kept.ExpiresAt) {
		r.task = tasks.Task{ID: id, Resends: resends, Mail: tasks.Mail{Kind: kept.Kind, Purpose: kept.Purpose}, CreatedAt: kept.CreatedAt,
			ExpiresAt: kept.ExpiresAt}
		return r.endUnopened(ctx, tasks.Expired, tasks.ReasonLate, cause)
	}
	return r.retry(newerDelay, tasks.ReasonNewer, cause)
}

// limited defers a mail until it may go out, or refuses it. The log names the limit.
func (r *run) limited(ctx context.Context, place limits.Place, err error) outcome {
	result := record.Result{Reason: tasks.ReasonLimited}
	switch {
	case errors.Is(err, tasks.ErrLimited) && r.late(): // no limit: its life ended while it waited
		return r.end(ctx, tasks.Expired, record.Result{Reason: tasks.ReasonLate}, nil)
	case errors.Is(err, tasks.ErrLimited):
		return r.end(ctx, tasks.Refused, result, err)
	case err != nil:
		return r.settle(ctx, verdict{reason: tasks.ReasonRedis, delay: redisDelay, alert: true}, err)
	}
	next := r.now().Add(place.Wait)
	if err := r.records.Defer(ctx, r.attempt, result, next, false); err != nil {
		return r.notEnded(err)
	}
	return outcome{state: tasks.Deferred, result: result, next: next, cause: &tasks.LimitError{RetryAfter: place.Wait, Limit: place.Limit},
		disposition: queue.Retry(place.Wait, tasks.ReasonLimited)}
}

// accept writes down that the relay took the mail. The mail is sent, whatever happens here, so accept has its own context
// and returns no error: draining waits for it, and without the record another worker might send a second copy.
func (r *run) accept(ctx context.Context, receipt submission.Acceptance) outcome {
	o := outcome{state: tasks.Accepted, result: record.Result{Code: receipt.Code, EnhancedCode: receipt.EnhancedCode, Relay: receipt.Relay,
		QueueID: receipt.QueueID}, disposition: queue.Done()}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), acceptTime)
	defer cancel()
	defer r.timings.record.since(time.Now())
	for {
		err := r.records.Accept(ctx, r.attempt, o.result)
		if err == nil {
			return o
		}
		if errors.Is(err, record.ErrBroken) {
			o.cause, o.alert = fmt.Errorf("the relay has the mail, but its record could not be written: %w", err), true
			return o
		}
		select {
		case <-ctx.Done():
			o.cause, o.alert = fmt.Errorf("the relay has the mail, but its record could not be written: %w", err), true
			return o
		case <-time.After(time.Second):
		}
	}
}

// settle carries out a verdict, also when the attempt ended because ctx did: until the record shows it and the lock is
// released, no worker can go on with the mail.
func (r *run) settle(ctx context.Context, v verdict, err error) outcome {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	result := record.Result{Reason: v.reason}
	var failure *submission.Error
	if errors.As(err, &failure) {
		result.Relay, result.Code, result.EnhancedCode, result.Said = failure.Relay, failure.Code, failure.EnhancedCode, failure.Said()
	}
	if v.reason == tasks.ReasonUnconfirmed && r.config.StopOnUnknown {
		v.outcome = tasks.Unknown
	}
	delay, again := delayOf(v, r.attempt.Try, r.task.LateAt().Sub(r.now()))
	switch {
	case v.outcome != "":
		again = false
	case !again:
		v.outcome = tasks.Expired
	}
	var o outcome
	if again {
		o = outcome{state: tasks.Deferred, result: result, next: r.now().Add(delay), cause: err, disposition: queue.Retry(delay, v.reason)}
		if err := r.records.Defer(ctx, r.attempt, result, o.next, v.counts); err != nil {
			// The task runs again nevertheless; the lock runs out by then.
			r.log.Warn("could not record this attempt", zap.String("id", r.task.ID), zap.Error(err))
		}
	} else {
		o = r.end(ctx, v.outcome, result, err)
	}
	o.alert = o.alert || v.alert
	return o
}
