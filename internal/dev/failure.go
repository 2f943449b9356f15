package dev

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/emersion/go-smtp"
)

// failure is a failure that an address can choose: a refusal at RCPT or, if refusal is nil, a
// failure at the final dot.
type failure struct {
	tag     string // follows the last plus sign of the local part
	effect  string // for the inbox page
	refusal *smtp.SMTPError
}

const (
	tagDrop    = "drop"
	tagTimeout = "timeout"
	tagSlow    = "slow"
)

// failures returns every failure. The codes and texts are those of RFC 5321 section 4.2.3, RFC
// 3463, RFC 4954 section 6, and RFC 7505 for 556.
func failures() []failure {
	refuse := func(code, class, subject, detail int, text string) failure {
		return failure{
			tag:     strconv.Itoa(code),
			effect:  fmt.Sprintf("RCPT: %d %d.%d.%d %s", code, class, subject, detail, text),
			refusal: &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{class, subject, detail}, Message: text},
		}
	}
	return []failure{
		{tag: tagDrop, effect: "Accepted, then the connection drops without a reply"},
		{tag: tagTimeout, effect: "The final dot is never answered, and nothing arrives"},
		{tag: tagSlow, effect: "Accepted; the reply comes after 3 seconds"},
		refuse(421, 4, 3, 2, "Service not available, closing connection"),
		refuse(450, 4, 2, 1, "Mailbox temporarily unavailable"),
		refuse(451, 4, 3, 0, "Local error in processing"),
		refuse(452, 4, 2, 2, "Mailbox temporarily full"),
		refuse(454, 4, 7, 0, "Temporary authentication failure"),
		refuse(530, 5, 7, 0, "Authentication required"),
		refuse(535, 5, 7, 8, "Authentication credentials invalid"),
		refuse(550, 5, 1, 1, "No such user here"),
		refuse(551, 5, 1, 6, "User has moved"),
		refuse(552, 5, 2, 2, "Mailbox full"),
		refuse(553, 5, 1, 3, "Mailbox name not allowed"),
		refuse(554, 5, 7, 1, "Refused by policy"),
		refuse(556, 5, 1, 10, "Domain takes no mail"),
	}
}

// chosenFailure returns the failure that the address chooses. Without a tag, or with an unknown
// one, it is the zero failure.
func chosenFailure(address string) failure {
	local := address[:max(0, strings.LastIndexByte(address, '@'))]
	tag := strings.ToLower(local[strings.LastIndexByte(local, '+')+1:])
	if len(tag) == len(local) {
		return failure{}
	}
	for _, f := range failures() {
		if f.tag == tag {
			return f
		}
	}
	return failure{}
}
