package securemail_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/securemail"
	"example.com/securemail/internal/keyring"
	"example.com/securemail/tasks"
)

const alice = "alice@example.com"

// resultOf returns a word for each result that an application can distinguish.
func resultOf(err error) string {
	var wrong *tasks.WrongError
	switch {
	case err == nil:
		return "right"
	case errors.As(err, &wrong):
		return fmt.Sprintf("wrong, %d left", wrong.TriesLeft)
	case errors.Is(err, tasks.ErrRejected):
		return "rejected"
	case errors.Is(err, tasks.ErrUnreadable):
		return "unreadable"
	case errors.Is(err, tasks.ErrInvalid):
		return "invalid"
	case errors.Is(err, tasks.ErrKeyRing):
		return "key ring"
	}
	return "error: " + err.Error()
}

func TestVerify_AcceptsARightAnswerOnce(t *testing.T) {
	h := newFixture(t)
	for _, kind := range []tasks.Kind{tasks.Key, tasks.Code} {
		a := h.mailed(kind, alice, "sign-in")
		if got := h.credential(a.ID); got != tasks.CredentialLive {
			t.Errorf("%s: got %s before an answer, want live", kind, got)
		}
		spelled := a
		spelled.Typed = " " + strings.ToLower(strings.ReplaceAll(a.Typed, "-", " ")) + "\n"
		for _, want := range []string{"right", "rejected"} {
			if got := resultOf(check(h.client, t.Context(), spelled)); got != want {
				t.Errorf("%s: got %s, want %s", kind, got, want)
			}
		}
		if got := h.credential(a.ID); got != tasks.CredentialVerified {
			t.Errorf("%s: got %s, want used", kind, got)
		}
	}
}

func TestVerify_LocksAfterFiveWrongAnswers(t *testing.T) {
	h := newFixture(t)
	a := h.mailed(tasks.Code, alice, "sign-in")
	for left := 4; left >= 0; left-- {
		typed := wrong(a)
		if left == 2 {
			typed.Typed = "123456" // an answer of another form counts too
		}
		if got, want := resultOf(check(h.client, t.Context(), typed)), fmt.Sprintf("wrong, %d left", left); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := resultOf(check(h.client, t.Context(), a)); got != "rejected" {
		t.Errorf("the right answer after five misses: got %s, want rejected", got)
	}
	if got := h.credential(a.ID); got != tasks.CredentialLocked {
		t.Errorf("got %s, want locked", got)
	}
}

// TestVerify_UnreadableAnswersCostNoTry (T23): people whose answers could not be right, for want of a digit, were locked out.
// Nothing is asked of Redis, so an unknown id takes the same time.
func TestVerify_UnreadableAnswersCostNoTry(t *testing.T) {
	h := newFixture(t)
	seen := new(commands)
	h.rdb.AddHook(seen)
	for _, kind := range []tasks.Kind{tasks.Code, tasks.Key, tasks.TOTP} {
		a := h.mailed(kind, alice, "sign-in")
		unknown, invalid := a, a
		unknown.ID, invalid.ID = strings.Repeat("0", 26), "r:0}"
		var text string
		for _, typed := range []string{"4281930", "abc", "-", "۴۲۸", "", "\xff", "42819306 or 12345678", strings.Repeat("12345678 ", 1000)} {
			for range 5 {
				for _, a := range []answer{a, unknown, invalid} {
					a.Typed = typed
					err := check(h.client, t.Context(), a)
					if resultOf(err) != "unreadable" || text != "" && err.Error() != text {
						t.Errorf("%s %.20q: got %v, want unreadable, with one text", kind, typed, err)
					} else {
						text = err.Error()
					}
				}
			}
		}
		if commands := seen.take(); len(commands) > 0 {
			t.Errorf("%s: Redis was asked %q", kind, commands)
		}
		if n := h.misses(alice); n != 0 {
			t.Errorf("%s: %d wrong answers are counted, want none", kind, n)
		}
		right := a.Typed
		if kind == tasks.TOTP {
			right = authenticator{t, a.Typed}.code(0)
		}
		if got := h.verify(a, right); got != "right" {
			t.Errorf("%s: the right answer after them: got %s", kind, got)
		}
		seen.take()
	}
}

// TestVerify_AnswersOfAnotherFormAreWrong: what is asked is not known before the answer is read.
func TestVerify_AnswersOfAnotherFormAreWrong(t *testing.T) {
	h := newFixture(t)
	a := h.mailed(tasks.Code, alice, "sign-in")
	for i, typed := range []string{"123456", "00000-00000-00000-00000-00000"} {
		if got, want := h.verify(a, typed), fmt.Sprintf("wrong, %d left", 4-i); got != want {
			t.Errorf("%s: got %s, want %s", typed, got, want)
		}
	}
	if got := h.verify(a, "@shop24.example #"+strings.ReplaceAll(a.Typed, " ", "")+"."); got != "right" {
		t.Errorf("a pasted line: got %s, want right", got)
	}
}

// Id, address and purpose are checked as strictly as the answer. The result does not tell which of
// them is wrong.
func TestVerify_RejectsAnotherReferenceLikeAnExpiredSecret(t *testing.T) {
	h := newFixture(t)
	a := h.mailed(tasks.Key, alice, "sign-in")
	expired := h.mailed(tasks.Key, alice, "sign-in", -time.Second)
	var text string
	for _, test := range []struct {
		name   string
		change func(*answer)
		want   string
	}{
		{"expired", func(a *answer) { *a = expired }, "rejected"},
		{"unknown id", func(a *answer) { a.ID = "AAAAAAAAAAAAAAAAAAAAAAAAAA" }, "rejected"},
		{"an invalid id", func(a *answer) { a.ID = "r:0}" }, "rejected"},
		{"another mail's id", func(a *answer) { a.ID = expired.ID }, "rejected"},
		{"another address", func(a *answer) { a.To = "bob@example.com" }, "rejected"},
		{"another spelling of the local part", func(a *answer) { a.To = "Alice@example.com" }, "rejected"},
		{"another purpose", func(a *answer) { a.Purpose = "recovery" }, "rejected"},
		{"the default purpose", func(a *answer) { a.Purpose = "" }, "rejected"},
		{"an invalid address", func(a *answer) { a.To = "alice" }, "invalid"},
		{"an invalid purpose", func(a *answer) { a.Purpose = "Sign In" }, "invalid"},
		{"the same domain in upper case", func(a *answer) { a.To = "alice@EXAMPLE.com" }, "right"},
	} {
		answer := a
		test.change(&answer)
		err := check(h.client, t.Context(), answer)
		if got := resultOf(err); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
		if errors.Is(err, tasks.ErrRejected) && text == "" {
			text = err.Error()
		}
		if errors.Is(err, tasks.ErrRejected) && err.Error() != text {
			t.Errorf("%s: got the text %q, want that of an expired secret", test.name, err)
		}
	}
	if keys, err := h.redis.Keys(t.Context(), "*AAAAAAAAAA*").Result(); err != nil || len(keys) > 0 {
		t.Errorf("verifying an unknown id left the keys %q, %v", keys, err)
	}
	if fmt.Sprintf("%v %+v %#v", a.Ref, a.Ref, a.Ref) != strings.Repeat(" mail "+a.ID, 3)[1:] {
		t.Errorf("a reference prints as %v %+v %#v", a.Ref, a.Ref, a.Ref)
	}
}

// An attacker that can write to Redis can have the mail sent to another address. That mail carries
// another secret than the expected one.
func TestVerify_RejectsATaskRewrittenToAnotherAddress(t *testing.T) {
	h := newFixture(t)
	stolen := h.mailed(tasks.Key, "mallory@example.com", "sign-in")
	stolen.To = alice
	if got := resultOf(check(h.client, t.Context(), stolen)); got != "rejected" {
		t.Errorf("got %s, want rejected", got)
	}
	// The same holds with a tag of the expected address, which only the key ring can make: the record's MAC has another.
	ring, err := keyring.Load(h.ring)
	h.must(err)
	h.must(h.rdb.HSet(t.Context(), "securemail:{"+stolen.ID+"}", "to", addressTag(ring, stolen)).Err())
	if got := resultOf(check(h.client, t.Context(), stolen)); !strings.HasPrefix(got, "rejected") {
		t.Errorf("with the tag of the expected address: got %s, want rejected", got)
	}
}

// An attacker that measures the time must not learn which of these it is.
func TestVerify_RunsTheSameCommandsForUnknownExpiredAndWrong(t *testing.T) {
	h := newFixture(t)
	seen := new(commands)
	h.rdb.AddHook(seen)
	live, used := h.mailed(tasks.Code, alice, "sign-in"), h.mailed(tasks.Code, alice, "sign-in")
	h.must(check(h.client, t.Context(), used)) // loads the scripts
	unknown, address, purpose := live, live, live
	unknown.ID, address.To, purpose.Purpose = strings.Repeat("0", 26), "bob@example.com", "recovery"
	var first []string
	for name, a := range map[string]answer{"wrong": wrong(live), "unknown": unknown, "used": used, "another address": address,
		"another purpose": purpose, "expired": h.mailed(tasks.Code, alice, "sign-in", -time.Second)} {
		seen.take()
		check(h.client, t.Context(), a)
		got := seen.take()
		if first == nil {
			first = got
		}
		if len(got) != 4 || !slices.Equal(got, first) {
			t.Errorf("%s: got the commands %q, and for another answer %q", name, got, first)
		}
	}
}

// TestVerify_WritesAsOftenForUnknownExpiredAndWrong: a wrong answer took a quarter longer than one to an unknown id, because it
// alone was written down. What is written for the others leaves nothing.
func TestVerify_WritesAsOftenForUnknownExpiredAndWrong(t *testing.T) {
	h := newFixture(t)
	live, used := h.mailed(tasks.Code, alice, "sign-in"), h.mailed(tasks.Code, alice, "sign-in")
	h.must(check(h.client, t.Context(), used)) // loads the scripts
	other, purpose, forged := live, live, h.mailed(tasks.Code, alice, "sign-in")
	other.To, purpose.Purpose = "bob@example.com", "recovery"
	h.must(h.redis.HSet(t.Context(), "securemail:{"+forged.ID+"}", "digits", 6).Err())
	unopened := unknown()
	h.must(h.redis.HSet(t.Context(), "securemail:{"+unopened.ID+"}", "state", "deferred").Err())
	all := func() map[string]string {
		redis := map[string]string{}
		for _, key := range h.redis.Keys(t.Context(), "*{*").Val() {
			redis[key] = h.redis.Dump(t.Context(), key).Val()
		}
		return redis
	}
	writes := func() (n int) {
		for line := range strings.Lines(h.redis.Info(t.Context(), "commandstats").Val()) {
			var name string
			var calls int
			fmt.Sscanf(strings.Replace(line, ":calls=", " ", 1), "cmdstat_%s %d", &name, &calls)
			if slices.Contains([]string{"hset", "hdel", "del", "pexpire"}, name) {
				n += calls
			}
		}
		return n
	}
	for name, a := range map[string]answer{"wrong": wrong(live), "unknown": unknown(), "used": used, "another address": other,
		"another purpose": purpose, "forged": forged, "not opened yet": unopened,
		"expired": h.mailed(tasks.Code, alice, "sign-in", -time.Second)} {
		before, n := all(), writes()
		check(h.client, t.Context(), a)
		if n = writes() - n; n != 4 {
			t.Errorf("%s: %d commands inside the scripts wrote, want 4", name, n)
		}
		if after := all(); (name != "wrong") != maps.Equal(before, after) {
			t.Errorf("%s: keys of Redis were changed: %v", name, !maps.Equal(before, after))
		}
	}
}

func TestVerify_CountsNoWrongAnswerForAMissingKey(t *testing.T) {
	h := newFixture(t)
	a := h.mailed(tasks.Code, alice, "sign-in")
	h.must(h.rdb.HSet(t.Context(), "securemail:{"+a.ID+"}", "kid", "k-gone").Err())
	for range 30 {
		err := check(h.client, t.Context(), wrong(a))
		if resultOf(err) != "key ring" || !strings.Contains(err.Error(), "k-gone") {
			t.Fatalf("got %v, want ErrKeyRing and the key's id", err)
		}
	}
	if misses := h.misses(alice); misses != 0 {
		t.Errorf("%d wrong answers are counted, want none", misses)
	}
}

func TestVerify_NeedsTheKeyRing(t *testing.T) {
	h := newFixture(t)
	client, err := securemail.NewClient(h.rdb)
	h.must(err)
	if err := check(client, t.Context(), answer{Typed: "12345678"}); err == nil || !strings.Contains(err.Error(), "WithKeyRingFile") {
		t.Errorf("got %v, want an error that names WithKeyRingFile", err)
	}
	if _, err := securemail.NewClient(h.rdb, securemail.WithKeyRingFile(h.ring+"-not")); err == nil {
		t.Error("a missing key ring was accepted")
	}
}
