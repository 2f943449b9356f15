package worker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"example.com/securemail/internal/record"
	"example.com/securemail/internal/submission"
	"example.com/securemail/tasks"
)

func TestVerdict(t *testing.T) {
	failure := func(scope submission.Scope, permanent bool) error {
		return &submission.Error{Relay: "r", Phase: submission.PhaseRcpt, Scope: scope, Permanent: permanent}
	}
	for _, test := range []struct {
		name    string
		err     error
		reason  string
		outcome record.State
		counts  bool
		trouble bool
	}{
		{"no such user", failure(submission.ScopeRecipient, true), reasonRecipient, record.Refused, false, false},
		{"greylisting", failure(submission.ScopeRecipient, false), reasonRecipient, "", true, false},
		{"content refused", failure(submission.ScopeMessage, true), reasonMessage, record.Refused, false, true},
		{"content refused for now", failure(submission.ScopeMessage, false), reasonMessage, "", true, false},
		{"quota", failure(submission.ScopeRelay, false), reasonRelay, "", false, false},
		{"policy", failure(submission.ScopeRelay, true), reasonRelay, "", false, true},
		{"stale password", failure(submission.ScopeCredentials, true), reasonCredentials, "", false, true},
		{"connection refused", failure(submission.ScopeNetwork, false), reasonNetwork, "", false, false},
		{"reply to the dot lost", &submission.Error{Scope: submission.ScopeNetwork, Phase: submission.PhaseDot, Ambiguous: true}, reasonUnconfirmed, "", true, false},
		{"too late before the dot", &submission.Error{Scope: submission.ScopeCaller, Err: errTooLate}, reasonLate, record.Expired, false, false},
		{"lock lost before the dot", &submission.Error{Scope: submission.ScopeCaller, Err: record.ErrLostLock}, reasonLocked, "", false, false},
		{"stopped", &submission.Error{Scope: submission.ScopeCaller, Err: context.Canceled}, reasonStopping, "", false, false},
		{"cannot be composed", &composeError{errors.New("x")}, reasonMessage, record.Refused, false, true},
		{"key missing", fmt.Errorf("wrapped: %w", errNoKey), reasonKeyRing, "", false, true},
	} {
		v := verdictOf(test.err)
		if v.reason != test.reason || v.outcome != test.outcome || v.counts != test.counts || v.trouble != test.trouble {
			t.Errorf("%s: got %+v, want %s %q counts %v trouble %v", test.name, v, test.reason, test.outcome, test.counts, test.trouble)
		}
		if v.outcome == "" && v.delay < time.Second {
			t.Errorf("%s: tries again after %v", test.name, v.delay)
		}
	}
}

// TestAmbiguousWaitsAMinute: the relay may still be at work on what it was given.
func TestAmbiguousWaitsAMinute(t *testing.T) {
	if v := verdictOf(&submission.Error{Ambiguous: true}); v.delay < time.Minute {
		t.Errorf("got %v, want a minute at least", v.delay)
	}
}

// TestRetriesFitInsideTheRemainingLife walks through a code's and a key's whole life.
func TestRetriesFitInsideTheRemainingLife(t *testing.T) {
	for _, life := range []time.Duration{10 * time.Second, time.Minute, 10 * time.Minute, 24 * time.Hour} {
		usable := life - life/5
		for name, v := range map[string]verdict{
			"recipient": verdictOf(&submission.Error{Scope: submission.ScopeRecipient}),
			"network":   verdictOf(&submission.Error{Scope: submission.ScopeNetwork}),
			"ambiguous": verdictOf(&submission.Error{Ambiguous: true}),
		} {
			var at, last time.Duration
			tries := 1
			for {
				delay, ok := delayOf(v, tries, usable-at)
				if !ok {
					break
				}
				if at += delay; at >= usable {
					t.Fatalf("%s, life %v: try %d would be at %v, past %v", name, life, tries+1, at, usable)
				}
				last = at
				if tries++; tries > 100_000 {
					t.Fatalf("%s, life %v: the tries do not end", name, life)
				}
			}
			if life >= time.Minute && (tries < 3 || usable-last > max(usable/4, 2*minDelay)) {
				t.Errorf("%s, life %v: %d tries, the last %v before the end", name, life, tries, usable-last)
			}
		}
	}
}

func TestLateIsTheLastFifth(t *testing.T) {
	created := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	got := lateAt(tasks.Task{CreatedAt: created, ExpiresAt: created.Add(10 * time.Minute)})
	if want := created.Add(8 * time.Minute); !got.Equal(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestWhatAsynqIsTold: a mail that is for later never runs into asynq's own limit, and one that has ended never comes back.
func TestWhatAsynqIsTold(t *testing.T) {
	l := &later{time.Minute, reasonNetwork}
	if got := retryDelay(7, fmt.Errorf("wrapped: %w", l), nil); got != time.Minute {
		t.Errorf("later: got %v, want 1m", got)
	}
	if got := retryDelay(7, asynq.ErrLeaseExpired, nil); got != recoveredDelay {
		t.Errorf("a task whose lease ended: got %v, want %v", got, recoveredDelay)
	}
	for outcome, want := range map[record.State]error{record.Refused: asynq.SkipRetry, record.Unknown: asynq.SkipRetry,
		record.Expired: asynq.RevokeTask, record.Revoked: asynq.RevokeTask} {
		if !errors.Is(final(outcome, "x"), want) {
			t.Errorf("%s: got %v, want %v", outcome, final(outcome, "x"), want)
		}
	}
}

func TestMask(t *testing.T) {
	for address, want := range map[string]string{"alice@example.com": "a***@example.com", "a@example.com": "a***@example.com", "": ""} {
		if got := mask(address); got != want {
			t.Errorf("mask(%q): got %q, want %q", address, got, want)
		}
	}
}

func TestTheOldestRedis(t *testing.T) {
	for version, old := range map[string]bool{"5.0.14": true, "6.0.16": true, "6.2.0": false, "7.0.15": false, "10.1": false, "255.255.255": false, "": false, "x": false} {
		if tooOld(version) != old {
			t.Errorf("%q: got %v", version, !old)
		}
	}
}
