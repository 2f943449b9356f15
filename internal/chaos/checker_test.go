package chaos_test

import (
	"slices"
	"testing"

	"example.com/securemail/tasks"
)

// TestTheCheckerKnowsItsLaws breaks each law in hand-made ledgers, and nearly breaks it.
func TestTheCheckerKnowsItsLaws(t *testing.T) {
	const id, to = "mail-1", "m1@example.com"
	for _, test := range []struct {
		name   string
		change func(l *ledgers, a *aftermath)
		laws   []int
	}{
		{"nothing happened", func(*ledgers, *aftermath) {}, nil},
		{"lost", func(l *ledgers, a *aftermath) { l.S, a.states[id] = nil, "" }, []int{1}},
		{"lost in the middle", func(l *ledgers, a *aftermath) { l.S, a.states[id] = nil, tasks.Sending }, []int{1}},
		{"accepted and not delivered", func(l *ledgers, a *aftermath) { l.S = nil }, []int{1}},
		{"refused", func(l *ledgers, a *aftermath) { l.S, a.states[id] = nil, tasks.Refused }, nil},
		{"still queued", func(l *ledgers, a *aftermath) { l.S, a.states[id], a.queued[id] = nil, tasks.Deferred, true }, nil},
		{"not acknowledged, not delivered", func(l *ledgers, a *aftermath) { l.P[0].Error, l.S, a.states[id] = "refused", nil, "" }, nil},
		{"not acknowledged and delivered", func(l *ledgers, a *aftermath) { l.P[0].Error = "time-out" }, nil},
		{"delivered and never offered", func(l *ledgers, a *aftermath) { l.S = append(l.S, taken{To: "eve@example.com", Secret: "s"}) }, []int{2}},
		{"a second secret", func(l *ledgers, a *aftermath) {
			l.Log = []logged{{id, "deferred", "unconfirmed"}}
			l.S = append(l.S, taken{To: to, MessageID: "m", Secret: "other"})
		}, []int{3}},
		{"a second Message-ID", func(l *ledgers, a *aftermath) {
			l.Log = []logged{{id, "deferred", "unconfirmed"}}
			l.S = append(l.S, taken{To: to, MessageID: "other", Secret: "s"})
		}, []int{3}},
		{"no secret", func(l *ledgers, a *aftermath) { l.S[0].Secret = "" }, []int{3}},
		{"a second copy", func(l *ledgers, a *aftermath) { l.S = append(l.S, l.S[0]) }, []int{4}},
		{"a second copy after a lost reply", func(l *ledgers, a *aftermath) {
			l.S = append(l.S, l.S[0])
			l.Log = append(l.Log, logged{id, "deferred", "unconfirmed"})
		}, nil},
		{"a second copy after a kill before the record", func(l *ledgers, a *aftermath) {
			l.S = append(l.S, l.S[0])
			l.W = append(points(1, id, "dequeued", "opened", "before-dot", "accepted"), l.W...)
		}, nil},
		{"a second copy after a kill before the record, by the same process number", func(l *ledgers, a *aftermath) {
			l.S = append(l.S, l.S[0])
			l.W = append(points(2, id, "dequeued", "opened", "before-dot", "accepted"), l.W...)
		}, nil},
		{"a third copy after one kill", func(l *ledgers, a *aftermath) {
			l.S = append(l.S, l.S[0], l.S[0])
			l.W = append(points(1, id, "dequeued", "opened", "before-dot", "accepted"), l.W...)
		}, []int{4}},
		{"a second copy after a kill before the dot", func(l *ledgers, a *aftermath) {
			l.S = append(l.S, l.S[0])
			l.W = append(points(1, id, "dequeued", "opened"), l.W...)
		}, []int{4}},
		{"a second copy after a kill behind the record", func(l *ledgers, a *aftermath) {
			l.S = append(l.S, l.S[0])
			l.W = append(points(1, id, "dequeued", "opened", "before-dot", "accepted", "recorded"), l.W...)
		}, []int{4}},
		{"delivered and expired", func(l *ledgers, a *aftermath) { a.states[id] = tasks.Expired }, []int{5}},
		{"delivered and forgotten", func(l *ledgers, a *aftermath) { a.states[id] = tasks.Sending }, []int{5}},
		{"delivered and unknown", func(l *ledgers, a *aftermath) { a.states[id] = tasks.Unknown }, nil},
		{"right twice", func(l *ledgers, a *aftermath) { a.answers[id] = [2]string{"right", "right"} }, []int{6}},
		{"never right", func(l *ledgers, a *aftermath) { a.answers[id] = [2]string{"wrong", "wrong"} }, []int{6}},
		{"active without a lease", func(l *ledgers, a *aftermath) { a.leaseless = []string{id} }, []int{7}},
		{"a secret in clear", func(l *ledgers, a *aftermath) { a.clear = []string{id} }, []int{7}},
	} {
		l := ledgers{
			P: []offered{{ID: id, To: to, Kind: tasks.Key}},
			W: points(2, id, "dequeued", "opened", "before-dot", "accepted", "recorded", "returned"),
			S: []taken{{To: to, MessageID: "m", Secret: "s"}},
		}
		a := aftermath{states: map[string]tasks.State{id: tasks.Accepted}, queued: map[string]bool{},
			answers: map[string][2]string{id: {"right", "rejected"}}}
		test.change(&l, &a)
		if found := newChecker(l, a).check(); !slices.Equal(lawsOf(found), test.laws) {
			t.Errorf("%s: got %v, want laws %v", test.name, found, test.laws)
		}
	}
}

func points(pid int, id string, names ...string) (lines []passed) {
	for _, name := range names {
		lines = append(lines, passed{pid: pid, point: name, id: id})
	}
	return lines
}

// lawsOf returns the laws that are broken, each once.
func lawsOf(found []violation) (laws []int) {
	for _, v := range found {
		if !slices.Contains(laws, v.law) {
			laws = append(laws, v.law)
		}
	}
	return laws
}
