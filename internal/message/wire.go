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

// orderHeader puts the header of raw, in place, in the order of headerFields, since go-mail's is another one on every
// call. A field that is not ours, or stands there twice, is an error: whatever put it there, the mail must not leave.
func orderHeader(raw []byte) error {
	end := bytes.Index(raw, []byte("\r\n\r\n"))
	if end < 0 {
		return errors.New("message: composed without an empty line after the header")
	}
	head := raw[:end+2]
	fields := make([][]byte, len(headerFields))
	at := -1
	for line := range bytes.Lines(head) {
		if line[0] == ' ' || line[0] == '\t' { // folded: the field goes on (RFC 5322 section 2.2.3)
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

// The longest lines, without their CRLF: RFC 5322 section 2.1.1, and RFC 2045 sections 6.7 and 6.8 for the bodies.
const (
	maxHeaderLine = 998
	maxBodyLine   = 76
)

// scan reports what a relay might alter or read otherwise than we do. A bare CR or LF above all: servers that take it
// for a line end can be made to see a second mail in ours (SMTP smuggling, CVE-2023-51764).
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
