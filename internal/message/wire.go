package message

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// headerFields are the header fields of our mails, in the order in which they are written.
var headerFields = []string{
	"From", "To", "Reply-To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type",
}

// orderHeader sorts the header of raw, in place, into the order of headerFields, because go-mail's
// order changes with every call. An unknown or repeated field is an error: such a mail must not be
// sent, whatever added the field.
func orderHeader(raw []byte) error {
	end := bytes.Index(raw, []byte("\r\n\r\n"))
	if end < 0 {
		return errors.New("message: composed without an empty line after the header")
	}
	head := raw[:end+2]
	fields := make([][]byte, len(headerFields))
	at := -1
	for line := range bytes.Lines(head) {
		if line[0] == ' ' || line[0] == '\t' { // folded (RFC 5322 section 2.2.3)
			if at < 0 {
				return errors.New("message: composed with a header that begins in the middle of a field")
			}
		} else {
			name, _, _ := bytes.Cut(line, []byte(":"))
			at = slices.Index(headerFields, string(name))
			if at < 0 || fields[at] != nil {
				return errors.New("message: composed with a header field that is unknown or there twice")
			}
		}
		fields[at] = append(fields[at], line...)
	}
	copy(head, slices.Concat(fields...))
	return nil
}

// The octets of the longest lines, without CRLF: RFC 5322 section 2.1.1, and RFC 2045 sections 6.7
// and 6.8 for bodies.
const (
	maxHeaderLine = 998
	maxBodyLine   = 76
)

// scan returns an error for a message that a relay might change, or read differently. A bare CR or
// LF is the worst case: a server that accepts it as a line end can be made to see a second mail
// (SMTP smuggling, CVE-2023-51764).
func scan(raw []byte) error {
	limit := maxHeaderLine
	n := 0
	for line := range bytes.Lines(raw) {
		n++
		text, ok := bytes.CutSuffix(line, []byte("\r\n"))
		if !ok {
			return fmt.Errorf("message: line %d of the composed message does not end in CRLF", n)
		}
		if len(text) > limit {
			return fmt.Errorf("message: line %d of the composed message has %d octets, more than %d", n, len(text), limit)
		}
		for _, b := range text {
			if b == 0 || b == '\r' || b >= 0x80 {
				return fmt.Errorf("message: line %d of the composed message holds the octet %#02x", n, b)
			}
		}
		if len(text) == 0 {
			limit = maxBodyLine
		}
	}
	return nil
}
