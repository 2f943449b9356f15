package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"go.uber.org/zap"

	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/limits"
	"example.com/securemail/internal/queue"
	"example.com/securemail/internal/record"
	"example.com/securemail/internal/submission"
	"example.com/securemail/tasks"
)

// errTooLate stops a submission whose mail has become too old to be of use.
var errTooLate = errors.New("too little of the mail's life is left")

// handle is one run of one task.
func (w *Worker) handle(ctx context.Context, t queue.Delivery) queue.Disposition {
	r := &run{Worker: w, queued: t, started: w.now(), log: w.config.Log}
	failpoint("dequeued", t.ID)
	o := r.sendOrRecover(ctx)
	r.report(o)
	failpoint("returned", t.ID)
	return o.disposition
}

// run is one task on its way.
type run struct {
	*Worker
	queued  queue.Delivery
	started time.Time
	log     *zap.Logger

	task    tasks.Task      // what queued says, or for a resend what the record keeps
	attempt *record.Attempt // nil until the record is open
	receipt submission.Acceptance
	timings timings
}

// timings is how long the steps took.
type timings struct{ open, compose, submit, record stopwatch }

type stopwatch time.Duration

func (s *stopwatch) since(begin time.Time) { *s = stopwatch(time.Since(begin)) }

// trace is where tests see the mail pass.
func (r *run) trace(point string) { failpoint(point, r.task.ID) }

// sendOrRecover makes a panic one mail's failure. The value of a panic can hold anything and is not logged. A stack holds
// no contents.
func (r *run) sendOrRecover(ctx context.Context) (o outcome) {
	defer func() {
		if value := recover(); value != nil {
			o = r.alert(faultDelay, tasks.ReasonFault, fmt.Errorf("panic with a %T at %s", value, debug.Stack()))
		}
	}()
	return r.send(ctx)
}

func (r *run) send(ctx context.Context) outcome {
	payload, stop := r.read(ctx)
	if stop != nil {
		return *stop
	}
	if err := r.checkTask(); err != nil {
		return r.unreadable(ctx, err)
	}
	if r.late() {
		return r.endUnopened(ctx, tasks.Expired, tasks.ReasonLate, nil)
	}
	turn, err := r.waitForRelay(ctx)
	if err == nil {
		defer turn.Release(context.WithoutCancel(ctx))
	}
	switch {
	case r.late():
		return r.endUnopened(ctx, tasks.Expired, tasks.ReasonLate, err)
	case err != nil:
		return r.retry(noRelayDelay, tasks.ReasonRelay, err)
	}

	ring, err := r.config.KeyRing.Ring()
	if err != nil {
		r.warnKeyRing(err)
	}
	m, err := r.recordMail(ring, payload)
	if err != nil {
		return r.endUnopened(ctx, tasks.Refused, tasks.ReasonMessage, err)
	}
	requested := time.Now()
	r.attempt, err = r.records.Open(ctx, m)
	r.timings.open.since(requested)
	if err != nil {
		return r.notOpened(err)
	}
	r.trace("opened")
	lock := keepLock(ctx, r.records, r.attempt, requested)
	defer lock.stop()
	key, err := r.key(ring)
	if err != nil {
		r.attempt.CreatedAt, r.attempt.ExpiresAt = r.task.CreatedAt, r.task.ExpiresAt // the record's can be anybody's
		return r.settle(ctx, verdictOf(err), err)
	}
	// The secret's life is what its record says. A repeated task can have later dates.
	if r.task.CreatedAt, r.task.ExpiresAt = r.attempt.CreatedAt, r.attempt.ExpiresAt; r.late() {
		return r.end(ctx, tasks.Expired, record.Result{Reason: tasks.ReasonLate}, nil)
	}
	if place, err := r.admit(ctx, ring); err != nil || place.Wait > 0 {
		return r.limited(ctx, place, err)
	}
	return r.submit(ctx, turn, lock, key)
}

// submit composes the mail and hands it to a relay.
func (r *run) submit(ctx context.Context, turn *submission.Turn, lock *sendLock, key []byte) outcome {
	begin := time.Now()
	message, err := r.compose(key)
	r.timings.compose.since(begin)
	if err != nil {
		return r.settle(ctx, verdictOf(err), err)
	}
	begin = time.Now()
	envelope := submission.Envelope{From: r.config.From.Address.String(), To: r.task.Mail.To, ID: r.task.ID}
	r.receipt, err = turn.Submit(ctx, r.preferred(), envelope, message, func(ctx context.Context) error {
		r.trace("before-dot")
		if r.late() {
			return errTooLate
		}
		return lock.check(ctx)
	})
	r.timings.submit.since(begin)
	if err != nil {
		return r.settle(ctx, verdictOf(err), err)
	}
	r.trace("accepted")
	o := r.accept(ctx, r.receipt)
	r.trace("recorded")
	return o
}

// read parses the task. It returns the payload that a resend needs, or the outcome where the run stops.
func (r *run) read(ctx context.Context) (payload []byte, stop *outcome) {
	var err error
	if r.task, err = tasks.ParseTask(r.queued.Type, r.queued.Payload); err != nil {
		o := r.unreadable(ctx, err)
		return nil, &o
	}
	if r.task.Resends > 0 {
		return r.readKept(ctx)
	}
	return r.queued.Payload, nil
}

func (r *run) late() bool { return r.now().After(r.task.LateAt()) }

// waitForRelay blocks the task's slot until a relay takes mail, half a minute at most, and no longer than the mail is of
// use. It costs Redis nothing.
func (r *run) waitForRelay(ctx context.Context) (*submission.Turn, error) {
	ctx, cancel := context.WithTimeout(ctx, min(relayWait, r.task.LateAt().Sub(r.now())))
	defer cancel()
	defer context.AfterFunc(r.stopping, cancel)()
	return r.config.Relays.Acquire(ctx)
}

// preferred is the relay that may have the mail already: one that is offered it again can recognise its Message-ID.
func (r *run) preferred() string {
	if r.attempt.LastReason == tasks.ReasonUnconfirmed {
		return r.attempt.LastRelay
	}
	return ""
}

// checkTask applies this worker's settings to what a producer asked for. It tolerates a minute of a longer life, because
// clocks differ.
func (r *run) checkTask() error {
	const tolerance = time.Minute
	m, longest := r.task.Mail, r.config.MaxLife[r.task.Mail.Kind]
	if r.task.ExpiresAt.Sub(r.task.CreatedAt) > longest+tolerance || r.task.ExpiresAt.Sub(r.now()) > longest+tolerance {
		return fmt.Errorf("%w: expires_at: it is over the ceiling of %v for a %s", tasks.ErrInvalid, longest, m.Kind)
	}
	if m.Kind == tasks.Code && m.Digits < r.config.MinCodeDigits {
		return fmt.Errorf("%w: digits: %d are fewer than the worker's min_code_digits, %d", tasks.ErrInvalid, m.Digits, r.config.MinCodeDigits)
	}
	return nil
}

// admit asks when the mail may go out under all limits. A sending is counted once, however often it is retried.
func (r *run) admit(ctx context.Context, ring *keyring.Ring) (limits.Place, error) {
	sending, err := limits.NewSending(ring.Recipients(), r.task)
	if err != nil {
		return limits.Place{}, err
	}
	sending.Resends = r.attempt.Resends
	return r.mails.Admit(ctx, sending)
}

func (r *run) warnKeyRing(err error) {
	r.log.Error("cannot reload key ring; keeping the previously loaded keys", zap.Error(err))
}
