package securemail_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/securemail"
	"example.com/securemail/internal/keyring"
	"example.com/securemail/tasks"
)

// all verifies n answers at the same time, and counts the results.
func all(t *testing.T, c *securemail.Client, n int, answer func(int) answer) map[string]int {
	t.Helper()
	said := make([]string, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { said[i] = resultOf(check(c, context.Background(), answer(i))) })
	}
	group.Wait()
	count := map[string]int{}
	for _, s := range said {
		count[s]++
	}
	return count
}

// rounds returns how often the tests below run their races. ROUNDS=1000 is the full size.
func rounds() int {
	if n, err := strconv.Atoi(os.Getenv("ROUNDS")); err == nil {
		return n
	}
	if testing.Short() {
		return 50
	}
	return 200
}

func TestVerify_AcceptsOneOfAHundredRightAnswers(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	for round := range rounds() {
		a := h.mailed(tasks.Code, alice, "sign-in")
		if got := all(t, h.client, 100, func(int) answer { return a }); got["right"] != 1 || got["rejected"] != 99 {
			t.Fatalf("round %d: got %v, want 1 right and 99 rejected", round, got)
		}
	}
}

func TestVerify_CountsFiveOfAHundredWrongAnswers(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	for round := range rounds() {
		a := h.mailed(tasks.Code, fmt.Sprintf("user%d@example.com", round), "sign-in")
		got := all(t, h.client, 100, func(int) answer { return wrong(a) })
		for left := range 5 {
			if got[fmt.Sprintf("wrong, %d left", left)] != 1 {
				t.Fatalf("round %d: got %v, want each number of answers left once", round, got)
			}
		}
		if got["rejected"] != 95 {
			t.Fatalf("round %d: got %v, want 95 rejected", round, got)
		}
		if misses := h.misses(a.To); misses != 5 {
			t.Fatalf("round %d: %d wrong answers of the recipient are counted, want 5", round, misses)
		}
	}
}

func TestVerify_LimitsARecipientToTwentyWrongAnswers(t *testing.T) {
	h := newFixture(t)
	var answers []answer
	for range 50 {
		answers = append(answers, h.mailed(tasks.Code, alice, "sign-in"))
	}
	got := all(t, h.client, 200, func(i int) answer { return wrong(answers[i%50]) })
	if evaluated := 200 - got["rejected"]; evaluated != 20 {
		t.Errorf("got %v: %d answers evaluated, want 20", got, evaluated)
	}
	if got := resultOf(check(h.client, t.Context(), answers[49])); got != "rejected" {
		t.Errorf("the right answer of a limited recipient: got %s, want rejected", got)
	}
	// The limit is not for other purposes and other recipients.
	for _, a := range []answer{h.mailed(tasks.Code, alice, "recovery"), h.mailed(tasks.Code, "bob@example.com", "sign-in")} {
		if got := resultOf(check(h.client, t.Context(), a)); got != "right" {
			t.Errorf("%s of %s: got %s, want right", a.Purpose, a.To, got)
		}
	}
	// The rejected answer did not use up the secret: a day later it is right.
	h.age(alice, 24*time.Hour)
	if got := resultOf(check(h.client, t.Context(), answers[49])); got != "right" {
		t.Errorf("a day later: got %s, want right", got)
	}
	if misses := h.misses(alice); misses != 0 {
		t.Errorf("a day later %d wrong answers are still counted", misses)
	}
}

// Keys are added, activated and removed while mails are made and answers are verified.
func TestVerify_WorksDuringARotation(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	checker := h.newClient()
	var checked atomic.Int32
	answers := make(chan answer)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for a := range answers {
				if got := resultOf(check(checker, context.Background(), a)); got != "right" {
					t.Errorf("got %s, want right", got)
				}
				checked.Add(1)
			}
		})
	}
	mailed := 0
	for range 3 {
		old, err := keyring.Load(h.ring)
		h.must(err)
		oldKID, _ := old.Active()
		kid, err := keyring.Add(h.ring)
		h.must(err)
		// Every process reads the file again in this time.
		for begun := time.Now(); time.Since(begun) < 1100*time.Millisecond; mailed++ {
			answers <- h.mailed(tasks.Key, fmt.Sprintf("user%d@example.com", mailed), "sign-in")
		}
		h.must(keyring.Activate(h.ring, kid))
		for range 200 {
			answers <- h.mailed(tasks.Key, fmt.Sprintf("user%d@example.com", mailed), "sign-in")
			mailed++
		}
		// The old key can be removed when all secrets made with it are verified.
		for deadline := time.Now().Add(time.Minute); int(checked.Load()) < mailed && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		h.must(keyring.Remove(h.ring, oldKID))
	}
	close(answers)
	group.Wait()
	if int(checked.Load()) != mailed || mailed < 1000 {
		t.Errorf("%d mailed, %d verified; want at least 1,000, all verified", mailed, checked.Load())
	}
}
