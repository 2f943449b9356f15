package securemail_test

import (
	"fmt"
	"testing"

	"example.com/securemail/internal/record"
	"example.com/securemail/tasks"
)

// lock gives five wrong answers to each of n secrets of alice. All of them must count.
func (h *fixture) lock(kind tasks.Kind, purpose string, n int) {
	h.Helper()
	for range n {
		a := h.mailed(kind, alice, purpose)
		typed := map[tasks.Kind]string{tasks.Key: wrong(a).Typed, tasks.Code: wrong(a).Typed, tasks.TOTP: "0000 0000"}[kind]
		for left := 4; left >= 0; left-- {
			if got, want := h.verify(a, typed), fmt.Sprintf("wrong, %d left", left); got != want {
				h.Fatalf("%s for %s: got %s, want %s", kind, purpose, got, want)
			}
		}
	}
}

// TestVerify_WrongCodesOfAStrangerKeepNoTOTPOut: 20 wrong answers to four code mails, which a stranger had asked for, had the
// right code of the person's authenticator rejected for a day.
func TestVerify_WrongCodesOfAStrangerKeepNoTOTPOut(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	active, _ := h.activeTOTP("sign-in")
	pending := h.mailed(tasks.TOTP, alice, "sign-in")
	h.lock(tasks.Code, "sign-in", 4)
	if got := h.verify(h.mailed(tasks.Code, alice, "sign-in"), "00000000"); got != "rejected" {
		t.Errorf("a 21st wrong answer: got %s, want rejected", got)
	}
	for name, a := range map[string]answer{"an active": active, "a pending": pending} {
		if got := h.verify(a, authenticator{t, a.Typed}.code(0)); got != "right" {
			t.Errorf("%s TOTP for the same purpose: got %s, want right", name, got)
		}
	}
}

// TestVerify_WrongTOTPCodesAreCountedApart: 20 wrong answers to TOTPs of one purpose block those of this purpose, and nothing
// else. There is no limit over all purposes, because every TOTP has one of its own.
func TestVerify_WrongTOTPCodesAreCountedApart(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	active, app := h.activeTOTP("purpose0")
	for i := range 4 { // 80 answers: more than codes and keys have over all purposes
		h.lock(tasks.TOTP, fmt.Sprintf("purpose%d", i), record.MaxRecipientMisses/record.MaxMisses)
	}
	if n := h.misses(alice); n != 0 {
		t.Errorf("they count as %d wrong codes, want 0", n)
	}
	if got := h.verify(active, app.code(0)); got != "rejected" {
		t.Errorf("a TOTP of a blocked purpose: got %s, want rejected", got)
	}
	other := h.mailed(tasks.TOTP, alice, "purpose4")
	if got := h.verify(other, authenticator{t, other.Typed}.code(0)); got != "right" {
		t.Errorf("a TOTP of another purpose: got %s, want right", got)
	}
	for _, kind := range []tasks.Kind{tasks.Code, tasks.Key} {
		if a := h.mailed(kind, alice, "purpose0"); h.verify(a, a.Typed) != "right" {
			t.Errorf("a %s of the blocked purpose: it was not right", kind)
		}
	}
	// What was rejected was not used up, and Unlock ends the wait without an id: the TOTP itself was never locked.
	h.must(h.client.Unlock(t.Context(), alice))
	if got := h.verify(active, app.code(0)); got != "right" {
		t.Errorf("after Unlock: got %s, want right", got)
	}
}

// TestVerify_ARightTOTPCodeForgivesWrongOnes: a hundred wrong answers lock a TOTP in a row only, or a few typing errors a week
// would do so in the end.
func TestVerify_ARightTOTPCodeForgivesWrongOnes(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	a, app := h.activeTOTP("sign-in")
	h.must(h.redis.HSet(t.Context(), "securemail:{"+a.ID+"}", "misses", 98).Err())
	for _, test := range []struct{ typed, want string }{
		{"0000 0000", "wrong, 1 left"}, {app.code(0), "right"}, {"0000 0000", "wrong, 99 left"}, {app.code(1), "right"},
	} {
		if got := h.verify(a, test.typed); got != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
}
