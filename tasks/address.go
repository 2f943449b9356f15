package tasks

import (
	"errors"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Limits of an address in octets, RFC 5321 section 4.5.3.1. A path of 256 octets includes its two angle brackets.
const (
	maxLocalPart = 64
	maxDomain    = 253 // 255 on the wire of DNS, which leaves 253 characters (RFC 1035 section 2.3.4)
	maxAddress   = 254
)

// canonicalAddress returns address as a mail's recipient is written everywhere: the local part as given (only its
// owner's server may interpret it, RFC 5321 section 2.4), the domain in lower case and in A-labels (RFC 5890).
//
// Only a dot-atom (RFC 5322 section 3.2.3) is an address here. Quoted local parts, comments, display names, address
// literals and lists are all legal somewhere in mail, and every one of them has been used to smuggle a second
// recipient or a command past a mail library.
//
// The error does not hold the address.
func canonicalAddress(address string) (string, error) {
	if !utf8.ValidString(address) {
		return "", errors.New("it is not valid UTF-8")
	}
	for _, r := range address {
		switch {
		case r < ' ' || r == 0x7f:
			return "", errors.New("it holds a control character")
		case r == '"' || r == '\\':
			return "", errors.New("quoted local parts are not supported")
		case r == '<' || r == '>' || r == ' ':
			return "", errors.New("write the bare address, without a name and angle brackets")
		case r == ',' || r == ';':
			return "", errors.New("one mail has one recipient")
		}
	}
	local, domain, found := strings.Cut(address, "@")
	switch {
	case !found || strings.Contains(domain, "@"):
		return "", errors.New("it needs exactly one @, as in name@example.com")
	case local == "":
		return "", errors.New("there is nothing before the @")
	case len(local) > maxLocalPart:
		return "", errors.New("more than 64 characters stand before the @")
	}
	if strings.Contains(local, "=?") {
		return "", errors.New("the part before the @ holds =?, which some mail programs decode (RFC 2047)")
	}
	for atom := range strings.SplitSeq(local, ".") {
		if atom == "" {
			return "", errors.New("the part before the @ starts or ends with a dot, or has two in a row")
		}
		for _, r := range atom {
			if !isAtext(r) {
				return "", errors.New("the part before the @ holds a character that is not allowed there")
			}
		}
	}
	domain, err := canonicalDomain(domain)
	if err != nil {
		return "", err
	}
	if len(local)+1+len(domain) > maxAddress {
		return "", errors.New("it is longer than 254 characters")
	}
	return local + "@" + domain, nil
}

func canonicalDomain(domain string) (string, error) {
	ascii, err := idna.Lookup.ToASCII(domain)
	if err == nil {
		// A-labels that nobody could have got from a name are refused too: the result has to map to itself.
		ascii = strings.ToLower(ascii)
		var again string
		if again, err = idna.Lookup.ToASCII(ascii); again != ascii {
			err = errors.New("not stable")
		}
	}
	if err != nil {
		return "", errors.New("the part after the @ is not a domain name")
	}
	if len(ascii) > maxDomain {
		return "", errors.New("the domain is longer than 253 characters")
	}
	labels := strings.Split(ascii, ".")
	if len(labels) < 2 {
		return "", errors.New("the domain has no dot; write it in full, as in example.com")
	}
	for _, label := range labels {
		if !isLabel(label) {
			return "", errors.New("the part after the @ is not a domain name")
		}
	}
	// An all-numeric top label is an IP address written without its brackets (RFC 3696 section 2).
	if strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return "", errors.New("the part after the @ is not a domain name")
	}
	return ascii, nil
}

// isLabel follows the LDH rule of RFC 5890 section 2.3.1.
func isLabel(label string) bool {
	if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	return strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// isAtext follows RFC 5322 section 3.2.3.
func isAtext(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
}
