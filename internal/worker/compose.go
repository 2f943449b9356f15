package worker

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"example.com/securemail/internal/credential"
	"example.com/securemail/internal/mailaddr"
	"example.com/securemail/internal/message"
	"example.com/securemail/internal/record"
	"example.com/securemail/tasks"
)

// compose makes the bytes of the mail under key, the ring key of its secret. Every attempt of one sending carries the same
// secret and the same Message-ID.
func (r *run) compose(key []byte) ([]byte, error) {
	mail, err := r.mail(key)
	if err != nil {
		return nil, &composeError{err}
	}
	raw, err := message.Compose(mail)
	if err != nil {
		return nil, &composeError{err}
	}
	return raw, nil
}

// mail is what the mail says.
func (r *run) mail(key []byte) (message.Content, error) {
	m, a := r.task.Mail, r.attempt
	to, err := mailaddr.Parse(m.To)
	if err != nil {
		return message.Content{}, err
	}
	cred, err := credential.Derive(key, credential.Params{Kind: m.Kind, ID: a.ID, Purpose: m.Purpose, To: m.To,
		Seed: a.Seed, Digits: a.Digits, Session: r.task.Session})
	if err != nil {
		return message.Content{}, err
	}
	mail := message.Content{
		Kind:        m.Kind,
		From:        r.config.From,
		To:          to,
		ReplyTo:     r.config.ReplyTo,
		MessageID:   messageID(a, r.config.From.Address.Domain()),
		Date:        r.now(),
		Product:     r.config.Product,
		Purpose:     m.Purpose,
		Name:        m.Vars["name"],
		Secret:      cred.Display(),
		RequestedAt: requestedAt(r.task),
		IP:          m.Origin.IP,
		Agent:       m.Origin.Agent,
		ExpiresAt:   a.ExpiresAt,
		Locale:      m.Locale,
	}
	if m.Kind == tasks.TOTP {
		err = mail.SetTOTP(m.Account, cred.SharedSecret())
	}
	return mail, err
}

// requestedAt is when the mail was requested: never after it was made, whatever a producer's clock or a forged task says.
func requestedAt(t tasks.Task) time.Time {
	if t.Mail.Origin.At.IsZero() || t.Mail.Origin.At.After(t.CreatedAt) {
		return t.CreatedAt
	}
	return t.Mail.Origin.At
}

// messageID names one sending of one mail (RFC 5322 section 3.6.4). It is a hash, because the mail's id belongs to the
// application: whatever has it can ask about the mail.
func messageID(a *record.Attempt, domain string) string {
	hash := sha256.Sum256(fmt.Appendf(nil, "securemail/message-id/v1 %s %d", a.ID, a.Resends))
	return hex.EncodeToString(hash[:16]) + "@" + domain
}
