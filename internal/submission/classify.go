package submission

import (
	"strconv"
	"strings"
)

// rule says what a refusal means. The first rule that fits counts.
type rule struct {
	phases    string // in which phases, separated by spaces; "" is all of them
	code      string // how the reply code begins
	enhanced  string // how the enhanced code begins, in whole parts: "5.1" fits "5.1.1", not "5.10.1"; "" fits none given, too
	scope     Scope
	permanent bool
	words     string
}

const (
	loginWords  = "the user name or password was not accepted; check both, and whether the provider wants an app password"
	policyWords = "the relay's policy refuses it; check that it may be used for this sender and that we are logged in"
	senderWords = "the relay refuses the sender; check that the From address is the account's own or one of its aliases"
	tooBigWords = "the message is larger than the relay takes"
	noUserWords = "the recipient's address does not exist or takes no mail"
)

// rules follow RFC 5321, section 4.2.3, RFC 3463 and the registry of RFC 5248, and what Postfix, Gmail and Exchange send.
var rules = []rule{
	{"", "421", "", ScopeRelay, false, "the server closes the connection for now; it is asked again later"},
	{"", "5", "5.4.5", ScopeRelay, false, "the relay's sending quota is used up; wait until it renews, or raise it"},

	// The login. 530, 534 and 535 also come in answer to MAIL or RCPT.
	{"auth", "432", "4.7.12", ScopeCredentials, true, "the server wants the password to be set anew; log in once by hand"},
	{"auth", "4", "", ScopeRelay, false, "the server takes no login for now, often because there were too many; wait"},
	{"", "530", "", ScopeCredentials, true, "the server wants a login; set the relay's user name and password"},
	{"mail", "502", "5.7.0", ScopeCredentials, true, "the server wants a login; set the relay's user name and password"}, // go-smtp
	{"", "534", "", ScopeCredentials, true, "the server refuses this kind of login; use an app password or OAuth2"},
	{"", "535", "", ScopeCredentials, true, loginWords},
	{"auth", "504", "", ScopeRelay, true, "the server refuses a mechanism that it offered itself"},
	{"auth", "5", "5.7", ScopeCredentials, true, loginWords},
	{"auth", "50", "", ScopeRelay, true, "the server does not understand AUTH; check that this is a submission server"},
	{"auth", "5", "", ScopeCredentials, true, loginWords},

	// Before any mail is named, it is the relay's trouble.
	{"greeting ehlo starttls reset", "4", "", ScopeRelay, false, "the server does not want to talk for now"},
	{"greeting", "5", "", ScopeRelay, true, "the server takes no mail from this machine; check host, port and the server's access list"},
	{"starttls", "5", "", ScopeRelay, true, "the server refuses STARTTLS, so nothing was sent; use port 465, or mend its TLS"},
	{"ehlo", "5", "", ScopeRelay, true, "the server refuses EHLO; check the relay's local name"},
	{"reset", "5", "", ScopeRelay, false, "the server refuses RSET"},

	// Sizes and senders, wherever they come up.
	{"", "5", "5.3.4", ScopeMessage, true, tooBigWords},
	{"", "5", "5.2.3", ScopeMessage, true, tooBigWords},
	{"", "5", "5.1.7", ScopeRelay, true, senderWords},
	{"", "5", "5.1.8", ScopeRelay, true, senderWords},
	{"", "5", "5.2.252", ScopeRelay, true, senderWords}, // Exchange: SendAsDenied

	{"mail", "4", "", ScopeRelay, false, "the relay takes no mail for now"},
	{"mail", "552", "", ScopeMessage, true, tooBigWords},
	{"mail", "5", "5.6", ScopeMessage, true, "the relay does not take a message of this form"},
	{"mail", "5", "", ScopeRelay, true, senderWords},

	{"rcpt", "4", "4.3", ScopeRelay, false, "the relay is out of order for now"},
	{"rcpt", "4", "4.4.5", ScopeRelay, false, "the relay is overloaded"},
	{"rcpt", "4", "", ScopeRecipient, false, "the recipient is refused for now: greylisting, a full mailbox or a limit"},
	{"rcpt", "552", "", ScopeRecipient, false, "too many recipients or a full mailbox"}, // RFC 5321, section 4.5.3.1.10: to be taken as 452
	{"rcpt", "5", "5.5.3", ScopeRecipient, false, "too many recipients"},                // the same condition under its new name
	{"rcpt", "5", "5.1", ScopeRecipient, true, noUserWords},
	{"rcpt", "5", "5.2", ScopeRecipient, true, "the recipient's mailbox takes no mail"},
	{"rcpt", "5", "5.3", ScopeRelay, true, "the relay is out of order"},
	{"rcpt", "5", "5.4", ScopeRecipient, true, "the relay finds no way to the recipient's domain"},
	{"rcpt", "5", "5.5", ScopeRelay, true, "the relay did not understand us"},
	{"rcpt", "5", "5.6", ScopeMessage, true, "the relay does not take a message of this form"},
	{"rcpt", "5", "5.7", ScopeRelay, true, policyWords},
	{"rcpt", "521", "", ScopeRelay, true, "the server takes no mail; check the relay's host"}, // RFC 7504
	{"rcpt", "55", "", ScopeRecipient, true, noUserWords},
	{"rcpt", "501", "", ScopeRecipient, true, "the relay does not understand the recipient's address"},
	{"rcpt", "5", "", ScopeRelay, true, "the relay did not understand us"},

	{"data dot", "4", "4.2", ScopeRecipient, false, "the recipient's mailbox takes no mail for now"},
	{"data dot", "4", "4.3", ScopeRelay, false, "the relay is out of order for now"},
	{"data dot", "4", "4.4", ScopeRelay, false, "the relay cannot pass mail on for now"},
	{"data dot", "452", "", ScopeRelay, false, "the relay is out of space"},
	{"data dot", "4", "", ScopeMessage, false, "the relay does not take the message for now"},
	{"data", "50", "", ScopeRelay, true, "the relay did not understand us"},
	{"data dot", "5", "5.1", ScopeRecipient, true, noUserWords},
	{"data dot", "5", "5.2", ScopeRecipient, true, "the recipient's mailbox takes no mail"},
	{"data dot", "552", "", ScopeMessage, true, "the relay refuses the message for its size or its content"},
	{"data dot", "554", "", ScopeMessage, true, "the relay refuses the message for its content"},
	{"data dot", "5", "5.3", ScopeRelay, true, "the relay is out of order"},
	{"data dot", "5", "5.7", ScopeRelay, true, policyWords},
	{"data dot", "5", "", ScopeMessage, true, "the relay refuses the message"},
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
	return rule{scope: ScopeRelay, permanent: code >= 500, words: "the relay refuses"}
}
