package message

import (
	"time"

	"example.com/securemail/internal/mailaddr"
	"example.com/securemail/internal/secret"
	"example.com/securemail/tasks"
)

// sampleSecrets are the secrets of sample mails. No real mail carries one.
var sampleSecrets = map[tasks.Kind]string{
	tasks.Key:  "7K3QF-9M2XW-4TZ8H-P6RNV-C5DJY",
	tasks.Code: "4281 9306",
	tasks.TOTP: "ONQW 24DM MUQH G2DB OJSW IIDT MVRX EZLU",
}

// Sample returns a mail of one kind as these settings would send it. It carries a sample secret
// that expires after life.
func Sample(from Sender, replyTo mailaddr.Address, product string, kind tasks.Kind, life time.Duration) (Content, error) {
	to, err := mailaddr.Parse("alice@example.com")
	if err != nil {
		return Content{}, err
	}
	now := time.Now().UTC().Truncate(time.Second)
	m := Content{Kind: kind, From: from, To: to, ReplyTo: replyTo, MessageID: "sample@" + from.Address.Domain(), Date: now, Product: product,
		Purpose: "sign-in", Name: "Alice", Secret: secret.New(sampleSecrets[kind]), RequestedAt: now, IP: "203.0.113.7",
		Agent: "Firefox on Linux", ExpiresAt: now.Add(life)}
	if kind == tasks.TOTP {
		err = m.SetTOTP(to.String(), secret.New("sample shared secret"))
	}
	return m, err
}
