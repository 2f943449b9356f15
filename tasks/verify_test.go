package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/internal/keyring"
	"example.com/securemail/tasks"
)

const alice = "alice@example.com"

// told is what an application can tell apart.
func told(err error) string {
	var wrong *tasks.WrongError
	switch {
	case err == nil:
		return "right"
	case errors.As(err, &wrong):
		return fmt.Sprintf("wrong, %d left", wrong.TriesLeft)
	case tasks.IsRejected(err):
		return "rejected"
	case errors.Is(err, tasks.ErrInvalid):
		return "invalid"
	case errors.Is(err, tasks.ErrKeyRing):
		return "key ring"
	}
	return "trouble: " + err.Error()
}

func TestARightAnswerCountsOnce(t *testing.T) {
	h := newHouse(t)
	for _, kind := range []tasks.Kind{tasks.Key, tasks.Code} {
		a := h.mailed(kind, alice, "sign-in")
		if got := h.credential(a.ID); got != tasks.CredentialLive {
			t.Errorf("%s: got %s before an answer, want live", kind, got)
		}
		spelled := a
		spelled.Typed = " " + strings.ToLower(strings.ReplaceAll(a.Typed, "-", " ")) + "\n"
		for _, want := range []string{"right", "rejected"} {
			if got := told(h.client.Verify(t.Context(), spelled)); got != want {
				t.Errorf("%s: got %s, want %s", kind, got, want)
			}
		}
		if got := h.credential(a.ID); got != tasks.CredentialUsed {
			t.Errorf("%s: got %s, want used", kind, got)
		}
	}
}

func TestFiveMissesLock(t *testing.T) {
	h := newHouse(t)
	a := h.mailed(tasks.Code, alice, "sign-in")
	for left := 4; left >= 0; left-- {
		typed := wrong(a)
		if left == 2 {
			typed.Typed = "" // what cannot be an answer is a wrong one
		}
		if got, want := told(h.client.Verify(t.Context(), typed)), fmt.Sprintf("wrong, %d left", left); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := told(h.client.Verify(t.Context(), a)); got != "rejected" {
		t.Errorf("the right answer after five misses: got %s, want rejected", got)
	}
	if got := h.credential(a.ID); got != tasks.CredentialLocked {
		t.Errorf("got %s, want locked", got)
	}
}

// TestWhatIsNotTheSecretLooksLikeAnExpiredOne: what an answer is for is checked as strictly as the answer, and what is
// wrong with it is not told.
func TestWhatIsNotTheSecretLooksLikeAnExpiredOne(t *testing.T) {
	h := newHouse(t)
	a := h.mailed(tasks.Key, alice, "sign-in")
	expired := h.mailed(tasks.Key, alice, "sign-in", -time.Second)
	var text string
	for _, test := range []struct {
		name   string
		change func(*tasks.Answer)
		want   string
	}{
		{"expired", func(a *tasks.Answer) { *a = expired }, "rejected"},
		{"unknown id", func(a *tasks.Answer) { a.ID = "AAAAAAAAAAAAAAAAAAAAAAAAAA" }, "rejected"},
		{"no id at all", func(a *tasks.Answer) { a.ID = "r:0}" }, "rejected"},
		{"another mail's id", func(a *tasks.Answer) { a.ID = expired.ID }, "rejected"},
		{"another address", func(a *tasks.Answer) { a.To = "bob@example.com" }, "rejected"},
		{"another spelling of the local part", func(a *tasks.Answer) { a.To = "Alice@example.com" }, "rejected"},
		{"another purpose", func(a *tasks.Answer) { a.Purpose = "recovery" }, "rejected"},
		{"the default purpose", func(a *tasks.Answer) { a.Purpose = "" }, "rejected"},
		{"no address", func(a *tasks.Answer) { a.To = "alice" }, "invalid"},
		{"no purpose that a mail can have", func(a *tasks.Answer) { a.Purpose = "Sign In" }, "invalid"},
		{"the same domain in other letters", func(a *tasks.Answer) { a.To = "alice@EXAMPLE.com" }, "right"},
	} {
		answer := a
		test.change(&answer)
		err := h.client.Verify(t.Context(), answer)
		if got := told(err); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
		if tasks.IsRejected(err) && text == "" {
			text = err.Error()
		}
		if tasks.IsRejected(err) && err.Error() != text {
			t.Errorf("%s: got the text %q, want that of an expired one", test.name, err)
		}
	}
	if keys, err := h.rdb.Keys(t.Context(), "*AAAAAAAAAA*").Result(); err != nil || len(keys) > 0 {
		t.Errorf("checking an unknown id left %q, %v", keys, err)
	}
	if fmt.Sprintf("%v %+v %#v", a, a, a) != strings.Repeat(" answer to "+a.ID, 3)[1:] {
		t.Errorf("an answer prints as %v %+v %#v", a, a, a)
	}
}

// TestATaskRewrittenToAnotherAddress: who can write Redis can have the mail sent elsewhere, and gets a secret that does
// not pass for the expected one.
func TestATaskRewrittenToAnotherAddress(t *testing.T) {
	h := newHouse(t)
	stolen := h.mailed(tasks.Key, "mallory@example.com", "sign-in")
	stolen.To = alice
	if got := told(h.client.Verify(t.Context(), stolen)); got != "rejected" {
		t.Errorf("got %s, want rejected", got)
	}
	// And with a tag of the expected address, which takes the key ring to make.
	ring, err := keyring.Load(h.ring)
	h.must(err)
	h.must(h.rdb.HSet(t.Context(), "securemail:{"+stolen.ID+"}", "to", addressTag(ring, stolen)).Err())
	if got := told(h.client.Verify(t.Context(), stolen)); got != "wrong, 4 left" {
		t.Errorf("with the expected address' tag: got %s, want wrong", got)
	}
}

// all asks n times at once, with the answers of one function, and counts what was told.
func all(t *testing.T, c *tasks.Client, n int, answer func(int) tasks.Answer) map[string]int {
	t.Helper()
	said := make([]string, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { said[i] = told(c.Verify(context.Background(), answer(i))) })
	}
	group.Wait()
	count := map[string]int{}
	for _, s := range said {
		count[s]++
	}
	return count
}

func rounds() int {
	if testing.Short() {
		return 50
	}
	return 500
}

func TestOfAHundredRightAnswersOneWins(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for round := range rounds() {
		a := h.mailed(tasks.Code, alice, "sign-in")
		if got := all(t, h.client, 100, func(int) tasks.Answer { return a }); got["right"] != 1 || got["rejected"] != 99 {
			t.Fatalf("round %d: got %v, want 1 right and 99 rejected", round, got)
		}
	}
}

func TestOfAHundredWrongAnswersFiveCount(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for round := range rounds() {
		a := h.mailed(tasks.Code, fmt.Sprintf("user%d@example.com", round), "sign-in")
		got := all(t, h.client, 100, func(int) tasks.Answer { return wrong(a) })
		for left := range 5 {
			if got[fmt.Sprintf("wrong, %d left", left)] != 1 {
				t.Fatalf("round %d: got %v, want each number of tries left once", round, got)
			}
		}
		if got["rejected"] != 95 {
			t.Fatalf("round %d: got %v, want 95 rejected", round, got)
		}
		if misses := h.charges(a.To); misses != 5 {
			t.Fatalf("round %d: %d misses of the recipient are counted, want 5", round, misses)
		}
	}
}

func TestTwentyMissesOfOneRecipient(t *testing.T) {
	h := newHouse(t)
	var answers []tasks.Answer
	for range 50 {
		answers = append(answers, h.mailed(tasks.Code, alice, "sign-in"))
	}
	got := all(t, h.client, 200, func(i int) tasks.Answer { return wrong(answers[i%50]) })
	if evaluated := 200 - got["rejected"]; evaluated != 20 {
		t.Errorf("got %v: %d answers evaluated, want 20", got, evaluated)
	}
	if got := told(h.client.Verify(t.Context(), answers[49])); got != "rejected" {
		t.Errorf("the right answer of a limited recipient: got %s, want rejected", got)
	}
	// Another purpose and another recipient are not limited with it.
	for _, a := range []tasks.Answer{h.mailed(tasks.Code, alice, "recovery"), h.mailed(tasks.Code, "bob@example.com", "sign-in")} {
		if got := told(h.client.Verify(t.Context(), a)); got != "right" {
			t.Errorf("%s of %s: got %s, want right", a.Purpose, a.To, got)
		}
	}
	// The rejected answer used nothing up: a day later it is right.
	h.age(alice, 24*time.Hour)
	if got := told(h.client.Verify(t.Context(), answers[49])); got != "right" {
		t.Errorf("a day later: got %s, want right", got)
	}
	if misses := h.charges(alice); misses != 0 {
		t.Errorf("a day later %d misses are still kept", misses)
	}
}

// TestUnknownExpiredAndWrongRunTheSameCommands: who watches the clock learns nothing from what they cost.
func TestUnknownExpiredAndWrongRunTheSameCommands(t *testing.T) {
	h := newHouse(t)
	seen := new(commands)
	h.rdb.AddHook(seen)
	live, used := h.mailed(tasks.Code, alice, "sign-in"), h.mailed(tasks.Code, alice, "sign-in")
	h.must(h.client.Verify(t.Context(), used)) // loads the scripts
	unknown, address, purpose := live, live, live
	unknown.ID, address.To, purpose.Purpose = strings.Repeat("0", 26), "bob@example.com", "recovery"
	var first []string
	for name, a := range map[string]tasks.Answer{"wrong": wrong(live), "unknown": unknown, "used": used, "another address": address,
		"another purpose": purpose, "expired": h.mailed(tasks.Code, alice, "sign-in", -time.Second)} {
		seen.take()
		h.client.Verify(t.Context(), a)
		got := seen.take()
		if first == nil {
			first = got
		}
		if len(got) != 4 || !slices.Equal(got, first) {
			t.Errorf("%s: got the commands %q, another answer %q", name, got, first)
		}
	}
}

func TestAnUnknownKeyIDIsNoMiss(t *testing.T) {
	h := newHouse(t)
	a := h.mailed(tasks.Code, alice, "sign-in")
	h.must(h.rdb.HSet(t.Context(), "securemail:{"+a.ID+"}", "kid", "k-gone").Err())
	for range 30 {
		err := h.client.Verify(t.Context(), wrong(a))
		if told(err) != "key ring" || !strings.Contains(err.Error(), "k-gone") {
			t.Fatalf("got %v, want ErrKeyRing and the key's id", err)
		}
	}
	if misses := h.charges(alice); misses != 0 {
		t.Errorf("%d misses are counted, want none", misses)
	}
}

// TestRingRotationWhileAnswersAreChecked adds, activates and removes keys while mails are made and answers checked.
func TestRingRotationWhileAnswersAreChecked(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	checker := h.newClient()
	var checked atomic.Int32
	answers := make(chan tasks.Answer)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for a := range answers {
				if got := told(checker.Verify(context.Background(), a)); got != "right" {
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
		for begun := time.Now(); time.Since(begun) < 1100*time.Millisecond; mailed++ { // in which every process reads the file again
			answers <- h.mailed(tasks.Key, fmt.Sprintf("user%d@example.com", mailed), "sign-in")
		}
		h.must(keyring.Activate(h.ring, kid))
		for range 200 {
			answers <- h.mailed(tasks.Key, fmt.Sprintf("user%d@example.com", mailed), "sign-in")
			mailed++
		}
		// The longest life of the old key's mails is over when all of them are answered.
		for deadline := time.Now().Add(time.Minute); int(checked.Load()) < mailed && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		h.must(keyring.Remove(h.ring, oldKID))
	}
	close(answers)
	group.Wait()
	if int(checked.Load()) != mailed || mailed < 1000 {
		t.Errorf("%d mailed, %d checked; want 1,000 and more, all checked", mailed, checked.Load())
	}
}

func TestAClientThatOnlySendsCannotCheck(t *testing.T) {
	h := newHouse(t)
	client, err := tasks.NewClient(h.rdb)
	h.must(err)
	if err := client.Verify(t.Context(), tasks.Answer{}); err == nil || !strings.Contains(err.Error(), "WithKeyRingFile") {
		t.Errorf("got %v, want an error that names WithKeyRingFile", err)
	}
	if _, err := tasks.NewClient(h.rdb, tasks.WithKeyRingFile(h.ring+"-not")); err == nil {
		t.Error("a key ring that is not there was taken")
	}
}

// commands records what go-redis sends, scripts by their hash.
type commands struct {
	redis.Hook
	mu  sync.Mutex
	all []string
}

func (c *commands) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.all
	c.all = nil
	return all
}

func (c *commands) add(cmds ...redis.Cmder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cmd := range cmds {
		name := cmd.Name()
		if name == "evalsha" {
			name += fmt.Sprint(" ", cmd.Args()[1])
		}
		c.all = append(c.all, name)
	}
}

func (c *commands) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *commands) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.add(cmd)
		return next(ctx, cmd)
	}
}

func (c *commands) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.add(cmds...)
		return next(ctx, cmds)
	}
}
