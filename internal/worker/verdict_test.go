package worker

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"example.com/securemail/internal/queue"
	"example.com/securemail/internal/record"
	"example.com/securemail/internal/submission"
	"example.com/securemail/tasks"
)

func TestVerdict_OfEachFailure(t *testing.T) {
	failure := func(scope submission.Scope, permanent bool) error {
		return &submission.Error{Relay: "r", Phase: submission.PhaseRcpt, Scope: scope, Permanent: permanent}
	}
	for _, test := range []struct {
		name    string
		err     error
		reason  tasks.Reason
		outcome tasks.State
		counts  bool
		alert   bool
	}{
		{"no such user", failure(submission.ScopeRecipient, true), tasks.ReasonRecipient, tasks.Refused, false, false},
		{"greylisting", failure(submission.ScopeRecipient, false), tasks.ReasonRecipient, "", true, false},
		{"content refused", failure(submission.ScopeMessage, true), tasks.ReasonMessage, tasks.Refused, false, true},
		{"content refused temporarily", failure(submission.ScopeMessage, false), tasks.ReasonMessage, "", true, false},
		{"quota", failure(submission.ScopeRelay, false), tasks.ReasonRelay, "", false, false},
		{"policy", failure(submission.ScopeRelay, true), tasks.ReasonRelay, "", false, true},
		{"stale password", failure(submission.ScopeCredentials, true), tasks.ReasonCredentials, "", false, true},
		{"connection refused", failure(submission.ScopeNetwork, false), tasks.ReasonNetwork, "", false, false},
		{"reply to the dot lost", &submission.Error{Scope: submission.ScopeNetwork, Phase: submission.PhaseDot, Ambiguous: true}, tasks.ReasonUnconfirmed, "", true, false},
		{"too late before the dot", &submission.Error{Scope: submission.ScopeCaller, Err: errTooLate}, tasks.ReasonLate, tasks.Expired, false, false},
		{"lock lost before the dot", &submission.Error{Scope: submission.ScopeCaller, Err: record.ErrLostLock}, tasks.ReasonLocked, "", false, false},
		{"stopped", &submission.Error{Scope: submission.ScopeCaller, Err: context.Canceled}, tasks.ReasonStopping, "", false, false},
		{"cannot be composed", &composeError{errors.New("x")}, tasks.ReasonMessage, tasks.Refused, false, true},
		{"key missing", fmt.Errorf("wrapped: %w", errNoKey), tasks.ReasonKeyRing, "", false, true},
	} {
		v := verdictOf(test.err)
		if v.reason != test.reason || v.outcome != test.outcome || v.counts != test.counts || v.alert != test.alert {
			t.Errorf("%s: got %+v, want %s %q counts %v alert %v", test.name, v, test.reason, test.outcome, test.counts, test.alert)
		}
		if v.outcome == "" && v.delay < time.Second {
			t.Errorf("%s: the next attempt is after %v", test.name, v.delay)
		}
	}
}

// The relay may still be processing the message.
func TestVerdict_WaitsAMinuteAfterALostReply(t *testing.T) {
	if v := verdictOf(&submission.Error{Ambiguous: true}); v.delay < time.Minute {
		t.Errorf("got %v, want a minute at least", v.delay)
	}
}

// The test walks through the whole life of a code and of a key.
func TestVerdict_KeepsRetriesWithinTheRemainingLife(t *testing.T) {
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
					t.Fatalf("%s, life %v: attempt %d would be at %v, after %v", name, life, tries+1, at, usable)
				}
				last = at
				if tries++; tries > 100_000 {
					t.Fatalf("%s, life %v: the attempts do not end", name, life)
				}
			}
			if life >= time.Minute && (tries < 3 || usable-last > max(usable/4, 2*minDelay)) {
				t.Errorf("%s, life %v: %d attempts, the last %v before the end", name, life, tries, usable-last)
			}
		}
	}
}

func TestLateAt_LeavesTheLastFifthOfALife(t *testing.T) {
	created := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	got := tasks.Task{CreatedAt: created, ExpiresAt: created.Add(10 * time.Minute)}.LateAt()
	if want := created.Add(8 * time.Minute); !got.Equal(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestMask_HidesTheLocalPart(t *testing.T) {
	for address, want := range map[string]string{"alice@example.com": "a***@example.com", "a@example.com": "a***@example.com", "": ""} {
		if got := mask(address); got != want {
			t.Errorf("mask(%q): got %q, want %q", address, got, want)
		}
	}
}

func TestEnded_ArchivesOutcomesForAnOperator(t *testing.T) {
	for _, test := range []struct {
		state  tasks.State
		reason tasks.Reason
		want   queue.Disposition
	}{
		{tasks.Refused, tasks.ReasonRecipient, queue.Archive(tasks.Refused, tasks.ReasonRecipient)},
		{tasks.Unknown, tasks.ReasonUnconfirmed, queue.Archive(tasks.Unknown, tasks.ReasonUnconfirmed)},
		{tasks.Expired, tasks.ReasonLate, queue.Drop(tasks.Expired, tasks.ReasonLate)},
		{tasks.Revoked, tasks.ReasonRevoked, queue.Drop(tasks.Revoked, tasks.ReasonRevoked)},
		{tasks.Refused, tasks.ReasonLimited, queue.Drop(tasks.Refused, tasks.ReasonLimited)},
	} {
		if got := ended(test.state, record.Result{Reason: test.reason}, nil).disposition; !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s, %s: got %v, want %v", test.state, test.reason, got, test.want)
		}
	}
}
