package submission

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"regexp"
	"strings"
)

// Bounds of a reply. RFC 5321 section 4.5.3.1.5 allows 512 octets a line; some servers send more in
// EHLO.
const (
	maxReplyLine  = 2000
	maxReplyLines = 100
	maxReplyBytes = 64 << 10
)

const (
	alphanumeric   = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	safeCharacters = alphanumeric + "._-"
)

// reply is one answer of the server (RFC 5321 section 4.2).
type reply struct {
	code     int
	enhanced string   // "5.7.8"; empty if there was none, or one of another class than code
	lines    []string // what stands behind the code, line by line: hostile bytes
}

// protocolError says what the server did that the protocol does not allow.
type protocolError string

func (e protocolError) Error() string { return string(e) }

// newReplyReader's buffer is what bounds a line: one that does not fit is refused.
func newReplyReader(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, maxReplyLine) }

// readReply reads one reply, from a reader made by newReplyReader. A line must end with CRLF: a bare LF
// means that the server, or something in between, disagrees about where lines end, and then no reply
// can be relied on.
func readReply(r *bufio.Reader) (reply, error) {
	var rep reply
	for size := 0; ; {
		line, err := r.ReadSlice('\n')
		switch size += len(line); {
		case errors.Is(err, bufio.ErrBufferFull):
			return reply{}, protocolError("sent a reply line of more than 2,000 bytes")
		case errors.Is(err, io.EOF) && size > 0:
			return reply{}, io.ErrUnexpectedEOF
		case err != nil:
			return reply{}, err
		case size > maxReplyBytes || len(rep.lines) == maxReplyLines:
			return reply{}, protocolError("sent an endless reply")
		}
		code, more, text, err := parseReplyLine(line)
		if err != nil {
			return reply{}, err
		}
		if len(rep.lines) > 0 && code != rep.code {
			return reply{}, protocolError("sent a reply whose lines have different codes")
		}
		rep.code, rep.lines = code, append(rep.lines, text)
		if rep.enhanced == "" {
			rep.enhanced = enhancedCode(code, text)
		}
		if !more {
			return rep, nil
		}
	}
}

// parseReplyLine takes one line apart: three digits, then '-' if more lines follow, a space or nothing
// if none do.
func parseReplyLine(line []byte) (code int, more bool, text string, err error) {
	line, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok {
		return 0, false, "", protocolError("sent a reply line that does not end with CRLF")
	}
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !digit(line[1]) || !digit(line[2]) ||
		len(line) > 3 && line[3] != ' ' && line[3] != '-' {
		return 0, false, "", protocolError("sent something that is not an SMTP reply")
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if len(line) == 3 {
		return code, false, "", nil
	}
	return code, line[3] == '-', string(line[4:]), nil
}

func digit(b byte) bool { return '0' <= b && b <= '9' }

var enhancedPattern = regexp.MustCompile(`^([245])\.(?:0|[1-9][0-9]{0,2})\.(?:0|[1-9][0-9]{0,2})(?: |$)`)

// enhancedCode returns the status code at the start of text (RFC 2034 section 4, RFC 3463 section 2).
// Its class must be that of the reply code; a code of another class is ignored.
func enhancedCode(code int, text string) string {
	m := enhancedPattern.FindString(text)
	if m == "" || int(m[0]-'0') != code/100 {
		return ""
	}
	return strings.TrimSuffix(m, " ")
}

// The forms in which servers name a message that they accepted. The first that fits counts.
var queueIDPatterns = []*regexp.Regexp{
	regexp.MustCompile(`(?i)\bqueued as ([^\s>]+)`),                  // Postfix, SendGrid
	regexp.MustCompile(`(?i)\bid=([^\s,>]+)`),                        // Exim
	regexp.MustCompile(`(?i)\bInternalId=([0-9]+)`),                  // Exchange
	regexp.MustCompile(`(?i)\bok\s+[0-9]+\s+(\S+) - gsmtp`),          // Gmail
	regexp.MustCompile(`(?i)\bok [0-9]+ qp ([0-9]+)`),                // qmail
	regexp.MustCompile(`(?i)\bqueued with id (\S+)`),                 // Stalwart
	regexp.MustCompile(`(?i)\bqueued \(([^\s)]+)\)`),                 // Haraka
	regexp.MustCompile(`(?i)(\S+) Message accepted for delivery`),    // Sendmail, OpenSMTPD
	regexp.MustCompile(`(?i)^(?:[0-9.]+ )?ok:? ([0-9a-z-]{16,64})$`), // Amazon SES
}

// queueID finds the server's name for the message in the reply to the final dot.
func (r reply) queueID() string {
	for _, p := range queueIDPatterns {
		for _, line := range r.lines {
			if m := p.FindStringSubmatch(line); m != nil && len(m[1]) <= 64 && strings.Trim(m[1], safeCharacters) == "" {
				return m[1]
			}
		}
	}
	return ""
}
