package securemail_test

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"example.com/securemail/tasks"
)

// tried answers a as the attempt of this name, and returns the result.
func (h *fixture) tried(a answer, attempt, typed string) string {
	h.Helper()
	a.Attempt = attempt
	return h.verify(a, typed)
}

// pass lets time pass since the answers to a: in its record, and for the client.
func (h *fixture) pass(a answer, by time.Duration) {
	h.Helper()
	record := "securemail:{" + a.ID + "}"
	calls, err := h.redis.HGet(h.Context(), record, "calls").Result()
	h.must(err)
	calls = regexp.MustCompile(`@\d+`).ReplaceAllStringFunc(calls, func(at string) string {
		ms, err := strconv.ParseInt(at[1:], 10, 64)
		h.must(err)
		return fmt.Sprintf("@%d", ms-by.Milliseconds())
	})
	h.must(h.redis.HSet(h.Context(), record, "calls", calls).Err())
	now := time.Now().Add(by)
	h.client.SetClock(func() time.Time { return now })
}

// TestVerify_ALostReplyToARightAnswerLocksNobodyOut (IDM-10): the person typed the code right, and was told that it
// is dead.
func TestVerify_ALostReplyToARightAnswerLocksNobodyOut(t *testing.T) {
	for _, kind := range []tasks.Kind{tasks.Key, tasks.Code, tasks.TOTP} {
		t.Run(string(kind), func(t *testing.T) {
			h := newFixture(t)
			freshStep()
			a := h.mailed(kind, alice, "sign-in")
			right, other := a.Typed, wrong(a).Typed
			if kind == tasks.TOTP {
				app := authenticator{t, a.Typed}
				right, other = app.code(0), app.code(5)
			}
			step := func(name, attempt, typed, want string) {
				t.Helper()
				if got := h.tried(a, attempt, typed); got != want {
					t.Errorf("%s: got %s, want %s", name, got, want)
				}
			}
			step("wrong", "post 1", other, "wrong, 4 left")
			step("the same wrong answer of the same attempt", "post 1", other, "wrong, 4 left")
			step("of another attempt", "post 2", other, "wrong, 3 left")
			if n := h.misses(alice); kind != tasks.TOTP && n != 2 {
				t.Errorf("%d wrong answers of the recipient are counted, want 2", n)
			}
			step("right", "post 3", right, "right")
			step("again", "post 3", right, "right")
			step("another attempt", "post 4", right, "rejected")
			step("no attempt", "", right, "rejected")
			late := "rejected"
			if kind == tasks.TOTP {
				late = "wrong, 99 left" // it is active now
			}
			step("another answer", "post 3", other, late)
			step("still", "post 3", right, "right")
			for name, change := range map[string]func(*answer){
				"another purpose": func(a *answer) { a.Purpose = "recovery" },
				"another address": func(a *answer) { a.To = "bob@example.com" },
				"another mail":    func(a *answer) { a.ID = h.mailed(kind, alice, "sign-in").ID },
			} {
				b := a
				change(&b)
				if got := h.tried(b, "post 3", right); got == "right" {
					t.Errorf("%s: got right", name)
				}
			}
			h.pass(a, 90*time.Second)
			step("90 s later", "post 3", right, "right")
			late = "rejected"
			if kind == tasks.TOTP {
				late = "wrong, 98 left" // a code of three steps ago
			}
			step("90 s later, another attempt", "post 4", right, late)
			h.pass(a, 31*time.Second)
			if got := h.tried(a, "post 3", right); got == "right" {
				t.Error("after 2 minutes: got right")
			}
		})
	}
}

// TestVerify_AnAttemptBelongsToItsSession (IDM-10): who has seen the form's token and the code, but has another
// cookie, hears nothing.
func TestVerify_AnAttemptBelongsToItsSession(t *testing.T) {
	h := newFixture(t)
	a := h.sent(tasks.Mail{Kind: tasks.Code, To: alice, Purpose: "sign-in", Session: "the cookie of the person"})
	stranger, nobody := a, a
	stranger.Session, nobody.Session = "the cookie of a stranger", ""
	for _, step := range []struct {
		name string
		a    answer
		want string
	}{
		{"no session", nobody, "rejected"},
		{"another session", stranger, "wrong, 4 left"},
		{"the person", a, "right"},
		{"the person again", a, "right"},
		{"another session again", stranger, "wrong, 4 left"}, // what it heard before
		{"no session again", nobody, "rejected"},
		{"still the person", a, "right"},
	} {
		if got := h.tried(step.a, "post 1", a.Typed); got != step.want {
			t.Errorf("%s: got %s, want %s", step.name, got, step.want)
		}
	}
	stranger.Session = "the cookie of another one"
	if got := h.tried(stranger, "post 1", a.Typed); got != "rejected" {
		t.Errorf("a session that comes later: got %s, want rejected", got)
	}
}
