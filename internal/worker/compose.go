package worker

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/mail"
	"strings"
	"time"

	"go.uber.org/zap"

	"example.com/securemail/internal/credential"
	"example.com/securemail/internal/message"
	"example.com/securemail/internal/otpauth"
	"example.com/securemail/internal/record"
	"example.com/securemail/tasks"
)

// compose makes the bytes of the mail. The same attempt gives the same secret and the same Message-ID on every try.
func (r *run) compose() ([]byte, error) {
	key, found, err := r.KeyRing.Key(r.attempt.KeyID)
	if err != nil {
		r.log.Error("the key ring file is not usable; the keys read before stay in use", zap.Error(err))
	}
	if !found {
		return nil, errNoKey
	}
	mail, err := mailOf(r.Config, r.task, r.attempt, key)
	if err != nil {
		return nil, &composeError{err}
	}
	raw, err := message.Compose(mail)
	if err != nil {
		return nil, &composeError{err}
	}
	return raw, nil
}

// mailOf says what stands in the mail.
func mailOf(c Config, t tasks.Task, a *record.Attempt, key []byte) (message.Mail, error) {
	m := t.Mail
	cred, err := credential.Derive(key, credential.Params{Kind: credential.Kind(m.Kind), ID: t.ID, Purpose: m.Purpose, To: m.To,
		Seed: a.Seed, Digits: a.Digits})
	if err != nil {
		return message.Mail{}, err
	}
	mail := message.Mail{
		Kind:        message.Kind(m.Kind),
		From:        message.Address{Name: c.From.Name, Address: c.From.Address},
		To:          m.To,
		ReplyTo:     c.ReplyTo,
		MessageID:   messageID(a, c.From.Address),
		Date:        time.Now(),
		Product:     c.Product,
		Purpose:     m.Purpose,
		Name:        m.Vars["name"],
		Account:     m.Account,
		Secret:      cred.Display(),
		RequestedAt: requestedAt(t),
		IP:          m.Context.IP,
		Agent:       m.Context.Agent,
		ExpiresAt:   a.ExpiresAt,
		Locale:      m.Locale,
	}
	if m.Kind == tasks.TOTP {
		if mail.URI, err = (otpauth.Key{Issuer: c.Product, Account: m.Account, Secret: cred.SharedSecret()}).URI(); err != nil {
			return message.Mail{}, err
		}
		if mail.QR, err = otpauth.QR(mail.URI); err != nil {
			return message.Mail{}, err
		}
	}
	return mail, nil
}

// Sample returns a mail of one kind as these settings would send it, with a secret that is nobody's.
func Sample(from mail.Address, replyTo, product string, kind tasks.Kind, life time.Duration, digits int) (message.Mail, error) {
	now := time.Now().UTC().Truncate(time.Second)
	m := tasks.Mail{Kind: kind, To: "alice@example.com", Purpose: "sign-in",
		Context: tasks.Context{IP: "203.0.113.7", Agent: "Firefox on Linux", At: now}, Vars: map[string]string{"name": "Alice"}}
	if kind == tasks.TOTP {
		m.Account = m.To
	}
	t := tasks.Task{ID: "sample", Mail: m, CreatedAt: now, ExpiresAt: now.Add(life)}
	a := &record.Attempt{Mail: record.Mail{ID: t.ID, Seed: make([]byte, 32), Digits: digits, ExpiresAt: t.ExpiresAt}}
	return mailOf(Config{From: from, ReplyTo: replyTo, Product: product}, t, a, make([]byte, 32))
}

// requestedAt does not let a producer's clock, or somebody else's task, have the mail requested after it was made.
func requestedAt(t tasks.Task) time.Time {
	if t.Mail.Context.At.IsZero() || t.Mail.Context.At.After(t.CreatedAt) {
		return t.CreatedAt
	}
	return t.Mail.Context.At
}

// messageID names one sending of one mail (RFC 5322 section 3.6.4). It is a hash, because the mail's id is the
// application's: whoever holds it can ask about the mail.
func messageID(a *record.Attempt, from string) string {
	hash := sha256.Sum256(fmt.Appendf(nil, "securemail/message-id/v1 %s %d", a.ID, a.Sending))
	_, domain, _ := strings.Cut(from, "@")
	return hex.EncodeToString(hash[:16]) + "@" + domain
}
