package chaos_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.com/securemail/tasks"
)

// aftermath is what Redis has when everything is over.
type aftermath struct {
	states    map[string]tasks.State // by id; "" where nothing is known of the mail
	queued    map[string]bool        // the ids that a task will still run for
	leaseless []string               // the ids that are active without a lease
	clear     []string               // whose secret stands in the append-only file in clear
	answers   map[string][2]string   // of those that were asked about: what the right answer came to, the first and the second time
}

// violation is one mail that breaks a law of the package comment.
type violation struct {
	law  int
	id   string
	text string
}

func (v violation) String() string { return fmt.Sprintf("law %d: mail %s: %s", v.law, v.id, v.text) }

// checker holds the ledgers, sorted by mail.
type checker struct {
	ledgers
	aftermath
	ids     map[string]string // by recipient
	acked   map[string]bool
	copies  map[string][]taken
	allowed map[string]int // copies beyond the first

	found []violation
}

func newChecker(l ledgers, a aftermath) *checker {
	c := &checker{ledgers: l, aftermath: a, ids: map[string]string{}, acked: map[string]bool{}, copies: map[string][]taken{}, allowed: map[string]int{}}
	for _, p := range l.P {
		c.ids[p.To] = p.ID
		c.acked[p.ID] = c.acked[p.ID] || p.Error == ""
	}
	for _, s := range l.S {
		c.copies[c.ids[s.To]] = append(c.copies[c.ids[s.To]], s)
	}
	for _, r := range runsOf(l.W) {
		if r.past["before-dot"] && !r.past["recorded"] && !r.past["returned"] {
			c.allowed[r.id]++
		}
	}
	for _, line := range l.Log {
		if line.Reason == "unconfirmed" {
			c.allowed[line.ID]++
		}
	}
	return c
}

// check returns everything that breaks a law, in the order of the laws.
func (c *checker) check() []violation {
	for _, law := range []func(){c.nothingIsLost, c.nothingIsInvented, c.oneSecret, c.oneCopy, c.trueOutcome, c.rightOnce, c.redisIsClean} {
		law()
	}
	return c.found
}

func (c *checker) breaks(law int, id, format string, args ...any) {
	c.found = append(c.found, violation{law, id, fmt.Sprintf(format, args...)})
}

func (c *checker) nothingIsLost() {
	for _, id := range slices.Sorted(maps.Keys(c.acked)) {
		state := c.states[id]
		switch {
		case !c.acked[id] || len(c.copies[id]) > 0 || c.queued[id]:
		case state == tasks.Accepted:
			c.breaks(1, id, "it was acknowledged and its record says accepted, but it was never delivered")
		case !state.Ended():
			c.breaks(1, id, "it was acknowledged and is lost: never delivered, no task is left, and its state is %q", state)
		}
	}
}

func (c *checker) nothingIsInvented() {
	for _, s := range c.S {
		if c.ids[s.To] == "" {
			c.breaks(2, s.MessageID, "it was delivered to %s, and nobody offered it", s.To)
		}
	}
}

func (c *checker) oneSecret() {
	for id, copies := range c.sorted() {
		for _, s := range copies {
			switch first := copies[0]; {
			case s.Secret == "":
				c.breaks(3, id, "a copy has no secret")
			case s.Secret != first.Secret:
				c.breaks(3, id, "it has a second secret in copy %s", s.At)
			case s.MessageID != first.MessageID:
				c.breaks(3, id, "it has the Message-IDs %s and %s", first.MessageID, s.MessageID)
			}
		}
	}
}

func (c *checker) oneCopy() {
	for id, copies := range c.sorted() {
		if len(copies) > 1+c.allowed[id] {
			c.breaks(4, id, "it has %d copies, and %d are allowed", len(copies), 1+c.allowed[id])
		}
	}
}

func (c *checker) trueOutcome() {
	for id := range c.sorted() {
		switch state := c.states[id]; {
		case state == tasks.Refused || state == tasks.Expired || state == tasks.Revoked:
			c.breaks(5, id, "it was delivered, and its record says %s", state)
		case !state.Ended() && !c.queued[id]:
			c.breaks(5, id, "it was delivered, no task is left, and its record says %q", state)
		}
	}
}

func (c *checker) rightOnce() {
	for _, id := range slices.Sorted(maps.Keys(c.answers)) {
		if a := c.answers[id]; a != [2]string{"right", "rejected"} {
			c.breaks(6, id, "the right answer came to %q, and the second time to %q", a[0], a[1])
		}
	}
}

func (c *checker) redisIsClean() {
	for _, id := range c.leaseless {
		c.breaks(7, id, "its task is active without a lease")
	}
	for _, id := range c.clear {
		c.breaks(7, id, "its secret stands in the append-only file in clear")
	}
}

// sorted yields the delivered mails that somebody offered, in the order of their ids.
func (c *checker) sorted() func(yield func(string, []taken) bool) {
	return func(yield func(string, []taken) bool) {
		for _, id := range slices.Sorted(maps.Keys(c.copies)) {
			if id != "" && !yield(id, c.copies[id]) {
				return
			}
		}
	}
}

// counts are what the tables give.
type counts struct {
	acked, errors, delivered, lost, secrets, copies, allowed int
}

// count counts the mails whose recipient begins with a prefix, after check.
func (c *checker) count(prefix string) (n counts) {
	of := map[string]bool{}
	for to, id := range c.ids {
		if strings.HasPrefix(to, prefix) {
			of[id] = true
		}
	}
	for _, p := range c.P {
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
		case of[v.id] && v.law == 1:
			n.lost++
		case of[v.id] && v.law == 3:
			n.secrets++
		}
	}
	return n
}

const clock = "15:04:05.000"

// story is everything that the ledgers say of one mail.
func (c *checker) story(id string) string {
	var b strings.Builder
	for _, p := range c.P {
		if p.ID == id {
			fmt.Fprintf(&b, "P %+v\n", p)
		}
	}
	for _, p := range c.W {
		if p.id == id {
			fmt.Fprintf(&b, "W %s %d %s\n", p.at.Format(clock), p.pid, p.point)
		}
	}
	for _, line := range c.Log {
		if line.ID == id {
			fmt.Fprintf(&b, "W log %+v\n", line)
		}
	}
	for _, s := range c.copies[id] {
		fmt.Fprintf(&b, "S %s %s %s\n", s.At.Format(clock), s.Worker, s.MessageID)
	}
	fmt.Fprintf(&b, "Redis %q, queued %v", c.states[id], c.queued[id])
	return b.String()
}
