package securemail_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"example.com/securemail/tasks"
)

// TestForged_TheMemoryOfRepeatedAnswersMakesNoAnswerRight: it says which attempts were right. Whoever can write to Redis can say
// so of an attempt that was wrong, and ask again.
func TestForged_TheMemoryOfRepeatedAnswersMakesNoAnswerRight(t *testing.T) {
	h := newFixture(t)
	for _, kind := range []tasks.Kind{tasks.Code, tasks.Key, tasks.TOTP} {
		a := h.mailed(kind, alice, "sign-in")
		a.Attempt, a.Typed = "W", "00000000"
		if got := resultOf(check(h.client, t.Context(), a)); got != "wrong, 4 left" {
			t.Fatalf("%s: got %s", kind, got)
		}
		key := "securemail:{" + a.ID + "}"
		calls := h.redis.HGet(t.Context(), key, "calls").Val()
		token, _, _ := strings.Cut(calls, "=")
		for _, forged := range []string{"right@%d ", "right@9999999999999 %d", "right:1@%d ", "right@0 " + token + "=right@%d "} {
			h.must(h.redis.HSet(t.Context(), key, "calls", token+"="+fmt.Sprintf(forged, time.Now().UnixMilli())).Err())
			if err := check(h.client, t.Context(), a); err == nil {
				t.Errorf("%s: a wrong answer is right by %s", kind, forged)
			}
		}
	}
}

// TestForged_AYesCanBeRepeatedForLonger, by whoever repeats the attempt that was right, with its answer: the time of a yes is
// Redis' word.
func TestForged_AYesCanBeRepeatedForLonger(t *testing.T) {
	h := newFixture(t)
	a := h.mailed(tasks.Code, alice, "sign-in")
	a.Attempt = "A"
	key := "securemail:{" + a.ID + "}"
	for _, test := range []struct {
		at   time.Time
		want string
	}{{time.Now(), "right"}, {time.Now().Add(-3 * time.Minute), "rejected"}, {time.Now().Add(24 * time.Hour), "right"}} {
		if calls := h.redis.HGet(t.Context(), key, "calls").Val(); calls != "" {
			token, _, _ := strings.Cut(calls, "=")
			h.must(h.redis.HSet(t.Context(), key, "calls", fmt.Sprintf("%s=right@%d ", token, test.at.UnixMilli())).Err())
		}
		if got := resultOf(check(h.client, t.Context(), a)); got != test.want {
			t.Errorf("a yes of %v: got %s, want %s", test.at, got, test.want)
		}
	}
}

// TestForged_TheRecordOfAnotherMailIsRejected, in place of a record and under an id that has none.
func TestForged_TheRecordOfAnotherMailIsRejected(t *testing.T) {
	h := newFixture(t)
	for _, kind := range []tasks.Kind{tasks.Code, tasks.Key, tasks.TOTP} {
		theirs, own := h.mailed(kind, "mallory@example.com", "sign-in"), h.mailed(kind, alice, "sign-in")
		old := h.mailed(kind, alice, "sign-in")
		unused := old
		unused.ID = strings.Repeat("u", 26)
		for name, copied := range map[string]struct{ from, to answer }{"of another person": {theirs, own}, "of another mail": {old, own}, "under a new id": {old, unused}} {
			fields := h.redis.HGetAll(t.Context(), "securemail:{"+copied.from.ID+"}").Val()
			key := "securemail:{" + copied.to.ID + "}"
			h.must(h.redis.Del(t.Context(), key).Err())
			h.must(h.redis.HSet(t.Context(), key, fields).Err())
			ref, typed := tasks.Ref{ID: copied.to.ID, To: alice, Purpose: "sign-in"}, copied.from.Typed
			if kind == tasks.TOTP {
				typed = authenticator{t, typed}.code(0)
			}
			for _, to := range []string{alice, "mallory@example.com"} {
				ref.To = to
				if err := h.client.Verify(t.Context(), ref, typed); resultOf(err) != "rejected" {
					t.Errorf("%s %s, asked for %s: got %v, want rejected", kind, name, to, err)
				}
				h.must(h.redis.HSet(t.Context(), key, "cred", "active").Err())
				if _, err := h.client.Export(t.Context(), ref); resultOf(err) != "rejected" {
					t.Errorf("%s %s, exported for %s: got %v, want rejected", kind, name, to, err)
				}
				h.must(h.redis.HSet(t.Context(), key, "cred", fields["cred"]).Err())
			}
		}
	}
}

// TestForged_AnOldRecordPutBackRevivesWhatWasUsed: no MAC can tell an old record from a new one. A secret that was used, locked
// or revoked is live again, and a code of an authenticator is right twice. Its end does not move.
func TestForged_AnOldRecordPutBackRevivesWhatWasUsed(t *testing.T) {
	h := newFixture(t)
	freshStep()
	for name, use := range map[string]func(answer){
		"used": func(a answer) { h.verify(a, a.Typed) },
		"locked": func(a answer) {
			for range 5 {
				check(h.client, t.Context(), wrong(a))
			}
		},
		"revoked": func(a answer) { h.must(h.client.Revoke(t.Context(), a.ID)) },
	} {
		a := h.mailed(tasks.Code, alice, "sign-in")
		key := "securemail:{" + a.ID + "}"
		old, err := h.redis.Dump(t.Context(), key).Result()
		h.must(err)
		use(a)
		if got := h.verify(a, a.Typed); got != "rejected" {
			t.Errorf("%s: got %s, want rejected", name, got)
		}
		h.must(h.redis.RestoreReplace(t.Context(), key, time.Hour, old).Err())
		if got := h.verify(a, a.Typed); got != "right" {
			t.Errorf("%s, and put back: got %s; SECURITY.md says that it is right", name, got)
		}
	}
	a := h.mailed(tasks.TOTP, alice, "sign-in")
	code := authenticator{t, a.Typed}.code(0)
	old, err := h.redis.Dump(t.Context(), "securemail:{"+a.ID+"}").Result()
	h.must(err)
	for range 2 {
		h.must(h.redis.RestoreReplace(t.Context(), "securemail:{"+a.ID+"}", time.Hour, old).Err())
		if got := h.verify(a, code); got != "right" {
			t.Errorf("a code of an authenticator: got %s; SECURITY.md says that it is right", got)
		}
	}
	late := h.mailed(tasks.Code, alice, "sign-in", -time.Second)
	old, err = h.redis.Dump(t.Context(), "securemail:{"+late.ID+"}").Result()
	h.must(err)
	h.must(h.redis.RestoreReplace(t.Context(), "securemail:{"+late.ID+"}", time.Hour, old).Err())
	if got := h.verify(late, late.Typed); got != "rejected" {
		t.Errorf("an expired one, put back: got %s, want rejected", got)
	}
}

// TestForged_ACodeIsNeverAnActiveTOTP: active has no end, and a hundred wrong answers.
func TestForged_ACodeIsNeverAnActiveTOTP(t *testing.T) {
	h := newFixture(t)
	for _, state := range []string{"active", "pending"} {
		a := h.mailed(tasks.Code, alice, "sign-in", -time.Second)
		h.must(h.redis.HSet(t.Context(), "securemail:{"+a.ID+"}", "cred", state, "step", -1).Err())
		for range 2 {
			if got := h.verify(a, a.Typed); got != "rejected" {
				t.Errorf("an expired code that is %s: got %s, want rejected", state, got)
			}
		}
	}
}

// TestForged_CountersSetBackGiveMoreGuesses: how many answers were wrong is Redis' word, of a secret and of a recipient. The code
// keeps its length.
func TestForged_CountersSetBackGiveMoreGuesses(t *testing.T) {
	h := newFixture(t)
	a := h.mailed(tasks.Code, alice, "sign-in")
	for range 30 {
		h.must(h.redis.HSet(t.Context(), "securemail:{"+a.ID+"}", "misses", -1_000_000_000, "digits", 8).Err())
		h.must(h.redis.Del(t.Context(), h.counters(alice)).Err())
		if got := resultOf(check(h.client, t.Context(), wrong(a))); got != "wrong, 4 left" {
			t.Fatalf("got %s, want wrong, 4 left", got)
		}
	}
	h.must(h.redis.HSet(t.Context(), "securemail:{"+a.ID+"}", "digits", 6).Err())
	if got := h.verify(a, strings.ReplaceAll(a.Typed, " ", "")[:6]); got != "rejected" {
		t.Errorf("the first six digits of a code that was made shorter: got %s, want rejected", got)
	}
}
