package securemail_test

import (
	"errors"
	"strings"
	"testing"

	"example.com/securemail/tasks"
)

// TestVerify_ASlowClockCanSetUpAnAuthenticator (O22): a first code that was checked without tolerance would keep
// people out whose clock is half a minute off, though every later code is accepted.
func TestVerify_ASlowClockCanSetUpAnAuthenticator(t *testing.T) {
	h := newFixture(t)
	freshStep()
	for name, step := range map[string]int{"t-30 s": -1, "t+30 s": 1} {
		a := h.mailed(tasks.TOTP, alice, "sign-in")
		if got := h.verify(a, authenticator{t, a.Typed}.code(step)); got != "right" {
			t.Errorf("%s: got %s, want right", name, got)
		}
		if got := h.credential(a.ID); got != tasks.CredentialActive {
			t.Errorf("%s: got %s, want active", name, got)
		}
	}
}

// TestVerify_AClockThatIsMinutesOffOpensNoWindow (O23): the code of t+120 s is wrong and costs a try, and the
// authenticator can still be set up. That the clock seems off is not said: a result has no field for it.
func TestVerify_AClockThatIsMinutesOffOpensNoWindow(t *testing.T) {
	h := newFixture(t)
	freshStep()
	a := h.mailed(tasks.TOTP, alice, "sign-in")
	app := authenticator{t, a.Typed}
	if got := h.verify(a, app.code(4)); got != "wrong, 4 left" {
		t.Errorf("t+120 s: got %s, want wrong", got)
	}
	if got := h.credential(a.ID); got != tasks.CredentialPending {
		t.Errorf("got %s, want pending", got)
	}
	if got := h.verify(a, app.code(0)); got != "right" {
		t.Errorf("now: got %s, want right", got)
	}
}

// TestVerify_ASecondSetUpLeavesTheFirstAlone (O08, O21): people who ask for a second mail, and never finish with it,
// would otherwise lose the entry that works. Tapping the link of one mail twice makes two entries with one secret, so
// either can confirm.
func TestVerify_ASecondSetUpLeavesTheFirstAlone(t *testing.T) {
	h := newFixture(t)
	freshStep()
	m := tasks.Mail{Kind: tasks.TOTP, To: alice, Purpose: "sign-in"}
	first := h.sent(m)
	app := authenticator{t, first.Typed}
	if got := h.verify(first, app.code(-1)); got != "right" {
		t.Fatalf("the first one: got %s, want right", got)
	}
	second := h.sent(m)
	if first.Typed == second.Typed {
		t.Error("two mails carry one secret")
	}
	if got := h.verify(first, app.code(0)); got != "right" {
		t.Errorf("the first one, while the second is pending: got %s, want right", got)
	}
	if got := h.verify(second, app.code(1)); got != "wrong, 4 left" {
		t.Errorf("a code of the first entry for the second: got %s, want wrong", got)
	}
	if got := h.verify(second, authenticator{t, second.Typed}.code(0)); got != "right" {
		t.Errorf("the second one: got %s, want right", got)
	}
}

// TestSend_RefusesAnAccountThatNoWorkerMails (O17, O18): Send said yes, and the worker refused the mail for good.
func TestSend_RefusesAnAccountThatNoWorkerMails(t *testing.T) {
	h := newFixture(t)
	for _, account := range []string{"alice\u200f", "alice\u200e", "alice\u061c", "\u202ealice", "alice@example.com\u2060", "ali\u200bce", "alice\u200d", "al:ice"} {
		_, err := h.client.Send(t.Context(), tasks.Mail{Kind: tasks.TOTP, To: alice, Account: account})
		if !errors.Is(err, tasks.ErrInvalid) || !strings.Contains(err.Error(), "account: ") || strings.Contains(err.Error(), account) {
			t.Errorf("%+q: got %v, want ErrInvalid, with the field and without the name", account, err)
		}
	}
	for _, account := range []string{"", "محمد", "דוד", "می\u200cخواهم", "ක්\u200dෂ"} {
		_, err := h.client.Send(t.Context(), tasks.Mail{Kind: tasks.TOTP, To: alice, Account: account})
		h.must(err)
	}
}
