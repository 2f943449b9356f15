package securemail_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"example.com/securemail/tasks"
)

// TestVerify_AbortedRequestsLockNobodyOut: a stranger who knew an address alone once filled its counter for a day with
// requests for an unknown id that were aborted before they were compared.
func TestVerify_AbortedRequestsLockNobodyOut(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	a := h.mailed(tasks.Code, alice, "sign-in")
	unknown := answer{tasks.Ref{ID: "0123456789abcdefghjkmnpqrs", Purpose: "sign-in", To: alice}, "0000 0000"}
	for i := range 1000 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%20)*100*time.Microsecond)
		check(h.client, ctx, unknown)
		cancel()
	}
	if n := h.misses(alice); n != 0 {
		t.Errorf("%d wrong answers are counted, want 0", n)
	}
	if got := resultOf(check(h.client, t.Context(), a)); got != "right" {
		t.Errorf("the right answer: got %s", got)
	}
}

// TestVerify_AnswersInProgressKeepNobodyOut: 64 parallel askers with an unknown id once had 92 of 200 right answers of the
// same recipient rejected.
func TestVerify_AnswersInProgressKeepNobodyOut(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	unknown := answer{tasks.Ref{ID: "0123456789abcdefghjkmnpqrs", Purpose: "sign-in", To: alice}, "0000 0000"}
	ctx, stop := context.WithCancel(t.Context())
	var askers sync.WaitGroup
	for range 64 {
		askers.Go(func() {
			for ctx.Err() == nil {
				check(h.client, ctx, unknown)
			}
		})
	}
	for range 100 {
		a := h.mailed(tasks.Code, alice, "sign-in")
		if err := check(h.client, context.Background(), a); err != nil {
			t.Errorf("a right answer: %v", err)
		}
	}
	stop()
	askers.Wait()
	if n := h.misses(alice); n != 0 {
		t.Errorf("%d wrong answers are counted, want 0", n)
	}
}

// TestVerify_LimitsARecipientOverAllPurposes, TOTPs apart: an application with many purposes once gave as many times the
// guesses.
func TestVerify_LimitsARecipientOverAllPurposes(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	var miss *tasks.WrongError
	compared := 0
	for i := range 100 {
		a := h.mailed(tasks.Code, alice, fmt.Sprintf("purpose%d", i%10))
		if err := check(h.client, t.Context(), wrong(a)); errors.As(err, &miss) {
			compared++
		}
	}
	if compared != 60 {
		t.Errorf("%d wrong answers were compared, want 60", compared)
	}
	totp := h.mailed(tasks.TOTP, alice, "purpose1")
	if got := h.verify(totp, authenticator{t, totp.Typed}.code(0)); got != "right" {
		t.Errorf("a TOTP after as many wrong codes: got %s, want right", got)
	}
	h.must(h.client.Unlock(t.Context(), alice))
	if got := resultOf(check(h.client, t.Context(), h.mailed(tasks.Code, alice, "purpose1"))); got != "right" {
		t.Errorf("after Unlock: got %s, want right", got)
	}
}
