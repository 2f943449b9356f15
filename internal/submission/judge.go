package submission

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// kind is what a refusal is about.
type kind string

const (
	kUser      kind = "recipient"       // the mailbox or its domain does not exist, or takes no mail from us
	kUserLater kind = "recipient later" // the mailbox takes no mail for now
	kFull      kind = "mailbox full"
	kContent   kind = "content"
	kSize      kind = "size"
	kSender    kind = "sender"   // the From address, or what its domain publishes
	kLogin     kind = "login"    // none, or a wrong one
	kAccount   kind = "account"  // it may not send
	kRelaying  kind = "relaying" // we may not use this server, or not for this domain
	kListed    kind = "listed"   // our address or its reputation
	kTooMuch   kind = "too much" // for now
	kLater     kind = "later"    // the server cannot, for now
	kBroken    kind = "broken"   // the server cannot, or did not understand us
	kUnclear   kind = "unclear"
)

// ours reports whether the refusal is about us and what we may do, not about this mail.
func (k kind) ours() bool {
	switch k {
	case kSender, kLogin, kAccount, kRelaying, kListed, kTooMuch:
		return true
	}
	return false
}

// codeRule says what the codes of a reply tell. The first that fits counts.
type codeRule struct {
	phases   string // separated by spaces; "" is all of them
	code     string // how the reply code begins
	enhanced string // how the enhanced code begins, in whole parts: "5.1" fits "5.1.1", not "5.10.1"; "" fits none given, too
	kind     kind
	sure     bool // the codes are evidence of their own; otherwise they are a guess, for a reply without words
}

// codeRules follow RFC 5321 section 4.2.3, RFC 3463 and the registry of RFC 5248, and what Postfix, Gmail
// and Exchange send.
var codeRules = []codeRule{
	{"", "421", "4.7.28", kTooMuch, true}, // Gmail
	{"", "421", "4.7.0", kTooMuch, true},
	{"", "421", "", kLater, false},
	{"", "5", "5.4.5", kTooMuch, true},
	{"", "5", "5.1.90", kTooMuch, true}, // Exchange, as the next
	{"rcpt data dot", "5", "5.2.121", kUserLater, true},

	// The login. 530, 534 and 535 also come in answer to MAIL or RCPT.
	{"auth", "432", "4.7.12", kLogin, true},
	{"auth", "454", "4.7.0", kTooMuch, false}, // Gmail
	{"auth", "435", "", kLogin, false},
	{"auth", "4", "4.7.8", kLogin, true},
	{"auth", "4", "", kLater, false},
	{"", "530", "", kLogin, true},
	{"", "502", "5.7.0", kLogin, true}, // go-smtp
	{"", "534", "", kLogin, true},
	{"", "535", "", kLogin, true},
	{"auth", "501", "", kLogin, false}, // RFC 4954 section 4: the response cannot be decoded
	{"auth", "504", "", kBroken, true},
	{"auth", "5", "5.7", kLogin, false},
	{"auth", "50", "", kBroken, false},
	{"auth", "5", "", kLogin, false},

	// Before any mail is named, the refusal is about the relay.
	{"greeting ehlo starttls reset", "4", "", kLater, false},
	{"greeting", "5", "", kListed, false},
	{"starttls ehlo", "5", "", kBroken, false},
	{"reset", "5", "", kLater, false},

	// Sizes and senders, in every phase.
	{"", "5", "5.3.4", kSize, true},
	{"", "5", "5.2.3", kSize, true},
	{"", "", "5.1.7", kSender, true}, {"", "", "4.1.7", kSender, true},
	{"", "", "5.1.8", kSender, true}, {"", "", "4.1.8", kSender, true},
	{"", "", "5.2.252", kSender, true}, // Exchange: SendAsDenied
	{"", "", "5.7.57", kLogin, true},   // Exchange, as the next
	{"", "", "5.7.60", kSender, true}, {"", "", "5.7.509", kSender, true},
	{"", "", "5.7.8", kLogin, true},
	{"", "", "5.7.20", kSender, true}, {"", "", "5.7.21", kSender, true}, {"", "", "5.7.22", kSender, true}, // RFC 7372
	{"", "", "5.7.23", kSender, true}, {"", "", "5.7.24", kSender, true}, {"", "", "5.7.25", kListed, true},
	{"", "", "5.7.26", kSender, true}, {"", "", "5.7.27", kSender, true},

	{"mail", "4", "", kLater, false},
	{"mail", "552", "", kSize, false},
	{"mail", "5", "5.6", kSize, false},
	{"mail", "5", "", kSender, false},

	// The recipient. 5.1.0, 5.2.0 and 5.7 say nothing: servers send them for whatever they refuse.
	{"", "5", "5.1.1", kUser, true}, {"", "5", "5.1.2", kUser, true}, {"", "5", "5.1.3", kUser, true},
	{"", "5", "5.1.4", kUser, true}, {"", "5", "5.1.6", kUser, true}, {"", "5", "5.1.10", kUser, true},
	{"", "5", "5.2.1", kUser, true}, {"", "5", "5.2.4", kUser, true}, {"", "5", "5.4.1", kUser, true}, {"", "5", "5.7.504", kUser, true}, // Exchange Online, as the next
	{"", "5", "5.7.124", kUser, true}, {"", "5", "5.7.129", kUser, true}, {"", "5", "5.7.133", kUser, true},
	{"", "5", "5.7.134", kUser, true}, {"", "5", "5.7.135", kUser, true}, {"", "5", "5.7.136", kUser, true},
	{"", "5", "5.4.4", kUser, true}, {"", "556", "", kUser, true}, // RFC 7504
	{"", "", "5.2.2", kFull, true}, {"", "", "4.2.2", kFull, true},
	{"", "4", "4.2", kUserLater, true}, {"", "4", "4.1", kUserLater, true},
	{"", "5", "5.5.3", kUserLater, true}, // too many recipients, for a server that counts us as one
	{"", "5", "5.6", kContent, true},
	{"", "", "5.3", kBroken, false}, {"", "", "4.3", kLater, true},
	{"", "5", "5.5", kBroken, false},
	{"", "4", "4.4", kLater, false},
	{"rcpt", "4", "", kUserLater, false},   // greylisting
	{"rcpt", "552", "", kUserLater, false}, // RFC 5321 section 4.5.3.1.10: to be taken as 452
	{"rcpt data dot", "55", "", kUnclear, false},
	{"dot", "5", "", kUnclear, false},

	{"", "4", "", kLater, false},
	{"", "5", "", kBroken, false},
}

func fromCodes(phase Phase, code int, enhanced string) codeRule {
	for _, r := range codeRules {
		if in(phase, r.phases) && startsWith(code, r.code) &&
			(r.enhanced == "" || strings.HasPrefix(enhanced+".", r.enhanced+".")) &&
			possible(phase, r.kind) {
			return r
		}
	}
	panic("submission: no rule for this reply") // the last two fit every refusal
}

// trailingCode is qmail's form of an enhanced code. It is weak evidence: "(#5.7.1)" stands behind a
// refused recipient as behind "relaying denied".
var trailingCode = regexp.MustCompile(`\(#([45]\.\d\.\d{1,3})\)\s*$`)

// kindOf says what a refusal is about. Words about us count most. A recipient is to blame only where
// the words are about a mailbox, or the code is and the words are not about us.
func kindOf(phase Phase, code int, enhanced string, lines []string) kind {
	words := concepts(lines)
	word := read(phase, strconv.Itoa(code/100), words)
	if enhanced == "" && len(lines) > 0 && word == kUnclear {
		if m := trailingCode.FindStringSubmatch(lines[len(lines)-1]); m != nil {
			enhanced = m[1]
		}
	}
	codes := fromCodes(phase, code, enhanced)
	k := word
	switch {
	case word == kUnclear:
		k = codes.kind
	case word == kTooMuch && codes.sure && codes.kind == kUserLater && !anyOf(words, cYou|cSending|cSender):
		k = kUserLater
	case word.ours():
	case codes.sure && (codes.kind.ours() || word == kLater):
		k = codes.kind
	}
	switch {
	case k == kUser && code < 500, k == kFull && (code < 500 || code == 552): // RFC 5321 section 4.5.3.1.10
		return kUserLater
	case k == kFull: // a mailbox that stays full is none
		return kUser
	}
	return k
}

func anyOf(words []concept, c concept) bool {
	return slices.ContainsFunc(words, func(w concept) bool { return w&c != 0 })
}

func startsWith(code int, digits string) bool { return strings.HasPrefix(strconv.Itoa(code), digits) }
