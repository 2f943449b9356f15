package tasks_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/tasks"
)

// BenchmarkVerify is to be read against BenchmarkRoundTrip: one check is two flights to Redis, and what is computed.
func BenchmarkVerify(b *testing.B) {
	h := newHouse(b)
	var answers []tasks.Answer
	for range b.N {
		answers = append(answers, h.mailed(tasks.Key, alice, "sign-in"))
	}
	b.ResetTimer()
	for i := range b.N {
		if got := told(h.client.Verify(b.Context(), answers[i])); got != "right" {
			b.Fatal(got)
		}
	}
}

// BenchmarkRoundTrip is one script that does nothing.
func BenchmarkRoundTrip(b *testing.B) {
	h := newHouse(b)
	script := redis.NewScript("return 1")
	h.must(script.Load(b.Context(), h.rdb).Err())
	b.ResetTimer()
	for range b.N {
		h.must(script.EvalSha(b.Context(), h.rdb, nil).Err())
	}
}
