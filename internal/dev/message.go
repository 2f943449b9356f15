package dev

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strconv"
	"strings"
	"time"
)

// Bounds for a hostile message.
const (
	maxDepth = 10
	maxParts = 200
)

// Message is one mail as it arrived for one recipient, and its content, parsed as RFC 5322 and
// MIME.
type Message struct {
	ID         string // random; not that of the task
	Received   time.Time
	Port       string // "smtps" (implicit TLS) or "submission" (STARTTLS)
	TLSVersion string // as crypto/tls names it: "TLS 1.3"
	From, To   string // of the envelope: the return path and the recipient
	Raw        []byte // the bytes between DATA and the final dot, without dot-stuffing

	Header      mail.Header
	Subject     string // decoded
	MessageID   string // without angle brackets
	Text, HTML  string // the first body of each type, decoded
	Inline      []Part // parts with a Content-ID, and others to be shown in the mail
	Attachments []Part
	Defect      string // why the message is malformed, or ""; the rest is parsed as far as possible
}

// Part is one decoded part of a message that is not its text.
type Part struct {
	ID          string // its number in the message, from "1"
	FileName    string
	ContentType string // type/subtype, lower case
	ContentID   string // without angle brackets
	Content     []byte
}

// parse parses raw as far as possible.
func parse(raw []byte) *Message {
	m := &Message{Raw: raw}
	if err := m.read(); err != nil {
		m.Defect = strings.ToValidUTF8(err.Error(), "\uFFFD") // the error quotes the message
	}
	return m
}

func (m *Message) read() error {
	entity, err := mail.ReadMessage(bytes.NewReader(m.Raw))
	if err != nil {
		return fmt.Errorf("the header cannot be read: %w", err)
	}
	m.Header = entity.Header
	m.Subject = decodeWords(entity.Header.Get("Subject"))
	m.MessageID = strings.Trim(entity.Header.Get("Message-Id"), " <>")
	p := parser{message: m}
	return p.part(entity.Header.Get, entity.Body, 0, false)
}

// parser walks a message's tree of parts.
type parser struct {
	message *Message
	parts   int
}

// part adds one part, or every part within it, to the message. header returns the value of a header
// field. related says that the part is in a multipart/related (RFC 2387), beside an HTML body that
// shows it.
func (p *parser) part(header func(string) string, body io.Reader, depth int, related bool) error {
	kind, params, err := mime.ParseMediaType(header("Content-Type"))
	if err != nil {
		kind = "text/plain" // RFC 2045 section 5.2: the default
	}
	if strings.HasPrefix(kind, "multipart/") {
		return p.multipart(multipart.NewReader(body, params["boundary"]), depth, kind == "multipart/related")
	}
	content, err := io.ReadAll(decodeTransfer(header("Content-Transfer-Encoding"), body))
	if err != nil {
		err = fmt.Errorf("part %d (%s) cannot be decoded: %w", p.parts+1, kind, err)
	}
	// Without a valid disposition, the other properties of the part decide.
	disposition, dispositionParams, _ := mime.ParseMediaType(header("Content-Disposition"))
	name := dispositionParams["filename"]
	if name == "" {
		name = params["name"]
	}
	contentID := strings.Trim(header("Content-Id"), " <>")
	p.parts++
	m := p.message
	readable := disposition != "attachment" && name == ""
	switch part := (Part{strconv.Itoa(p.parts), decodeWords(name), kind, contentID, content}); {
	case readable && kind == "text/plain" && m.Text == "":
		m.Text = strings.ToValidUTF8(string(content), "\uFFFD")
	case readable && kind == "text/html" && m.HTML == "":
		m.HTML = strings.ToValidUTF8(string(content), "\uFFFD")
	case disposition == "inline", disposition != "attachment" && (related || contentID != ""):
		m.Inline = append(m.Inline, part)
	default:
		m.Attachments = append(m.Attachments, part)
	}
	return err
}

func (p *parser) multipart(r *multipart.Reader, depth int, related bool) error {
	if depth == maxDepth {
		return fmt.Errorf("parts are nested more than %d deep", maxDepth)
	}
	var defects error
	for {
		// NextPart would decode quoted-printable itself and remove the field that says so.
		part, err := r.NextRawPart()
		if err == io.EOF {
			return defects
		}
		if err != nil {
			return errors.Join(defects, fmt.Errorf("parts cannot be separated: %w", err))
		}
		if p.parts >= maxParts {
			return errors.Join(defects, fmt.Errorf("more than %d parts", maxParts))
		}
		defects = errors.Join(defects, p.part(part.Header.Get, part, depth+1, related))
	}
}

func decodeTransfer(encoding string, body io.Reader) io.Reader {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "base64":
		return base64.NewDecoder(base64.StdEncoding, body)
	case "quoted-printable":
		return quotedprintable.NewReader(body)
	default:
		return body
	}
}

// decodeWords decodes RFC 2047 encoded words. It returns s unchanged if that fails.
func decodeWords(s string) string {
	decoded, err := new(mime.WordDecoder).DecodeHeader(s)
	if err != nil {
		decoded = s
	}
	return strings.ToValidUTF8(decoded, "\uFFFD")
}
