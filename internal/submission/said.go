package submission

import (
	"bytes"
	"encoding/hex"
	"net"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxSaid = 300     // bytes
	maxSeen = 4 << 10 // how much of a reply is looked at for them
	masked  = "[...]"
	// minSecret is how long a word must be to tell anything.
	minSecret = 4
)

var (
	addressPattern = regexp.MustCompile(`[^\s<>()\[\]:;,"]*@[^\s<>()\[\]:;,"]*`)
	linkPattern    = regexp.MustCompile(`[a-zA-Z]+://\S*`)
	tokenPattern   = regexp.MustCompile(`[\pL\pN+/=_]+`)
	digitsPattern  = regexp.MustCompile(`\d(?:[ _.-]?\d){5,}`)
	longPattern    = regexp.MustCompile(`[A-Za-z0-9+/=_-]{20,}`)
)

// said returns what the server wrote, fit for an operator's eyes: see Error.Said. A server can repeat
// what it was sent, so whatever looks like a secret or stands in sent is masked.
func said(lines []string, sent *secrets) string {
	text := strings.Join(lines, " / ")
	if len(text) > maxSeen {
		text = text[:strings.LastIndexByte(text[:maxSeen], ' ')+1] // no half word
	}
	text = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	text = addressPattern.ReplaceAllString(text, "[address]")
	text = linkPattern.ReplaceAllStringFunc(text, func(link string) string { // its query may name a mail
		link, _, _ = strings.Cut(link, "?")
		return link
	})
	text = longPattern.ReplaceAllString(text, masked)
	text = digitsPattern.ReplaceAllStringFunc(text, func(digits string) string {
		if net.ParseIP(digits) != nil && !sent.hold(digits) {
			return digits
		}
		return masked
	})
	text = tokenPattern.ReplaceAllStringFunc(text, func(token string) string {
		if sent.hold(token) {
			return masked
		}
		return token
	})
	if len(text) > maxSaid {
		text = strings.ToValidUTF8(text[:maxSaid-3], "") + "..."
	}
	return text
}

// secrets is what a server was sent and must not bring into a log.
type secrets struct {
	login   []string // in lower case
	message string   // plain
	words   []string // of the message, in lower case: those with a digit, and those in capitals
}

// sent returns what this session has sent that is secret: the login, and the message under way.
func (s *session) sent() *secrets {
	all := &secrets{}
	for _, part := range []string{s.relay.Username, s.relay.Password.Reveal(), s.token.Reveal()} {
		if part != "" {
			all.login = append(all.login, strings.ToLower(part), strings.ToLower(strings.TrimRight(encode(part), "=")), hex.EncodeToString([]byte(part)))
		}
	}
	if s.message == nil {
		return all
	}
	text := unwrapped(s.message.wire)
	all.message = plain(text)
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		if len(word) >= minSecret && len(word) <= 64 && (strings.ContainsAny(word, digits) || word == strings.ToUpper(word)) {
			all.words = append(all.words, plain(word))
		}
	}
	return all
}

// hold reports whether a word of a reply is one of the secrets, a part of one, or has one in it. Of the
// message, words with a digit and words in capitals count: the others are words of every mail.
func (s *secrets) hold(word string) bool {
	lower, p := strings.ToLower(word), plain(word)
	for _, secret := range s.login {
		if strings.Contains(lower, secret) || len(lower) >= minSecret && strings.Contains(secret, lower) {
			return true
		}
	}
	if len(p) < minSecret {
		return false
	}
	return strings.ContainsAny(p, digits) && strings.Contains(s.message, p) ||
		slices.ContainsFunc(s.words, func(w string) bool { return len(w) >= minSecret && strings.Contains(p, w) })
}

const digits = "0123456789"

// echoedBy reports whether a part of the message's body stands in id, such as the code that it mails.
func (m *message) echoedBy(id string) bool {
	const part = 6
	id, text := plain(id), ""
	for i := 0; i+min(part, len(id)) <= len(id) && id != ""; i++ {
		window := id[i : i+min(part, len(id))]
		if !strings.ContainsAny(window, digits) {
			continue
		}
		if text == "" {
			_, body, _ := bytes.Cut(m.wire, []byte("\r\n\r\n"))
			text = plain(body) // which leaves out what breaks lines
		}
		if strings.Contains(text, window) {
			return true
		}
	}
	return false
}

// unwrapped joins the lines that quoted-printable breaks inside of words.
func unwrapped(text []byte) string { return strings.ReplaceAll(string(text), "=\r\n", "") }

// plain returns the letters and digits of s, in lower case.
func plain[T string | []byte](s T) string {
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		if c := plainBytes[s[i]]; c != 0 {
			b = append(b, c)
		}
	}
	return string(b)
}

// plainBytes is a table, because plain reads every message once: what a byte is in plain text, 0 for nothing.
var plainBytes = func() (table [256]byte) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyz" + digits) {
		table[c] = c
		table[bytes.ToUpper([]byte{c})[0]] = c
	}
	return table
}()
