package submission

import (
	"strconv"
	"strings"
)

// Pause is for how long a failure suspends its relay.
type Pause string

const (
	PauseNone  Pause = "none"  // not at all: the relay answers, and refuses this one mail
	PauseShort Pause = "short" // for seconds, once such failures come in a row
	PauseLong  Pause = "long"  // for minutes, at once
)

// rule says what follows from a refusal. The first rule that fits counts.
type rule struct {
	phases    string // in which phases, separated by spaces; "" is all of them
	code      string // how the reply code begins
	enhanced  string // how the enhanced code begins, in whole parts: "5.1" fits "5.1.1", not "5.10.1"; "" fits none given, too
	scope     Scope
	permanent bool
	pause     Pause
	hint      string
}

// early are the phases in which the relay does not know the recipient yet. What it says later never
// suspends it for minutes, but for a quota: one odd recipient could stop the mails of all others.
const early = "greeting ehlo starttls auth reset mail"

const (
	loginHint  = "the user name or password was not accepted; check both, and whether the provider wants an app password"
	wantsLogin = "the server wants a login; set the relay's user name and password"
	appHint    = "the server refuses this kind of login; use an app password or OAuth2"
	rateHint   = "the server closes the connection because of too many mails or logins; it is asked again later"
	policyHint = "the relay's policy refuses it; check that it may be used for this sender and that we are logged in"
	senderHint = "the relay refuses the sender; check that the From address is the account's own or one of its aliases"
	tooBigHint = "the message is larger than the relay takes"
	noUserHint = "the recipient's address does not exist or takes no mail"
	syntaxHint = "the relay did not understand us"
)

// rules follow RFC 5321 section 4.2.3, RFC 3463 and the registry of RFC 5248, and what Postfix, Gmail
// and Exchange send.
var rules = []rule{
	{"", "421", "4.7.0", ScopeRelay, false, PauseLong, rateHint}, // Gmail
	{"", "421", "4.7.28", ScopeRelay, false, PauseLong, rateHint},
	{"", "421", "", ScopeRelay, false, PauseShort, "the server closes the connection for now; it is asked again later"},
	{"", "5", "5.4.5", ScopeRelay, false, PauseLong, "the relay's sending quota is used up; wait until it renews, or raise it"},

	// The login. 530, 534 and 535 also come in answer to MAIL or RCPT.
	{"auth", "432", "4.7.12", ScopeCredentials, true, PauseLong, "the server wants the password to be set anew; log in once by hand"},
	{"auth", "454", "4.7.0", ScopeRelay, false, PauseLong, "the server takes no login for now because there were too many; wait"}, // Gmail
	{"auth", "4", "", ScopeRelay, false, PauseShort, "the server takes no login for now, often because there were too many; wait"},
	{early, "530", "", ScopeCredentials, true, PauseLong, wantsLogin},
	{"", "530", "", ScopeCredentials, true, PauseShort, wantsLogin},
	{"mail", "502", "5.7.0", ScopeCredentials, true, PauseLong, wantsLogin}, // go-smtp
	{early, "534", "", ScopeCredentials, true, PauseLong, appHint},
	{"", "534", "", ScopeCredentials, true, PauseShort, appHint},
	{early, "535", "", ScopeCredentials, true, PauseLong, loginHint},
	{"", "535", "", ScopeCredentials, true, PauseShort, loginHint},
	{"auth", "504", "", ScopeRelay, true, PauseLong, "the server refuses a mechanism that it offered itself"},
	{"auth", "5", "5.7", ScopeCredentials, true, PauseLong, loginHint},
	{"auth", "50", "", ScopeRelay, true, PauseLong, "the server does not understand AUTH; check that this is a submission server"},
	{"auth", "5", "", ScopeCredentials, true, PauseLong, loginHint},

	// Before any mail is named, the refusal is about the relay.
	{"greeting ehlo starttls reset", "4", "", ScopeRelay, false, PauseShort, "the server refuses to talk for now"},
	{"greeting", "5", "", ScopeRelay, true, PauseLong, "the server takes no mail from this machine; check host, port and the server's access list"},
	{"starttls", "5", "", ScopeRelay, true, PauseLong, "the server refuses STARTTLS, so nothing was sent; use port 465, or fix its TLS"},
	{"ehlo", "5", "", ScopeRelay, true, PauseLong, "the server refuses EHLO; check the relay's local name"},
	{"reset", "5", "", ScopeRelay, false, PauseShort, "the server refuses RSET"},

	// Sizes and senders, in every phase.
	{"", "5", "5.3.4", ScopeMessage, true, PauseNone, tooBigHint},
	{"", "5", "5.2.3", ScopeMessage, true, PauseNone, tooBigHint},
	{early, "5", "5.1.7", ScopeRelay, true, PauseLong, senderHint},
	{"", "5", "5.1.7", ScopeRelay, true, PauseShort, senderHint},
	{early, "5", "5.1.8", ScopeRelay, true, PauseLong, senderHint},
	{"", "5", "5.1.8", ScopeRelay, true, PauseShort, senderHint},
	{early, "5", "5.2.252", ScopeRelay, true, PauseLong, senderHint}, // Exchange: SendAsDenied
	{"", "5", "5.2.252", ScopeRelay, true, PauseShort, senderHint},

	{"mail", "4", "", ScopeRelay, false, PauseShort, "the relay takes no mail for now"},
	{"mail", "552", "", ScopeMessage, true, PauseNone, tooBigHint},
	{"mail", "5", "5.6", ScopeMessage, true, PauseNone, "the relay does not take a message of this form"},
	{"mail", "5", "", ScopeRelay, true, PauseLong, senderHint},

	{"rcpt", "4", "4.3", ScopeRelay, false, PauseShort, "the relay is out of order for now"},
	{"rcpt", "4", "4.4.5", ScopeRelay, false, PauseShort, "the relay is overloaded"},
	{"rcpt", "4", "", ScopeRecipient, false, PauseNone, "the recipient is refused for now: greylisting, a full mailbox or a limit"},
	{"rcpt", "552", "", ScopeRecipient, false, PauseNone, "too many recipients or a full mailbox"}, // RFC 5321 section 4.5.3.1.10: to be taken as 452
	{"rcpt", "5", "5.5.3", ScopeRecipient, false, PauseNone, "too many recipients"},                // the same condition under its new name
	{"rcpt", "5", "5.1", ScopeRecipient, true, PauseNone, noUserHint},
	{"rcpt", "5", "5.2", ScopeRecipient, true, PauseNone, "the recipient's mailbox takes no mail"},
	{"rcpt", "5", "5.3", ScopeRelay, true, PauseShort, "the relay is out of order"},
	{"rcpt", "5", "5.4", ScopeRecipient, true, PauseNone, "the relay finds no way to the recipient's domain"},
	{"rcpt", "5", "5.5", ScopeRelay, true, PauseShort, syntaxHint},
	{"rcpt", "5", "5.6", ScopeMessage, true, PauseNone, "the relay does not take a message of this form"},
	{"rcpt", "5", "5.7", ScopeRelay, true, PauseShort, policyHint},
	{"rcpt", "521", "", ScopeRelay, true, PauseShort, "the server takes no mail; check the relay's host"}, // RFC 7504
	{"rcpt", "55", "", ScopeRecipient, true, PauseNone, noUserHint},
	{"rcpt", "501", "", ScopeRecipient, true, PauseNone, "the relay does not understand the recipient's address"},
	{"rcpt", "5", "", ScopeRelay, true, PauseShort, syntaxHint},

	{"data dot", "4", "4.2", ScopeRecipient, false, PauseNone, "the recipient's mailbox takes no mail for now"},
	{"data dot", "4", "4.3", ScopeRelay, false, PauseShort, "the relay is out of order for now"},
	{"data dot", "4", "4.4", ScopeRelay, false, PauseShort, "the relay cannot pass mail on for now"},
	{"data dot", "452", "", ScopeRelay, false, PauseShort, "the relay is out of space"},
	{"data dot", "4", "", ScopeMessage, false, PauseNone, "the relay does not take the message for now"},
	{"data", "50", "", ScopeRelay, true, PauseShort, syntaxHint},
	{"data dot", "5", "5.1", ScopeRecipient, true, PauseNone, noUserHint},
	{"data dot", "5", "5.2", ScopeRecipient, true, PauseNone, "the recipient's mailbox takes no mail"},
	{"data dot", "552", "", ScopeMessage, true, PauseNone, "the relay refuses the message for its size or its content"},
	{"data dot", "554", "", ScopeMessage, true, PauseNone, "the relay refuses the message for its content"},
	{"data dot", "5", "5.3", ScopeRelay, true, PauseShort, "the relay is out of order"},
	{"data dot", "5", "5.7", ScopeRelay, true, PauseShort, policyHint},
	{"data dot", "5", "", ScopeMessage, true, PauseNone, "the relay refuses the message"},

	// An unsolicited reply, before the body.
	{"", "4", "", ScopeRelay, false, PauseShort, "the relay refuses for now"},
	{"", "5", "", ScopeRelay, true, PauseShort, "the relay refuses"},
}

// classify finds the rule for a reply of class 4 or 5.
func classify(phase Phase, code int, enhanced string) rule {
	for _, r := range rules {
		if (r.phases == "" || strings.Contains(" "+r.phases+" ", " "+string(phase)+" ")) &&
			strings.HasPrefix(strconv.Itoa(code), r.code) &&
			(r.enhanced == "" || strings.HasPrefix(enhanced+".", r.enhanced+".")) {
			return r
		}
	}
	panic("submission: no rule for this reply") // the last two rules fit every refusal
}

// Pause says for how long the failure suspends the relay.
func (e *Error) Pause() Pause {
	switch {
	case e.Code >= 400:
		return classify(e.Phase, e.Code, e.EnhancedCode).pause
	case e.Scope == ScopeRecipient, e.Scope == ScopeMessage, e.Scope == ScopeCaller:
		return PauseNone
	case e.Permanent, e.Scope == ScopeCredentials:
		return PauseLong
	}
	return PauseShort
}

// FailsOver reports whether another relay may take the mail at once: this one cannot, its body has
// not left, and the failure is not the mail's own.
func (e *Error) FailsOver() bool {
	switch e.Phase {
	case PhasePrepare, PhaseBody, PhaseDot:
		return false
	}
	return !e.Ambiguous && (e.Scope == ScopeNetwork || e.Scope == ScopeRelay || e.Scope == ScopeCredentials)
}
