package submission

import "strings"

// Pause is for how long a failure suspends its relay.
type Pause string

const (
	PauseNone  Pause = "none"  // not at all: the relay answers, and refuses this one mail
	PauseShort Pause = "short" // for seconds, once such failures come in a row
	PauseLong  Pause = "long"  // for minutes, at once: a person has to fix a login or a certificate
)

// verdict says what follows from a refusal.
type verdict struct {
	kind      kind
	scope     Scope
	permanent bool
	pause     Pause
	hint      string
}

// rule is one row of what follows. The first that fits counts.
type rule struct {
	kind    kind
	phases  string // separated by spaces; "" is all of them
	code    string // how the reply code begins
	verdict        // its kind is filled in
}

// early are the phases in which the relay does not know the recipient yet. What it says later never
// suspends it for minutes: one odd recipient could stop the mails of all others.
const early = "greeting ehlo starttls auth reset mail"

const (
	loginHint   = "the user name or password was not accepted; check both, and whether the provider wants an app password"
	wantsLogin  = "the server wants a login; set the relay's user name and password"
	appHint     = "the server refuses this kind of login; use an app password or OAuth2"
	accountHint = "the account may not send: it is suspended, not activated or lacks a right; its password is not the cause; ask the provider"
	listedHint  = "the server does not take mail from this machine, for its address, its name or its reputation; no password is the cause; check the server's access list"
	relayHint   = "the relay does not take mail for others from us; check that this is a submission server and that we log in"
	senderHint  = "the relay refuses the sender; check that the From address is the account's own or a verified one, and its domain's SPF, DKIM and DMARC"
	syntaxHint  = "the relay did not understand us or is out of order"
)

// rules say what follows from a refusal of each kind.
var rules = []rule{
	{kUser, "", "5", verdict{"", ScopeRecipient, true, PauseNone, "the recipient's address does not exist or takes no mail"}},
	{kUser, "", "", verdict{"", ScopeRecipient, false, PauseNone, "the recipient's address takes no mail for now"}},
	{kUserLater, "", "", verdict{"", ScopeRecipient, false, PauseNone, "the recipient is refused for now: greylisting, a full mailbox or a limit of the mailbox"}},
	{kContent, "", "5", verdict{"", ScopeMessage, true, PauseNone, "the relay refuses the message for its content"}},
	{kContent, "", "", verdict{"", ScopeMessage, false, PauseNone, "the relay refuses the message for its content, for now"}},
	{kSize, "", "5", verdict{"", ScopeMessage, true, PauseNone, "the message is larger than the relay takes"}},
	{kSize, "", "", verdict{"", ScopeMessage, false, PauseNone, "the message is larger than the relay takes for now"}},

	// A wrong login is a person's work whatever its class.
	{kLogin, "auth", "432", verdict{"", ScopeCredentials, true, PauseLong, "the server wants the password to be set anew; log in once by hand"}},
	{kLogin, early, "530", verdict{"", ScopeCredentials, true, PauseLong, wantsLogin}},
	{kLogin, early, "534", verdict{"", ScopeCredentials, true, PauseLong, appHint}},
	{kLogin, "auth", "", verdict{"", ScopeCredentials, true, PauseLong, loginHint}},
	{kLogin, early, "", verdict{"", ScopeCredentials, true, PauseLong, wantsLogin}},
	{kLogin, "", "", verdict{"", ScopeCredentials, true, PauseShort, wantsLogin}},
	{kAccount, "auth", "5", verdict{"", ScopeCredentials, true, PauseLong, accountHint}},
	{kAccount, "", "5", verdict{"", ScopeRelay, true, PauseShort, accountHint}},
	{kAccount, "", "", verdict{"", ScopeRelay, false, PauseShort, accountHint}},
	{kListed, "auth", "5", verdict{"", ScopeCredentials, true, PauseLong, listedHint}},
	{kListed, "", "5", verdict{"", ScopeRelay, true, PauseShort, listedHint}},
	{kListed, "", "", verdict{"", ScopeRelay, false, PauseShort, listedHint}},
	{kRelaying, "", "5", verdict{"", ScopeRelay, true, PauseShort, relayHint}},
	{kRelaying, "", "", verdict{"", ScopeRelay, false, PauseShort, relayHint}},
	{kSender, "", "5", verdict{"", ScopeRelay, true, PauseShort, senderHint}},
	{kSender, "", "", verdict{"", ScopeRelay, false, PauseShort, senderHint}},

	{kTooMuch, "", "", verdict{"", ScopeRelay, false, PauseShort, "the relay has had too much for now: a rate or a quota; wait until it renews, or raise it"}},
	{kLater, "", "", verdict{"", ScopeRelay, false, PauseShort, "the relay cannot take it for now; it is asked again later"}},
	{kBroken, "starttls", "5", verdict{"", ScopeRelay, true, PauseShort, "the server refuses STARTTLS, so nothing was sent; use port 465, or fix its TLS"}},
	{kBroken, "ehlo", "5", verdict{"", ScopeRelay, true, PauseShort, "the server refuses EHLO; check the relay's local name"}},
	{kBroken, "auth", "5", verdict{"", ScopeRelay, true, PauseShort, "the server does not understand AUTH or this mechanism; check that this is a submission server"}},
	{kBroken, "", "5", verdict{"", ScopeRelay, true, PauseShort, syntaxHint}},
	{kBroken, "", "", verdict{"", ScopeRelay, false, PauseShort, syntaxHint}},
	{kUnclear, "", "", verdict{"", ScopeUnclear, false, PauseShort, "the server does not say whether the sender, the recipient or the message is the cause; read its own words"}},
}

// judge says what follows from a reply of class 4 or 5. It reads codes and words, and depends on
// nothing else.
func judge(phase Phase, code int, enhanced string, lines []string) verdict {
	k := kindOf(phase, code, enhanced, lines)
	for _, r := range rules {
		if r.kind == k && in(phase, r.phases) && startsWith(code, r.code) {
			r.verdict.kind = k
			return r.verdict
		}
	}
	panic("submission: no rule for this kind of refusal") // each kind has a row for every phase and code
}

// Pause says for how long the failure suspends the relay.
func (e *Error) Pause() Pause {
	switch {
	case e.pause != "":
		return e.pause
	case e.Scope == ScopeRecipient, e.Scope == ScopeMessage, e.Scope == ScopeCaller:
		return PauseNone
	case e.Scope == ScopeCredentials:
		return PauseLong
	}
	return PauseShort
}

// FailsOver reports whether another relay may take the mail at once: this one has not taken it, and
// the failure is not known to be the mail's own. A refusal after the final dot is one, too: the server
// says that it does not have the mail (RFC 5321 section 4.2.5).
func (e *Error) FailsOver() bool {
	switch e.Scope {
	case ScopeRecipient, ScopeMessage, ScopeCaller:
		return false
	}
	switch e.Phase {
	case PhasePrepare:
		return false
	case PhaseBody, PhaseDot:
		return e.Code >= 400
	}
	return !e.Ambiguous
}

// refusedAfterRcpt reports whether the relay said it once it knew the recipient.
func (e *Error) refusedAfterRcpt() bool {
	return e.Code >= 400 && !in(e.Phase, early)
}

func in(phase Phase, phases string) bool {
	return phases == "" || strings.Contains(" "+phases+" ", " "+string(phase)+" ")
}
