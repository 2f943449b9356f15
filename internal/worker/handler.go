package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"go.uber.org/zap"

	"example.com/securemail/internal/record"
	"example.com/securemail/internal/submission"
	"example.com/securemail/tasks"
)

// errTooLate stops a submission whose mail has become too old to be of use.
var errTooLate = errors.New("too little of the mail's life is left")

type handler struct {
	Config
	records  *record.Store
	metrics  *metrics
	stopping context.Context // ends when no further wait is worth it
	running  sync.WaitGroup  // of ProcessTask: asynq lets go of a task whose lease is lost, and does not wait for it
}

// ProcessTask is one run of one task. What it returns is asynq's to act on: nil is done, [later] is a retry,
// asynq.SkipRetry archives, asynq.RevokeTask drops. asynq keeps the error's text, so it holds no address and no reply.
func (h *handler) ProcessTask(ctx context.Context, t *asynq.Task) error {
	h.running.Add(1)
	defer h.running.Done()
	r := &run{handler: h, started: time.Now(), log: h.Log}
	id, _ := asynq.GetTaskID(ctx)
	failpoint("dequeued", id)
	err := r.sendOrRecover(ctx, t)
	r.report()
	failpoint("returned", id)
	return err
}

// run is one task on its way, and what is to be said of it in the end.
type run struct {
	*handler
	started time.Time
	log     *zap.Logger

	task    tasks.Task
	attempt *record.Attempt
	receipt submission.Receipt
	timings timings

	state   record.State
	result  record.Result
	next    time.Time
	cause   error // for the log; never an address, a secret or a server's own words
	trouble bool  // somebody has to look at it
}

// timings is how long the steps took.
type timings struct{ open, compose, submit, record time.Duration }

// sendOrRecover makes a panic one mail's trouble, with a line that names the mail. The value of a panic can hold anything
// and is not logged; a stack holds no contents.
func (r *run) sendOrRecover(ctx context.Context, t *asynq.Task) (err error) {
	defer func() {
		if value := recover(); value != nil {
			r.cause, r.trouble = fmt.Errorf("panic with a %T at %s", value, debug.Stack()), true
			err = r.again(faultDelay, reasonFault)
		}
	}()
	return r.send(ctx, t)
}

func (r *run) send(ctx context.Context, t *asynq.Task) error {
	var err error
	if r.task, err = tasks.ParseTask(t); err != nil {
		return r.unreadable(ctx, err)
	}
	payload := t.Payload()
	if r.task.Resend > 0 {
		var done error
		if payload, done = r.readKept(ctx); payload == nil {
			return done
		}
	}
	if err := r.checkLife(); err != nil {
		return r.unreadable(ctx, err)
	}
	if r.late() {
		return r.endUnopened(ctx, record.Expired, reasonLate)
	}
	turn, err := r.waitForRelay(ctx)
	if err == nil {
		defer turn.Release(context.WithoutCancel(ctx))
	}
	switch {
	case r.late():
		r.cause = err
		return r.endUnopened(ctx, record.Expired, reasonLate)
	case err != nil:
		r.cause = err
		return r.again(noRelayDelay, reasonRelay)
	}

	ring, err := r.KeyRing.Ring()
	if err != nil {
		r.log.Error("the key ring file is not usable; the keys read before stay in use", zap.Error(err))
	}
	m, err := r.recordMail(ring, payload)
	if err != nil {
		r.cause = err
		return r.endUnopened(ctx, record.Refused, reasonMessage)
	}
	step := time.Now()
	r.attempt, err = r.records.Open(ctx, m)
	r.timings.open = time.Since(step)
	if err != nil {
		return r.notOpened(err)
	}
	failpoint("opened", r.task.ID)
	held := hold(ctx, r.records, r.attempt, step)
	defer held.stop()
	if wait, err := r.admit(ctx, ring); err != nil || wait > 0 {
		return r.limited(ctx, wait, err)
	}

	step = time.Now()
	message, err := r.compose()
	r.timings.compose = time.Since(step)
	if err != nil {
		return r.settle(ctx, verdictOf(err), err)
	}

	step = time.Now()
	envelope := submission.Envelope{From: r.From.Address, To: r.task.Mail.To}
	r.receipt, err = turn.Submit(ctx, r.preferred(), envelope, message, func(ctx context.Context) error {
		failpoint("before-dot", r.task.ID)
		if r.late() {
			return errTooLate
		}
		return held.check(ctx)
	})
	r.timings.submit = time.Since(step)
	if err != nil {
		return r.settle(ctx, verdictOf(err), err)
	}
	failpoint("accepted", r.task.ID)
	r.accept(ctx)
	failpoint("recorded", r.task.ID)
	return nil
}

func (r *run) late() bool { return time.Now().After(lateAt(r.task)) }

// waitForRelay holds the task's place until a relay takes mail again, half a minute at most, and no longer than the mail is
// of use. It costs Redis nothing.
func (r *run) waitForRelay(ctx context.Context) (*submission.Turn, error) {
	ctx, cancel := context.WithTimeout(ctx, min(relayWait, time.Until(lateAt(r.task))))
	defer cancel()
	defer context.AfterFunc(r.stopping, cancel)()
	return r.Relays.Acquire(ctx)
}

// preferred is the relay that may have the mail already: one that is offered it again can recognise its Message-ID.
func (r *run) preferred() string {
	if r.attempt.LastReason == reasonUnconfirmed {
		return r.attempt.LastRelay
	}
	return ""
}

// checkLife applies this worker's ceiling to what a producer asked for. A minute is forgiven, for clocks that differ.
func (r *run) checkLife() error {
	const tolerance = time.Minute
	ceiling := r.MaxLife[r.task.Mail.Kind] + tolerance
	if r.task.ExpiresAt.Sub(r.task.CreatedAt) > ceiling || time.Until(r.task.ExpiresAt) > ceiling {
		return fmt.Errorf("%w: expires_at: it is over the ceiling of %v for a %s", tasks.ErrInvalid, r.MaxLife[r.task.Mail.Kind], r.task.Mail.Kind)
	}
	return nil
}

// unreadable ends a task that makes no sense, and leaves one of tomorrow for a newer worker.
func (r *run) unreadable(ctx context.Context, err error) error {
	r.cause = err
	if errors.Is(err, tasks.ErrNewer) {
		return r.again(newerDelay, reasonNewer)
	}
	if r.task.ID == "" {
		// Nothing in the payload can be relied on; the id that asynq knows is the one the producer asks with.
		id, _ := asynq.GetTaskID(ctx)
		now := time.Now()
		r.task = tasks.Task{ID: id, CreatedAt: now, ExpiresAt: now}
	}
	return r.endUnopened(ctx, record.Refused, reasonMalformed)
}

// notOpened is for a mail that there is nothing to send of, now or ever.
func (r *run) notOpened(err error) error {
	var locked *record.LockedError
	var ended *record.EndedError
	switch {
	case errors.As(err, &ended):
		r.state, r.result.Reason = ended.Outcome, reasonRepeated
		return nil
	case errors.As(err, &locked):
		return r.again(locked.For, reasonLocked)
	}
	r.cause, r.trouble = err, true
	return r.again(redisDelay, reasonRedis)
}

// accept writes down that the relay took the mail. The mail is sent, whatever happens here, so it has its own context
// and no error: who stops the process waits for it, and without the record another worker might send a second copy.
func (r *run) accept(ctx context.Context) {
	r.state = record.Accepted
	r.result = record.Result{Code: r.receipt.Code, Enhanced: r.receipt.Enhanced, Relay: r.receipt.Relay, QueueID: r.receipt.QueueID}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), acceptTime)
	defer cancel()
	step := time.Now()
	for {
		err := r.records.Accept(ctx, r.attempt, r.result)
		r.timings.record = time.Since(step)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			r.cause, r.trouble = fmt.Errorf("the relay has the mail, but its record could not be written: %w", err), true
			return
		case <-time.After(time.Second):
		}
	}
}

// settle carries out what verdict decided, also when the try ended because ctx did: until the record says so and the lock
// is given back, nobody can go on with the mail.
func (r *run) settle(ctx context.Context, v verdict, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	r.cause, r.trouble = err, v.trouble
	r.result.Reason = v.reason
	var failure *submission.Error
	if errors.As(err, &failure) {
		r.result.Relay, r.result.Code, r.result.Enhanced = failure.Relay, failure.Code, failure.Enhanced
	}
	if v.reason == reasonUnconfirmed && r.StopOnUnknown {
		v.outcome = record.Unknown
	}
	if v.outcome != "" {
		return r.end(ctx, v.outcome)
	}
	delay, ok := delayOf(v, r.attempt.Try, time.Until(lateAt(r.task)))
	if !ok {
		return r.end(ctx, record.Expired)
	}
	r.state, r.next = record.Deferred, time.Now().Add(delay)
	if err := r.records.Defer(ctx, r.attempt, r.result, r.next, v.counts); err != nil {
		// The task is taken up again all the same; the lock runs out by then.
		r.log.Warn("the record does not show this try", zap.String("id", r.task.ID), zap.Error(err))
	}
	return &later{delay, v.reason}
}

func (r *run) end(ctx context.Context, outcome record.State) error {
	if err := r.records.End(ctx, r.attempt, outcome, r.result); err != nil {
		return r.notEnded(err)
	}
	r.state = outcome
	return final(outcome, r.result.Reason)
}

func (r *run) endUnopened(ctx context.Context, outcome record.State, reason string) error {
	r.result.Reason = reason
	if err := r.records.EndUnopened(ctx, r.plainMail(), outcome, r.result); err != nil {
		return r.notEnded(err)
	}
	r.state = outcome
	return final(outcome, reason)
}

// notEnded keeps a task whose outcome could not be written down: a mail that vanished without one would be lost.
func (r *run) notEnded(err error) error {
	var locked *record.LockedError
	if errors.As(err, &locked) {
		return r.again(locked.For, reasonLocked)
	}
	r.cause, r.trouble = err, true
	return r.again(redisDelay, reasonRedis)
}

// again leaves the record as it is and the task for later.
func (r *run) again(delay time.Duration, reason string) error {
	r.state, r.result.Reason, r.next = record.Deferred, reason, time.Now().Add(delay)
	return &later{delay, reason}
}
