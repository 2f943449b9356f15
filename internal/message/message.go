// Package message composes the mails: template in, the bytes of one RFC 5322 message out.
//
// [Compose] takes what one mail says, as a [Content], and returns the whole message in memory, ready for the DATA
// command of a submission server. Nothing is sent from here and nothing is read: the same Content always gives the same
// words under the same Message-ID. [Render] gives only the words, for a preview.
//
// What comes out is made to pass unchanged through every relay, and checked for it byte by byte: ASCII, CRLF line ends
// and no others, short lines, and exactly the header fields that this package writes. What goes in is checked before:
// a field that could add a header, a recipient or a line is refused with a [FieldError] that names it.
//
// The secret stands in the text and HTML bodies, and in the key URI and QR code of a TOTP mail. It is never in a
// header, a file name, the alternative text of an image, or the first words that a mail program shows in its list or
// on a lock screen. The HTML loads nothing from the network, so nobody learns that the mail was opened.
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

// Sender is a mailbox of RFC 5322 section 3.4: an address and the name shown with it.
type Sender struct {
	Name    string // up to 64 characters; may be empty
	Address mailaddr.Address
}

// Content is what one mail says. Texts are plain, valid UTF-8 without control characters; templates escape them.
// Times are shown in UTC and without seconds.
// A Name or an Agent in which mail programs would find a link is left out of the mail.
type Content struct {
	Kind      tasks.Kind
	From      Sender
	To        mailaddr.Address // the one recipient
	ReplyTo   mailaddr.Address // where answers go; may be zero
	MessageID string           // id-left@id-right of RFC 5322 section 3.6.4, without the angle brackets
	Date      time.Time        // of this sending

	Product string // who the mail is from, up to 64 characters: "Example"
	Purpose string // a slug, up to 64 octets: "sign-in"; "" and "default" are not shown
	Name    string // how the person is greeted, up to 256 characters; may be empty
	Account string // TOTP: the account as the authenticator shows it, up to 254 characters; see SetTOTP

	// Secret is in groups, as a person types it: "7K3QF-9M2XW-…" for a key, "1234 5678" for a code, base32 in groups
	// of four for TOTP.
	Secret secret.String
	URI    secret.String // TOTP: the key URI, otpauth://totp/…
	QR     []byte        // TOTP: the key URI as a QR code, a PNG image with its quiet zone

	RequestedAt time.Time
	IP, Agent   string    // who asked: an IP address and a program, up to 256 characters; either may be empty
	ExpiresAt   time.Time // after RequestedAt; the mail says how long after

	Locale string // a language tag of BCP 47; only English exists, so every locale gets English
}

// SetTOTP sets what only a TOTP mail has, Account, URI and QR, for a raw shared secret. Product has to be set before: it
// is the issuer that the authenticator shows.
func (m *Content) SetTOTP(account string, sharedSecret secret.String) (err error) {
	m.Account = account
	if m.URI, err = (otpauth.Key{Issuer: m.Product, Account: account, Secret: sharedSecret}).URI(); err != nil {
		return err
	}
	m.QR, err = otpauth.QR(m.URI)
	return err
}

// The two names of the QR image. They are constants because go-mail copies a file name into the header unescaped.
const (
	inlineName = "qr.png"
	attachName = "authenticator-qr.png"
)

// Compose returns the whole message: CRLF line ends, ASCII only, no line over 998 octets and none over 76 in the
// bodies (RFC 5322 section 2.1.1, RFC 2045 sections 6.7 and 6.8). The structure is alternative(text, html), and for
// TOTP mixed(related(alternative(text, html), inline image), attached image).
//
// The error is a [*FieldError] when m cannot be mailed as it is; any other error is a fault of this package. Neither
// goes away by trying again, and neither holds a secret or an address.
func Compose(m Content) ([]byte, error) {
	parts, err := Render(m)
	if err != nil {
		return nil, err
	}
	msg := mail.NewMessage()
	// SetHeader with constant names only: it encodes its values, whereas SetAddressHeader and names are copied as is.
	from := netmail.Address{Name: m.From.Name, Address: m.From.Address.String()}
	msg.SetHeader("From", from.String())
	msg.SetHeader("To", m.To.String())
	if !m.ReplyTo.IsZero() {
		msg.SetHeader("Reply-To", m.ReplyTo.String())
	}
	msg.SetHeader("Subject", parts.Subject)
	msg.SetHeader("Date", msg.FormatDate(m.Date.UTC()))
	msg.SetHeader("Message-ID", "<"+m.MessageID+">")
	msg.SetHeader("Auto-Submitted", "auto-generated") // RFC 3834 section 5: no holiday notices in answer
	msg.SetBody("text/plain", parts.Text)
	msg.AddAlternative("text/html", parts.HTML)
	if m.Kind == tasks.TOTP {
		// CopyFunc, because EmbedReader's image would be empty when the message is written a second time.
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

// write returns msg as bytes. go-mail dereferences a nil pointer when a part cannot be written; a broken mail must
// not end the worker.
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
