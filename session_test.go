package securemail_test

import (
	"errors"
	"testing"

	"example.com/securemail"
	"example.com/securemail/internal/record"
	"example.com/securemail/tasks"
)

// mailedTo sends a key to alice whose secret is tied to the session, and returns the right answer.
func (h *fixture) mailedTo(session string) answer {
	h.Helper()
	id := h.queue(tasks.Mail{Kind: tasks.Key, To: alice, Purpose: "sign-in", Session: session})
	task, a, err := h.open(id)
	h.must(err)
	h.must(h.records.Accept(h.Context(), a, record.Result{Code: 250}))
	return answer{tasks.Ref{ID: id, Purpose: "sign-in", To: alice, Session: session}, h.secretOf(task, a)}
}

// TestVerify_ASessionsSecretIsRightInItsSessionAlone: who got hold of somebody else's code cannot use it in a browser of their
// own.
func TestVerify_ASessionsSecretIsRightInItsSessionAlone(t *testing.T) {
	h := newFixture(t)
	a := h.mailedTo("the-session-of-alice")
	other, none, short := a, a, a
	other.Session, none.Session, short.Session = "the-session-of-mallory", "", "short"
	for _, test := range []struct {
		name  string
		asked answer
		want  string
	}{{"another session", other, "wrong, 4 left"}, {"no session", none, "rejected"}, {"a session that is too short", short, "invalid"}} {
		if got := resultOf(check(h.client, t.Context(), test.asked)); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
	if n := h.misses(alice); n != 1 {
		t.Errorf("%d wrong answers are counted, want the one of the other session", n)
	}
	h.must(h.client.Resend(t.Context(), a.ID)) // the same secret, tied to the same session
	task, again, err := h.open(a.ID + ".1")
	h.must(err)
	if h.secretOf(task, again) != a.Typed {
		t.Error("a resend carries another secret")
	}
	if got := resultOf(check(h.client, t.Context(), a)); got != "right" {
		t.Errorf("its session: got %s, want right", got)
	}
}

// TestVerify_IgnoresTheSessionOfASecretWithoutOne, so that an application can begin to give sessions while older mails are out.
func TestVerify_IgnoresTheSessionOfASecretWithoutOne(t *testing.T) {
	h := newFixture(t)
	a := h.mailed(tasks.Code, alice, "sign-in")
	a.Session = "the-session-of-alice"
	if got := resultOf(check(h.client, t.Context(), a)); got != "right" {
		t.Errorf("got %s, want right", got)
	}
}

// TestVerify_RunsTheSameCommandsWithoutASession as for an expired secret: nobody can tell whether a secret has a session.
func TestVerify_RunsTheSameCommandsWithoutASession(t *testing.T) {
	h := newFixture(t)
	a := h.mailedTo("the-session-of-alice")
	a.Session = ""
	seen := new(commands)
	h.rdb.AddHook(seen)
	check(h.client, t.Context(), a) // loads the scripts
	seen.take()
	check(h.client, t.Context(), a)
	bound := seen.take()
	a.ID = "0123456789abcdefghjkmnpqrs"
	check(h.client, t.Context(), a)
	if unknown := seen.take(); len(bound) == 0 || len(bound) != len(unknown) {
		t.Errorf("got %q, and %q for an unknown id", bound, unknown)
	}
}

// TestSend_RefusesASessionWhereItCannotHold: an authenticator is used in every session.
func TestSend_RefusesASessionWhereItCannotHold(t *testing.T) {
	h := newFixture(t)
	client, err := securemail.NewClient(h.rdb)
	h.must(err)
	for name, m := range map[string]tasks.Mail{
		"totp":  {Kind: tasks.TOTP, To: alice, Session: "the-session-of-alice"},
		"short": {Kind: tasks.Key, To: alice, Session: "fifteen-bytes.."},
	} {
		if _, err := client.Send(t.Context(), m); !errors.Is(err, tasks.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
}
