package submission

// concept is one thing that a server's words can be about; words.txt says which words are about which.
type concept uint64

// conceptNames are the names of words.txt, in the order of the constants.
var conceptNames = []string{
	"recipient", "mailbox", "box", "account", "at", "reach", "them", "address", "domain", "sender", "you", "client",
	"relay", "auth", "secret", "policy", "listed", "spam", "content", "header", "form", "double", "missing",
	"size", "mails", "sessions", "unknown", "invalid", "disabled", "closed", "unavailable", "full", "quota", "limit", "exceed",
	"rate", "throttle", "many", "deny", "permit", "no", "need", "fail", "verify", "own",
	"spoof", "abuse", "plan", "later", "temp", "grey", "server", "down", "sending", "only",
}

const (
	cRecipient concept = 1 << iota
	cMailbox
	cBox
	cAccount
	cAt
	cReach
	cThem
	cAddress
	cDomain
	cSender
	cYou
	cClient
	cRelay
	cAuth
	cSecret
	cPolicy
	cListed
	cSpam
	cContent
	cHeader
	cForm
	cDouble
	cMissing
	cSize
	cMails
	cSessions
	cUnknown
	cInvalid
	cDisabled
	cClosed
	cUnavailable
	cFull
	cQuota
	cLimit
	cExceed
	cRate
	cThrottle
	cMany
	cDeny
	cPermit
	cNo
	cNeed
	cFail
	cVerify
	cOwn
	cSpoof
	cAbuse
	cPlan
	cLater
	cTemp
	cGrey
	cServer
	cDown
	cSending
	cOnly

	cTheirs = cRecipient | cMailbox | cReach
	cGone   = cUnknown | cInvalid | cDisabled
)

// frame is a combination of concepts that tells a kind: all of them within a few words.
type frame struct {
	kind kind
	when string    // "4", "5": in this class of codes; "rcpt" ...: in this phase; "": always
	near bool      // within 5 words, not 12
	all  []concept // one of each
	none concept   // and none of these
}

// frames are read from top to bottom; the first that stands in the reply tells its kind. What is about
// us stands before what is about the recipient, and both before the message and the server, because
// servers add general advice behind the reason.
var frames = []frame{
	{kUser, "", false, []concept{cThem}, cSize | cClient},
	{kUser, "5", true, []concept{cReach, cNo, cPermit, cSending}, cClient | cAccount | cRelay | cVerify},
	{kUser, "5", true, []concept{cRecipient | cReach, cOnly, cPermit}, cClient | cAccount | cRelay},
	{kUserLater, "", false, []concept{cReach, cQuota | cLimit | cRate, cExceed | cMany}, 0},
	{kUserLater, "rcpt", false, []concept{cReach, cMany}, 0},
	// A mailbox that is full looks like a quota.
	{kUser, "5", false, []concept{cTheirs, cFull, cDisabled}, cSending},
	{kFull, "", false, []concept{cTheirs, cFull}, cRate | cSending},
	{kFull, "rcpt", true, []concept{cFull, cExceed | cQuota | cLimit}, cRate | cSending | cServer},
	{kFull, "", true, []concept{cMailbox | cReach, cQuota, cExceed}, cRate | cSending | cSessions | cMany | cSize},
	{kFull, "", true, []concept{cBox, cQuota | cLimit, cExceed}, cRate | cSending | cSessions | cMany},
	{kFull, "", true, []concept{cFull, cMailbox | cAccount}, cRate | cSending | cServer | cYou},
	{kUserLater, "", true, []concept{cRecipient, cQuota, cExceed}, cRate | cSending | cSessions | cMany | cSize},
	{kUserLater, "rcpt", false, []concept{cDomain, cTemp}, cSender | cClient},

	{kTooMuch, "", false, []concept{cThrottle}, 0},
	{kTooMuch, "", false, []concept{cOnly, cMails, cRate}, 0},
	{kTooMuch, "", false, []concept{cExceed, cRate, cQuota | cLimit | cMails}, 0},
	{kTooMuch, "", false, []concept{cQuota | cLimit, cExceed | cRate | cSending}, cSize},
	{kTooMuch, "", true, []concept{cMany, cMails | cSessions | cRecipient | cAuth}, cSpam | cSize | cHeader | cForm},
	{kTooMuch, "", false, []concept{cRate, cExceed | cMany}, 0},
	{kTooMuch, "", false, []concept{cMany, cSending}, cSpam | cSize},

	{kContent, "", false, []concept{cHeader, cDouble}, 0},
	{kSender, "", false, []concept{cPolicy | cSpoof}, 0},
	{kSender, "", false, []concept{cSender, cVerify | cOwn | cAuth}, 0},
	{kContent, "", false, []concept{cHeader, cInvalid | cMissing | cDouble}, 0},
	{kContent, "", false, []concept{cForm}, cClient},
	{kSender, "", false, []concept{cAuth, cDomain, cSending}, 0},
	{kLater, "4", true, []concept{cTemp, cAuth}, 0},
	{kLogin, "", false, []concept{cAuth | cSecret, cNeed | cFail | cInvalid | cDeny}, 0},
	{kLogin, "", true, []concept{cAuth | cSecret, cNo}, 0},
	{kLogin, "", true, []concept{cPermit, cOnly}, cRecipient},
	{kSender, "", true, []concept{cSender, cDeny | cGone | cFail | cUnavailable}, 0},
	{kSender, "", true, []concept{cSender, cNo, cPermit | cYou}, 0},
	{kSender, "", true, []concept{cOwn, cNo, cAddress | cMailbox | cAccount}, 0},
	{kSender, "5", true, []concept{cVerify, cNo, cAddress | cDomain}, cRecipient | cLater | cTemp},
	{kSender, "", true, []concept{cSender, cSpam | cListed | cAbuse}, 0},
	{kSender, "", false, []concept{cYou, cDomain, cDeny | cSpam | cListed | cAbuse}, 0},

	{kUser, "", true, []concept{cMailbox, cUnknown}, cSender | cClient | cAuth | cYou | cDeny},
	{kRelaying, "", true, []concept{cRelay, cDeny | cNo | cPermit}, 0},
	{kListed, "", false, []concept{cListed}, 0},
	{kListed, "", false, []concept{cClient, cSpam | cAbuse}, 0},
	{kListed, "", true, []concept{cClient, cDeny | cDisabled | cInvalid | cUnknown}, 0},
	{kListed, "", true, []concept{cClient, cNo, cPermit}, 0},
	{kAccount, "", true, []concept{cYou, cAccount, cDisabled | cDeny | cPlan | cSpam}, cReach},
	{kAccount, "", true, []concept{cSpam, cSending, cAccount | cMailbox | cYou}, 0},
	{kContent, "", true, []concept{cMails, cDeny, cContent | cSpam}, cYou | cAccount},
	{kAccount, "", false, []concept{cSending, cDisabled}, 0},
	{kAccount, "", true, []concept{cSending, cDeny}, 0},
	{kAccount, "", true, []concept{cSending, cNo, cPermit}, 0},
	{kAccount, "", false, []concept{cPlan, cNo | cNeed | cAccount}, cTheirs},
	{kAccount, "", false, []concept{cAbuse}, cTheirs},

	{kUserLater, "", false, []concept{cGrey}, 0},
	{kUserLater, "", false, []concept{cTheirs, cServer, cDown | cTemp}, 0},
	{kUser, "", false, []concept{cTheirs, cUnknown}, 0},
	{kUser, "", true, []concept{cTheirs, cInvalid | cDisabled}, 0},
	{kUser, "rcpt", true, []concept{cTheirs, cUnavailable}, cSending | cDeny},
	{kUser, "5", true, []concept{cRecipient, cVerify, cFail | cNo}, 0},
	{kUser, "5", true, []concept{cRecipient, cDeny}, cSender | cClient | cPermit | cMails | cSending | cYou},
	{kUser, "5", true, []concept{cRecipient | cMailbox | cAt, cNo, cPermit, cMails}, cYou | cSender | cServer},
	{kUser, "", true, []concept{cAddress, cGone}, cClient | cSender},
	{kUser, "", true, []concept{cAccount, cUnknown | cClosed}, cYou | cPlan},
	{kUser, "", false, []concept{cAccount, cReach, cDisabled}, 0},
	{kUser, "", true, []concept{cAt, cGone}, cClient | cSender | cAuth | cAccount | cRelay | cDomain},
	{kUser, "", true, []concept{cDomain, cUnknown}, cClient | cYou | cRelay},

	{kSize, "", false, []concept{cSize, cExceed | cMany | cQuota | cLimit | cMails | cContent}, 0},
	{kListed, "rcpt", false, []concept{cSpam}, 0},
	{kContent, "", false, []concept{cSpam}, 0},
	{kContent, "", true, []concept{cContent | cHeader, cDeny | cInvalid | cNo}, 0},

	{kLater, "", false, []concept{cLater | cTemp}, 0},
	{kLater, "", true, []concept{cServer, cDown}, 0},
}

// read returns the kind that the words tell, among those that the phase allows; kUnclear if they tell
// none. class is that of the reply code, "4" or "5".
func read(phase Phase, class string, words []concept) kind {
	near, wide := windows(words, 5), windows(words, 12)
	for _, f := range frames {
		if f.when != "" && f.when != class && f.when != string(phase) || !possible(phase, f.kind) {
			continue
		}
		window := wide
		if f.near {
			window = near
		}
		for i, c := range words {
			if c&f.all[0] != 0 && f.fits(window[i]) {
				return f.kind
			}
		}
	}
	return kUnclear
}

// possible reports whether a reply in this phase can be about this: the recipient is not known before
// RCPT, nor the content before DATA.
func possible(phase Phase, k kind) bool {
	switch k {
	case kUser, kUserLater, kFull:
		return phase == PhaseRcpt || phase == PhaseData || phase == PhaseBody || phase == PhaseDot
	case kContent:
		return phase == PhaseData || phase == PhaseBody || phase == PhaseDot
	case kSize:
		return phase != PhaseAuth
	}
	return true
}

func (f frame) fits(window concept) bool {
	for _, c := range f.all {
		if window&c == 0 {
			return false
		}
	}
	return window&f.none == 0
}

// windows returns, for each word, what it and its n neighbours on either side are about.
func windows(words []concept, n int) []concept {
	all := make([]concept, len(words))
	for i := range words {
		for _, c := range words[max(0, i-n):min(len(words), i+n+1)] {
			all[i] |= c
		}
	}
	return all
}
