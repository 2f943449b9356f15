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

// A hostile message could nest or split itself without end.
const (
	maxDepth = 10
	maxParts = 200
)

// Message is one mail as it arrived for one recipient, and what its bytes say when read as RFC 5322 and MIME.
type Message struct {
	ID         string // random, chosen here
	Received   time.Time
	Port       string // "smtps" (implicit TLS) or "submission" (STARTTLS)
	TLSVersion string // as crypto/tls names it: "TLS 1.3"
	From, To   string // the envelope: the return path, and the recipient
	Raw        []byte // what came between DATA and the final dot, without dot-stuffing

	Header      mail.Header
	Subject     string // decoded
	MessageID   string // without its angle brackets
	Text, HTML  string // the first body of either kind, decoded
	Inline      []Part // parts that the HTML refers to by Content-ID, and others meant to be shown
	Attachments []Part
	Defect      string // what is wrong with the form of the message, or ""; the fields above hold what could be read
}

// Part is one decoded part of a message that is not its text.
type Part struct {
	ID          string // its place in the message, from "1"
	FileName    string
	ContentType string // type/subtype, lower case
	ContentID   string // without its angle brackets
	Content     []byte
}

// parse reads raw as far as it can.
func parse(raw []byte) *Message {
	m := &Message{Raw: raw}
	if err := m.read(); err != nil {
		m.Defect = strings.ToValidUTF8(err.Error(), "\uFFFD") // it quotes the message
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

// part files one part, or every part within it. header looks up a header field; related tells that the part stands in a
// multipart/related (RFC 2387), among the images that an HTML body shows.
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
	disposition, dispositionParams, _ := mime.ParseMediaType(header("Content-Disposition")) // absent or odd: judged by the rest
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
		// Raw, because NextPart would decode quoted-printable and hide that it did.
		part, err := r.NextRawPart()
		if err == io.EOF {
			return defects
		}
		if err != nil {
			return errors.Join(defects, fmt.Errorf("parts cannot be told apart: %w", err))
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

// decodeWords decodes RFC 2047 encoded words, and returns what it cannot decode as it is.
func decodeWords(s string) string {
	decoded, err := new(mime.WordDecoder).DecodeHeader(s)
	if err != nil {
		decoded = s
	}
	return strings.ToValidUTF8(decoded, "\uFFFD")
}
