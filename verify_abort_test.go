package securemail_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// abortedFixture returns a fixture whose client lets deadlines reach the connection.
func abortedFixture(t *testing.T) *fixture {
	server := testserver.StartRedis(t, "--appendfsync", "no")
	rdb := redis.NewClient(&redis.Options{Network: "unix", Addr: server.Client.Options().Addr, Username: testserver.Producer,
		Password: testserver.RedisPassword, MaxRetries: -1, DisableIdentity: true, ContextTimeoutEnabled: true})
	t.Cleanup(func() { rdb.Close() })
	return fixtureOver(t, server.Client, rdb)
}

// toAbort returns 1,000 answers about alice: 40 wrong ones, which her counters have room for, 200 right ones, and others
// that there is nothing to compare with.
func (h *fixture) toAbort() []answer {
	dead := []answer{h.mailed(tasks.Code, alice, "sign-in", -time.Second)}
	for _, state := range []string{"verified", "locked", "revoked"} {
		a := h.mailed(tasks.Code, alice, "sign-in")
		h.must(h.redis.HSet(h.Context(), "securemail:{"+a.ID+"}", "cred", state).Err())
		dead = append(dead, a)
	}
	answers := make([]answer, 1000)
	for i := range answers {
		switch {
		case i%25 == 0: // 10 for each purpose
			answers[i] = wrong(h.mailed(tasks.Code, alice, []string{"sign-in", "recovery", "enrol", "delete"}[i/25%4]))
		case i%5 == 1: // 200
			answers[i] = h.mailed(tasks.Code, alice, "sign-in")
		case i%5 == 2:
			answers[i] = dead[i/5%len(dead)]
		case i%5 == 3:
			answers[i] = answers[i-2]
			answers[i].Purpose = "recovery"
		default:
			answers[i] = unknown()
		}
	}
	return answers
}

// unknown returns an answer to an id that is no mail's.
func unknown() answer {
	return answer{tasks.Ref{ID: fmt.Sprintf("%026d", rand.Uint64()), Purpose: "sign-in", To: alice}, "0000 0000"}
}

// abort verifies every answer under a context that ends at a random moment, some of them in a handler of net/http whose
// client hangs up. It returns the results; one is empty where the handler was never called.
func (h *fixture) abort(answers []answer) []string {
	said := make([]string, len(answers))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i, err := strconv.Atoi(r.URL.Query().Get("answer"))
		if err != nil {
			h.Error(err)
			return
		}
		said[i] = resultOf(check(h.client, r.Context(), answers[i]))
	}))
	var next atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(answers); i = int(next.Add(1)) - 1 {
				ctx, hangUp := context.WithTimeout(context.Background(), rand.N(abortTime))
				if i%2 == 0 {
					said[i] = resultOf(check(h.client, ctx, answers[i]))
				} else if r, err := http.NewRequestWithContext(ctx, "GET", server.URL+"?answer="+strconv.Itoa(i), nil); err != nil {
					h.Error(err)
				} else if reply, err := server.Client().Do(r); err == nil {
					reply.Body.Close()
				}
				hangUp()
			}
		})
	}
	group.Wait()
	server.Close() // waits for the handlers
	return said
}

// abortTime is the longest time after which a request is aborted. An answer takes a good part of it.
const abortTime = 40 * time.Millisecond

// TestVerify_AbortedRequestsRejectNoRightAnswer: a stranger who knew an address alone once filled its counters for a day with
// requests that were aborted before they were compared; and 64 parallel askers with an unknown id had 92 of 200 right answers
// rejected. What was compared is counted, and nothing else is.
func TestVerify_AbortedRequestsRejectNoRightAnswer(t *testing.T) {
	t.Parallel()
	h := abortedFixture(t)
	answers := h.toAbort()
	rights := make([]answer, 200)
	for i := range rights {
		rights[i] = h.mailed(tasks.Code, alice, "sign-in")
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var askers, asked, rest sync.WaitGroup
	for range 64 {
		asked.Add(1)
		askers.Go(func() {
			for first := true; ctx.Err() == nil; first = false {
				if got := resultOf(check(h.client, ctx, unknown())); got != "rejected" && ctx.Err() == nil {
					t.Errorf("an unknown id: got %s", got)
				}
				if first {
					asked.Done()
				}
			}
		})
	}
	asked.Wait()
	for half := range 2 {
		rest.Go(func() {
			for _, a := range rights[half*100 : half*100+100] {
				if err := check(h.client, context.Background(), a); err != nil {
					t.Errorf("a right answer: %v", err)
				}
			}
		})
	}
	said := h.abort(answers)
	rest.Wait()
	stop()
	askers.Wait()

	count, compared := map[string]int{}, 0
	for i, a := range answers {
		word, _, _ := strings.Cut(said[i], ":")
		count[word]++
		if strings.HasPrefix(word, "wrong") {
			compared++
		} else if i%5 == 1 { // whoever was told nothing has lost nothing
			want := "right"
			if word == "right" {
				want = "rejected"
			}
			if got := resultOf(check(h.client, t.Context(), a)); got != want {
				t.Errorf("a right answer that got %q at first, once more: got %s, want %s", said[i], got, want)
			}
		}
	}
	if n := len(h.redis.HKeys(t.Context(), h.counters(alice)).Val()); n != compared || n != h.misses(alice) {
		t.Errorf("%d wrong answers are counted, want %d", n, compared)
	}
	t.Logf("1,000 aborted requests: %v", count)
	if count["error"]+count[""] < 100 || count["right"]+count["rejected"]+compared < 100 {
		t.Errorf("too few were aborted on either side of the comparison: %v", count)
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
		a := h.mailed([]tasks.Kind{tasks.Code, tasks.Key}[i%3%2], alice, fmt.Sprintf("purpose%d", i%10))
		if err := check(h.client, t.Context(), wrong(a)); errors.As(err, &miss) {
			compared++
		}
	}
	if compared != 60 {
		t.Errorf("%d wrong answers were compared, want 60", compared)
	}
	if got := resultOf(check(h.client, t.Context(), h.mailed(tasks.Key, alice, "purpose11"))); got != "rejected" {
		t.Errorf("a key for a purpose without wrong answers: got %s, want rejected", got)
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
