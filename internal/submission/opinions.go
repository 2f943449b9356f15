package submission

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// opinionTime is for how long a refusal counts as one of a row.
const opinionTime = 10 * time.Minute

const (
	everybodyHint = "the relay refuses recipients of different domains alike and takes none; check that it takes mail for others from us"
	ourMailsHint  = "the relay refuses one mail after the other for its content; all our mails look alike, so somebody must look at them, or at the sender's reputation"
)

// opinions is what a relay has said of mails since it last took one. One refusal can be about its own
// mail; the same one for recipients with nothing in common is about us.
type opinions struct {
	mu      sync.Mutex
	last    time.Time
	domains map[string]map[string]bool // of refused recipients, by how they were refused
	content string                     // the recipient of the mail that was last refused for its content
}

// accepted forgets all that was said.
func (o *opinions) accepted() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.domains, o.content = nil, ""
}

// weigh changes e where others were refused alike.
func (o *opinions) weigh(e *Error, to string) {
	if !e.refusedAfterRcpt() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Since(o.last) > opinionTime {
		o.domains, o.content = nil, ""
	}
	o.last = time.Now()
	hint := ""
	switch {
	case e.Scope == ScopeMessage && e.Permanent:
		if o.content != "" && o.content != to {
			hint = ourMailsHint
		}
		o.content = to
	case e.Scope == ScopeRecipient && e.Permanent, e.Scope == ScopeUnclear:
		if o.alike(e) >= minDomains {
			hint = everybodyHint
		}
	}
	if hint != "" {
		e.Scope, e.Permanent, e.pause, e.hint = ScopeRelay, true, PauseShort, hint
	}
}

// alike returns for recipients of how many domains the relay has said this. o.mu is held.
func (o *opinions) alike(e *Error) int {
	how := fmt.Sprint(e.Phase, e.Code, e.EnhancedCode)
	if o.domains[how] == nil {
		if o.domains == nil || len(o.domains) > 20 { // a server that varies its codes does not grow it
			o.domains = map[string]map[string]bool{}
		}
		o.domains[how] = map[string]bool{}
	}
	if len(o.domains[how]) < minDomains {
		o.domains[how][e.domain] = true
	}
	return len(o.domains[how])
}

// domainOf returns the domain of an address.
func domainOf(address string) string { return address[strings.LastIndexByte(address, '@')+1:] }
