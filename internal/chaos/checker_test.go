package chaos_test

import (
	"slices"
	"testing"

	"example.com/securemail/tasks"
)

// The hand-made logs break each invariant, and nearly break it.
func TestChecker_FindsEachBrokenInvariant(t *testing.T) {
	const id, to = "mail-1", "m1@example.com"
	for _, test := range []struct {
		name       string
		change     func(l *logs, a *finalState)
		invariants []int
	}{
		{"nothing happened", func(*logs, *finalState) {}, nil},
		{"lost", func(l *logs, a *finalState) { l.Received, a.states[id] = nil, "" }, []int{1}},
		{"lost in the middle", func(l *logs, a *finalState) { l.Received, a.states[id] = nil, tasks.Sending }, []int{1}},
		{"accepted and not delivered", func(l *logs, a *finalState) { l.Received = nil }, []int{1}},
		{"refused", func(l *logs, a *finalState) { l.Received, a.states[id] = nil, tasks.Refused }, nil},
		{"still queued", func(l *logs, a *finalState) { l.Received, a.states[id], a.queued[id] = nil, tasks.Deferred, true }, nil},
		{"not acknowledged, not delivered", func(l *logs, a *finalState) { l.Sends[0].Error, l.Received, a.states[id] = "refused", nil, "" }, nil},
		{"not acknowledged and delivered", func(l *logs, a *finalState) { l.Sends[0].Error = "timeout" }, nil},
		{"delivered and never sent", func(l *logs, a *finalState) {
			l.Received = append(l.Received, received{To: "eve@example.com", Secret: "s"})
		}, []int{2}},
		{"a second secret", func(l *logs, a *finalState) {
			l.Runs = []runEnd{{id, "deferred", "unconfirmed"}}
			l.Received = append(l.Received, received{To: to, MessageID: "m", Secret: "other"})
		}, []int{3}},
		{"a second Message-ID", func(l *logs, a *finalState) {
			l.Runs = []runEnd{{id, "deferred", "unconfirmed"}}
			l.Received = append(l.Received, received{To: to, MessageID: "other", Secret: "s"})
		}, []int{3}},
		{"no secret", func(l *logs, a *finalState) { l.Received[0].Secret = "" }, []int{3}},
		{"a second copy", func(l *logs, a *finalState) { l.Received = append(l.Received, l.Received[0]) }, []int{4}},
		{"a second copy after a lost reply", func(l *logs, a *finalState) {
			l.Received = append(l.Received, l.Received[0])
			l.Runs = append(l.Runs, runEnd{id, "deferred", "unconfirmed"})
		}, nil},
		{"a second copy after a kill before the record", func(l *logs, a *finalState) {
			l.Received = append(l.Received, l.Received[0])
			l.Trace = append(points(1, id, "dequeued", "opened", "before-dot", "accepted"), l.Trace...)
		}, nil},
		{"a second copy after a kill before the record, by the same process number", func(l *logs, a *finalState) {
			l.Received = append(l.Received, l.Received[0])
			l.Trace = append(points(2, id, "dequeued", "opened", "before-dot", "accepted"), l.Trace...)
		}, nil},
		{"a third copy after one kill", func(l *logs, a *finalState) {
			l.Received = append(l.Received, l.Received[0], l.Received[0])
			l.Trace = append(points(1, id, "dequeued", "opened", "before-dot", "accepted"), l.Trace...)
		}, []int{4}},
		{"a second copy after a kill before the dot", func(l *logs, a *finalState) {
			l.Received = append(l.Received, l.Received[0])
			l.Trace = append(points(1, id, "dequeued", "opened"), l.Trace...)
		}, []int{4}},
		{"a second copy after a kill after the record", func(l *logs, a *finalState) {
			l.Received = append(l.Received, l.Received[0])
			l.Trace = append(points(1, id, "dequeued", "opened", "before-dot", "accepted", "recorded"), l.Trace...)
		}, []int{4}},
		{"delivered and expired", func(l *logs, a *finalState) { a.states[id] = tasks.Expired }, []int{5}},
		{"delivered and forgotten", func(l *logs, a *finalState) { a.states[id] = tasks.Sending }, []int{5}},
		{"delivered and unknown", func(l *logs, a *finalState) { a.states[id] = tasks.Unknown }, nil},
		{"right twice", func(l *logs, a *finalState) { a.answers[id] = [2]string{"right", "right"} }, []int{6}},
		{"never right", func(l *logs, a *finalState) { a.answers[id] = [2]string{"wrong", "wrong"} }, []int{6}},
		{"active without a lease", func(l *logs, a *finalState) { a.leaseless = []string{id} }, []int{7}},
		{"a secret in clear", func(l *logs, a *finalState) { a.inClear = []string{id} }, []int{7}},
	} {
		l := logs{
			Sends:    []sendCall{{ID: id, To: to, Kind: tasks.Key}},
			Trace:    points(2, id, "dequeued", "opened", "before-dot", "accepted", "recorded", "returned"),
			Received: []received{{To: to, MessageID: "m", Secret: "s"}},
		}
		a := finalState{states: map[string]tasks.State{id: tasks.Accepted}, queued: map[string]bool{},
			answers: map[string][2]string{id: {"right", "rejected"}}}
		test.change(&l, &a)
		if found := newChecker(l, a).check(); !slices.Equal(invariantsOf(found), test.invariants) {
			t.Errorf("%s: got %v, want invariants %v", test.name, found, test.invariants)
		}
	}
}

func points(pid int, id string, names ...string) (lines []tracePoint) {
	for _, name := range names {
		lines = append(lines, tracePoint{pid: pid, point: name, id: id})
	}
	return lines
}

// invariantsOf returns the broken invariants, each once.
func invariantsOf(found []violation) (invariants []int) {
	for _, v := range found {
		if !slices.Contains(invariants, v.invariant) {
			invariants = append(invariants, v.invariant)
		}
	}
	return invariants
}
