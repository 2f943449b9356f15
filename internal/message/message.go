// Package message composes a mail from templates: it returns the bytes of one RFC 5322 message.
//
// [Compose] takes the [Content] of one mail and returns the whole message, ready for the DATA
// command of a submission server. [Render] returns only the subject and the bodies, for a preview.
// The package reads and sends nothing. The same Content always gives the same texts and the same
// Message-ID.
//
// No relay has a reason to change a composed message: it is ASCII, has short lines that end in
// CRLF, and has exactly the header fields that this package writes. Compose checks every byte for
// that. It checks the Content first, and refuses a field that could add a header, a recipient or a
// line with a [FieldError] that names it.
//
// The secret is in the text and HTML bodies, and in the key URI and QR code of a TOTP mail. It is
// never in a header, a file name, the alternative text of an image, or the first words of a body,
// which a mail program shows in its list or on a lock screen. The HTML loads nothing from the
// network, so nobody learns that a person opened the mail.
package message

import (
	"bytes"
	"fmt"
	"io"
	netmail "net/mail"
	"time"

	"github.com/go-mail/mail/v2"

	"example.com/securemail/internal/mailaddr"
	"example.com/securemail/internal/otpauth"
	"example.com/securemail/internal/secret"
	"example.com/securemail/tasks"
)

// Sender is a mailbox of RFC 5322 section 3.4: an address and a display name.
type Sender struct {
	Name    string // up to 64 characters; may be empty
	Address mailaddr.Address
}

// Content holds all that one mail says. Texts are valid UTF-8 without control characters and
// without markup; the templates escape them. The mail shows times in UTC and without seconds. It
// omits a Name or an Agent in which a mail program would find a link.
type Content struct {
	Kind      tasks.Kind
	From      Sender
	To        mailaddr.Address // the one recipient
	ReplyTo   mailaddr.Address // the address for answers; may be zero
	MessageID string           // id-left@id-right of RFC 5322 section 3.6.4, without angle brackets
	Date      time.Time        // of this sending

	Product string // the name of the service, 1 to 64 characters: "Example"
	Purpose string // a slug, up to 64 octets: "sign-in"; the mail does not show "" and "default"
	Name    string // the name in the greeting, up to 256 characters; may be empty
	Account string // TOTP: the account that the authenticator shows, up to 254 characters

	// Secret is in groups, as a person types it: "7K3QF-9M2XW-…" for a key, "1234 5678" for a code,
	// base32 in groups of four for TOTP.
	Secret secret.String
	URI    secret.String // TOTP: the key URI, otpauth://totp/…
	QR     []byte        // TOTP: the key URI as a QR code, a PNG image with its quiet zone

	RequestedAt time.Time
	IP          string    // of the request; may be empty
	Agent       string    // the program of the request, up to 256 characters; may be empty
	ExpiresAt   time.Time // after RequestedAt; the mail says how long after

	Locale string // a BCP 47 language tag; every tag gives English, the only language so far
}

// SetTOTP sets the fields that only a TOTP mail has, Account, URI and QR, for a raw shared secret.
// Set Product before: it is the issuer that the authenticator shows.
func (m *Content) SetTOTP(account string, sharedSecret secret.String) (err error) {
	m.Account = account
	if m.URI, err = (otpauth.Key{Issuer: m.Product, Account: account, Secret: sharedSecret}).URI(); err != nil {
		return err
	}
	m.QR, err = otpauth.QR(m.URI)
	return err
}

// The two names of the QR image. They are constants because go-mail copies a file name into the
// header unescaped.
const (
	inlineName = "qr.png"
	attachName = "authenticator-qr.png"
)

// Compose returns the whole message in ASCII, with CRLF line ends. A header line has at most 998
// octets, a body line at most 76 (RFC 5322 section 2.1.1, RFC 2045 sections 6.7 and 6.8). The
// structure is alternative(text, html), and for TOTP mixed(related(alternative(text, html), inline
// image), attached image).
//
// Errors: [*FieldError] if a field of m is not valid. Any other error is a bug in this package. The
// same m always gives the same error. No error holds a secret or an address.
func Compose(m Content) ([]byte, error) {
	parts, err := Render(m)
	if err != nil {
		return nil, err
	}
	msg := mail.NewMessage()
	// SetHeader encodes its values, but go-mail copies header names, and the values of
	// SetAddressHeader, as they are. So this code calls only SetHeader, and only with constant
	// names.
	from := netmail.Address{Name: m.From.Name, Address: m.From.Address.String()}
	msg.SetHeader("From", from.String())
	msg.SetHeader("To", m.To.String())
	if !m.ReplyTo.IsZero() {
		msg.SetHeader("Reply-To", m.ReplyTo.String())
	}
	msg.SetHeader("Subject", parts.Subject)
	msg.SetHeader("Date", msg.FormatDate(m.Date.UTC()))
	msg.SetHeader("Message-ID", "<"+m.MessageID+">")
	msg.SetHeader("Auto-Submitted", "auto-generated") // RFC 3834 section 5: no automatic replies
	msg.SetBody("text/plain", parts.Text)
	msg.AddAlternative("text/html", parts.HTML)
	if m.Kind == tasks.TOTP {
		// With EmbedReader, the image would be empty when the message is written a second time.
		image := mail.SetCopyFunc(func(w io.Writer) error {
			_, err := w.Write(m.QR)
			return err
		})
		msg.Embed(inlineName, image, mail.SetHeader(map[string][]string{"Content-ID": {"<" + parts.ContentID + ">"}}))
		msg.Attach(attachName, image)
	}
	raw, err := write(msg)
	if err != nil {
		return nil, err
	}
	if err := orderHeader(raw); err != nil {
		return nil, err
	}
	if err := scan(raw); err != nil {
		return nil, err
	}
	return raw, nil
}

// write returns msg as bytes. go-mail dereferences a nil pointer when it cannot write a part. Such
// a panic must not end the worker.
func write(msg *mail.Message) (raw []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			raw, err = nil, fmt.Errorf("message: go-mail panicked while composing: %v", r)
		}
	}()
	var buf bytes.Buffer
	buf.Grow(16 << 10)
	if _, err := msg.WriteTo(&buf); err != nil {
		return nil, fmt.Errorf("message: composing: %w", err)
	}
	return buf.Bytes(), nil
}
