// Package mailaddr parses an email address once. What [Parse] returns is canonical: it can stand in an envelope, a
// header and a hash as it is.
package mailaddr

import (
	"errors"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Limits in octets (RFC 5321 section 4.5.3.1). A path of 256 octets includes its two angle brackets.
const (
	maxLocalPart = 64
	maxDomain    = 253 // 255 on the wire of DNS, which leaves 253 characters (RFC 1035 section 2.3.4)
	maxAddress   = 254
	// maxInput bounds what is looked at: a local part, and a domain whose 253 characters take 4 bytes each. Converting
	// a domain takes time that grows with the square of its length.
	maxInput = maxLocalPart + 1 + 4*maxDomain
)

// Address is one address in its canonical form. Only [Parse] makes one. The zero value is no address.
type Address struct {
	text string
	at   int // where the @ is
}

// Parse reads one bare address, name@domain. The local part stays as it is, because only its owner's server may
// interpret it (RFC 5321 section 2.4). The domain becomes lower case and A-labels (RFC 5890).
//
// Only a dot-atom (RFC 5322 section 3.2.3) is accepted. Quoted local parts, comments, display names, address literals
// and lists are legal somewhere in mail, and each of them has been used to smuggle a second recipient or a command
// past a mail library.
//
// The error does not hold the address.
func Parse(address string) (Address, error) {
	if err := checkCharacters(address); err != nil {
		return Address{}, err
	}
	local, domain, found := strings.Cut(address, "@")
	if !found || strings.Contains(domain, "@") {
		return Address{}, errors.New("it needs exactly one @, as in name@example.com")
	}
	if err := checkLocalPart(local); err != nil {
		return Address{}, err
	}
	domain, err := canonicalDomain(domain)
	if err != nil {
		return Address{}, err
	}
	if len(local)+1+len(domain) > maxAddress {
		return Address{}, errors.New("it is longer than 254 characters")
	}
	return Address{text: local + "@" + domain, at: len(local)}, nil
}

// String returns the address in its canonical form, or "" for the zero value.
func (a Address) String() string { return a.text }

// IsZero reports whether a is no address.
func (a Address) IsZero() bool { return a.text == "" }

// Domain returns the part after the @, in lower case and A-labels.
func (a Address) Domain() string { return a.text[min(a.at+1, len(a.text)):] }

// Fold returns the form under which mails to one person are counted, and it is for counting alone: only the mailbox's own
// server knows what leads to it (RFC 5321 section 2.4). What next to all providers deliver to one mailbox must share one
// limit. So capitals do not count, nor does a tag, from the first plus sign on (RFC 5233); and Gmail, which is
// googlemail.com too, ignores dots. Two people whose addresses fold to the same share their limits, and nothing else.
func (a Address) Fold() string {
	local, domain, _ := strings.Cut(strings.ToLower(a.text), "@")
	if untagged, _, _ := strings.Cut(local, "+"); untagged != "" {
		local = untagged
	}
	if domain == "gmail.com" || domain == "googlemail.com" {
		local, domain = strings.ReplaceAll(local, ".", ""), "gmail.com"
	}
	if a.IsZero() {
		return ""
	}
	return local + "@" + domain
}

// Masked returns what an operator needs of the address: its first letter and the domain, "a***@example.com".
func (a Address) Masked() string {
	if a.IsZero() {
		return ""
	}
	return a.text[:1] + "***" + a.text[a.at:]
}

func checkCharacters(address string) error {
	if len(address) > maxInput {
		return errors.New("it is longer than 254 characters")
	}
	if !utf8.ValidString(address) {
		return errors.New("it is not valid UTF-8")
	}
	for _, r := range address {
		switch {
		case r < ' ' || r == 0x7f:
			return errors.New("it holds a control character")
		case r == '"' || r == '\\':
			return errors.New("quoted local parts are not supported")
		case r == '<' || r == '>' || r == ' ':
			return errors.New("write the bare address, without a name and angle brackets")
		case r == ',' || r == ';':
			return errors.New("one mail has one recipient")
		}
	}
	return nil
}

func checkLocalPart(local string) error {
	switch {
	case local == "":
		return errors.New("there is nothing before the @")
	case len(local) > maxLocalPart:
		return errors.New("more than 64 characters stand before the @")
	case strings.Contains(local, "=?"):
		return errors.New("the part before the @ holds =?, which some mail programs decode (RFC 2047)")
	}
	for atom := range strings.SplitSeq(local, ".") {
		if atom == "" {
			return errors.New("the part before the @ starts or ends with a dot, or has two in a row")
		}
		for _, r := range atom {
			if !isAtext(r) {
				return errors.New("the part before the @ holds a character that is not allowed there")
			}
		}
	}
	return nil
}

var errDomain = errors.New("the part after the @ is not a domain name")

func canonicalDomain(domain string) (string, error) {
	ascii, err := idna.Lookup.ToASCII(domain)
	if err != nil {
		return "", errDomain
	}
	// A-labels that no name can give are refused too: the result has to map to itself.
	ascii = strings.ToLower(ascii)
	if again, err := idna.Lookup.ToASCII(ascii); err != nil || again != ascii {
		return "", errDomain
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
			return "", errDomain
		}
	}
	// An all-numeric top label is an IP address written without its brackets (RFC 3696 section 2).
	if strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return "", errDomain
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
