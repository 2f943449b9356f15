package worker_test

import (
	"strings"
	"testing"
)

// TestAPanicLeaksNothing: the worker logs the stack of a handler that panics, and the mail is for later. A relay that is missing makes Submit panic with the envelope and the whole message in its arguments.
func TestAPanicLeaksNothing(t *testing.T) {
	r := newCanaryRun(t)
	sent := r.send(13, 25) // four of each kind
	r.start(nil)
	waitUntil(t, t.Context(), "every mail has made the handler panic", func() bool {
		return strings.Count(r.logs.String(), "panic with a") >= len(sent)
	})
	waitUntil(t, t.Context(), "asynq has written down why", func() bool {
		return strings.Count(canaryErrors(t, r.rdb), "fault; again in") >= len(sent)
	})
	for _, m := range sent {
		seed, err := r.rdb.HGet(t.Context(), "securemail:{"+m.id+"}", "seed").Bytes()
		if err != nil {
			t.Fatal(err)
		}
		r.expect(m.id, m.Mail, seed)
	}
	for place, hits := range r.find(r.places()) {
		r.refuse(place, hits)
	}
}
