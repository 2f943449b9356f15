package submission

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxTextLine = 998 // octets of a line without its CRLF (RFC 5321 section 4.5.3.1.6)
	maxLocal    = 64  // octets (section 4.5.3.1.1)
	maxDomain   = 255 // octets (section 4.5.3.1.2)
	maxAddress  = 254 // octets: a path of 256 (section 4.5.3.1.3) without its angle brackets
)

// endOfData ends a message (RFC 5321 section 4.1.1.4); its first CRLF belongs to the message's last
// line.
const endOfData = "\r\n.\r\n"

// message is one message made ready for the wire.
type message struct {
	from, to string
	id       string // for RFC 3461
	wire     []byte // dot-stuffed, up to and including endOfData
	size     int    // octets before stuffing, as SIZE counts them (RFC 1870 section 4)
	eightBit bool   // needs 8BITMIME
	utf8     bool   // needs SMTPUTF8: an address or the header section is not ASCII
}

// prepare checks that env and msg may leave, and returns them ready to be written. Its errors quote
// neither.
func prepare(relay string, headers []string, env Envelope, msg []byte) (*message, error) {
	refuse := func(scope Scope, format string, args ...any) error {
		return &Error{Relay: relay, Phase: PhasePrepare, Scope: scope, Permanent: true, hint: fmt.Sprintf(format, args...)}
	}
	if why := badAddress(env.From); why != "" {
		return nil, refuse(ScopeMessage, "the sender's address %s", why)
	}
	if why := badAddress(env.To); why != "" {
		return nil, refuse(ScopeRecipient, "the recipient's address %s", why)
	}
	if why := badText(msg); why != "" {
		return nil, refuse(ScopeMessage, "the message %s", why)
	}
	if !bytes.HasSuffix(msg, []byte("\r\n")) {
		msg = append(msg[:len(msg):len(msg)], "\r\n"...)
	}
	if len(headers) > 0 {
		msg = slices.Concat([]byte(strings.Join(headers, "\r\n")+"\r\n"), msg)
	}
	header, _, _ := bytes.Cut(msg, []byte("\r\n\r\n"))
	return &message{
		from: env.From, to: env.To, id: env.ID,
		wire: stuff(msg), size: len(msg),
		eightBit: !ascii(msg),
		utf8:     !ascii(env.From) || !ascii(env.To) || !ascii(header),
	}, nil
}

// badText says why msg may not be written as it is, or returns "". Servers and the relays behind them
// disagree on what a bare CR or LF means: with one, a second mail can be smuggled past the first
// (CVE-2023-51764 and others).
func badText(msg []byte) string {
	if len(msg) == 0 {
		return "is empty"
	}
	number := 0
	for rest := msg; len(rest) > 0; {
		number++
		line, after, ended := bytes.Cut(rest, []byte("\n"))
		if ended {
			var crlf bool
			if line, crlf = bytes.CutSuffix(line, []byte("\r")); !crlf {
				return fmt.Sprintf("has a bare LF at the end of line %d", number)
			}
		}
		switch {
		case bytes.IndexByte(line, '\r') >= 0:
			return fmt.Sprintf("has a bare CR in line %d", number)
		case bytes.IndexByte(line, 0) >= 0:
			return fmt.Sprintf("has a NUL in line %d", number)
		case len(line) > maxTextLine:
			return fmt.Sprintf("has more than %d octets in line %d", maxTextLine, number)
		}
		rest = after
	}
	return ""
}

// stuff returns msg, which ends with CRLF, dot-stuffed (RFC 5321 section 4.5.2) and followed by the
// final dot.
func stuff(msg []byte) []byte {
	out := make([]byte, 0, len(msg)+len(msg)/64+len(endOfData))
	for len(msg) > 0 {
		if msg[0] == '.' {
			out = append(out, '.')
		}
		n := bytes.IndexByte(msg, '\n') + 1
		out = append(out, msg[:n]...)
		msg = msg[n:]
	}
	return append(out, ".\r\n"...)
}

// badAddress says why addr may not stand between the angle brackets of MAIL and RCPT, or returns "".
// Addresses are parsed elsewhere; this is the last guard against one that could end a path or a line.
func badAddress(addr string) string {
	at := strings.LastIndexByte(addr, '@')
	switch {
	case at < 1 || at == len(addr)-1 || strings.Count(addr, "@") != 1:
		return "is not a local part, one at sign and a domain"
	case len(addr) > maxAddress || at > maxLocal || len(addr)-at-1 > maxDomain:
		return "is too long"
	case !utf8.ValidString(addr):
		return "is not valid UTF-8"
	case strings.ContainsFunc(addr, func(r rune) bool {
		return r == '<' || r == '>' || unicode.IsControl(r) || unicode.IsSpace(r)
	}):
		return "has an angle bracket, a space or a control character"
	}
	return ""
}

func ascii[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
