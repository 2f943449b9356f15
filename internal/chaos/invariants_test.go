package chaos_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.com/securemail/tasks"
)

// finalState is the state of Redis at the end of a scenario.
type finalState struct {
	states    map[string]tasks.State // by id; "" for a mail without a record
	queued    map[string]bool        // ids of mails that have a task left
	leaseless []string               // ids of tasks that are active without a lease
	inClear   []string               // ids of mails whose secret is in clear in an append-only file
	answers   map[string][2]string   // by id, results of two right answers, for a sample
}

// violation says that a mail breaks an invariant of the package comment.
type violation struct {
	invariant int
	id        string
	text      string
}

func (v violation) String() string {
	return fmt.Sprintf("invariant %d: mail %s: %s", v.invariant, v.id, v.text)
}

// checker holds the logs and the final state, and finds the violations.
type checker struct {
	logs
	finalState
	ids     map[string]string // by recipient
	acked   map[string]bool
	copies  map[string][]received
	allowed map[string]int // copies beyond the first

	found []violation
}

func newChecker(l logs, a finalState) *checker {
	c := &checker{logs: l, finalState: a, ids: map[string]string{}, acked: map[string]bool{}, copies: map[string][]received{}, allowed: map[string]int{}}
	for _, p := range l.Sends {
		c.ids[p.To] = p.ID
		c.acked[p.ID] = c.acked[p.ID] || p.Error == ""
	}
	for _, s := range l.Received {
		c.copies[c.ids[s.To]] = append(c.copies[c.ids[s.To]], s)
	}
	for _, r := range runsOf(l.Trace) {
		if r.past["before-dot"] && !r.past["recorded"] && !r.past["returned"] {
			c.allowed[r.id]++
		}
	}
	for _, line := range l.Runs {
		if line.Reason == "unconfirmed" {
			c.allowed[line.ID]++
		}
	}
	return c
}

// check returns all violations, in the order of the invariants.
func (c *checker) check() []violation {
	for _, invariant := range []func(){c.nothingIsLost, c.nothingWasNotSent, c.oneSecret, c.oneCopy, c.trueOutcome, c.rightOnce, c.redisIsClean} {
		invariant()
	}
	return c.found
}

func (c *checker) violates(invariant int, id, format string, args ...any) {
	c.found = append(c.found, violation{invariant, id, fmt.Sprintf(format, args...)})
}

func (c *checker) nothingIsLost() {
	for _, id := range slices.Sorted(maps.Keys(c.acked)) {
		state := c.states[id]
		switch {
		case !c.acked[id] || len(c.copies[id]) > 0 || c.queued[id]:
		case state == tasks.Accepted:
			c.violates(1, id, "it was acknowledged and its state is accepted, but it was never delivered")
		case !state.Ended():
			c.violates(1, id, "it was acknowledged and is lost: never delivered, no task is left, and its state is %q", state)
		}
	}
}

func (c *checker) nothingWasNotSent() {
	for _, s := range c.Received {
		if c.ids[s.To] == "" {
			c.violates(2, s.MessageID, "it was delivered to %s, and no producer sent it", s.To)
		}
	}
}

func (c *checker) oneSecret() {
	for id, copies := range c.sorted() {
		for _, s := range copies {
			switch first := copies[0]; {
			case s.Secret == "":
				c.violates(3, id, "a copy has no secret")
			case s.Secret != first.Secret:
				c.violates(3, id, "the copy of %s has another secret", s.At)
			case s.MessageID != first.MessageID:
				c.violates(3, id, "it has the Message-IDs %s and %s", first.MessageID, s.MessageID)
			}
		}
	}
}

func (c *checker) oneCopy() {
	for id, copies := range c.sorted() {
		if len(copies) > 1+c.allowed[id] {
			c.violates(4, id, "it has %d copies, and %d are allowed", len(copies), 1+c.allowed[id])
		}
	}
}

func (c *checker) trueOutcome() {
	for id := range c.sorted() {
		switch state := c.states[id]; {
		case state == tasks.Refused || state == tasks.Expired || state == tasks.Revoked:
			c.violates(5, id, "it was delivered, and its state is %s", state)
		case !state.Ended() && !c.queued[id]:
			c.violates(5, id, "it was delivered, no task is left, and its state is %q", state)
		}
	}
}

func (c *checker) rightOnce() {
	for _, id := range slices.Sorted(maps.Keys(c.answers)) {
		if a := c.answers[id]; a != [2]string{"right", "rejected"} {
			c.violates(6, id, "the right answer was %q, and the second time %q", a[0], a[1])
		}
	}
}

func (c *checker) redisIsClean() {
	for _, id := range c.leaseless {
		c.violates(7, id, "its task is active without a lease")
	}
	for _, id := range c.inClear {
		c.violates(7, id, "its secret is in clear in an append-only file")
	}
}

// sorted yields the ids and copies of delivered mails that a producer sent, in the order of the
// ids.
func (c *checker) sorted() func(yield func(string, []received) bool) {
	return func(yield func(string, []received) bool) {
		for _, id := range slices.Sorted(maps.Keys(c.copies)) {
			if id != "" && !yield(id, c.copies[id]) {
				return
			}
		}
	}
}

// counts are the figures of the tables.
type counts struct {
	acked, errors, delivered, lost, secrets, copies, allowed int
}

// count counts mails whose recipient begins with a prefix. Call it after check.
func (c *checker) count(prefix string) (n counts) {
	of := map[string]bool{}
	for to, id := range c.ids {
		if strings.HasPrefix(to, prefix) {
			of[id] = true
		}
	}
	for _, p := range c.Sends {
		if of[p.ID] && p.Error != "" {
			n.errors++
		}
	}
	for id := range of {
		if c.acked[id] {
			n.acked++
		}
		if len(c.copies[id]) > 0 {
			n.delivered++
			n.copies += len(c.copies[id]) - 1
		}
		n.allowed += c.allowed[id]
	}
	for _, v := range c.found {
		switch {
		case of[v.id] && v.invariant == 1:
			n.lost++
		case of[v.id] && v.invariant == 3:
			n.secrets++
		}
	}
	return n
}

const clock = "15:04:05.000"

// timeline returns all that the logs and Redis have of one mail.
func (c *checker) timeline(id string) string {
	var b strings.Builder
	for _, p := range c.Sends {
		if p.ID == id {
			fmt.Fprintf(&b, "send %+v\n", p)
		}
	}
	for _, p := range c.Trace {
		if p.id == id {
			fmt.Fprintf(&b, "trace %s %d %s\n", p.at.Format(clock), p.pid, p.point)
		}
	}
	for _, line := range c.Runs {
		if line.ID == id {
			fmt.Fprintf(&b, "log %+v\n", line)
		}
	}
	for _, s := range c.copies[id] {
		fmt.Fprintf(&b, "received %s %s %s\n", s.At.Format(clock), s.Worker, s.MessageID)
	}
	fmt.Fprintf(&b, "Redis %q, queued %v", c.states[id], c.queued[id])
	return b.String()
}
