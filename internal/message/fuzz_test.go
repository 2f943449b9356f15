package message_test

import (
	"errors"
	"maps"
	"mime"
	"slices"
	"strings"
	"testing"

	"example.com/securemail/internal/mailaddr"
	"example.com/securemail/internal/message"
	"example.com/securemail/internal/secret"
	"example.com/securemail/tasks"
)

// net/mail parses every composed message, and no input adds a header field, a recipient or a part.
func FuzzCompose(f *testing.F) {
	f.Add(0, "Example", "a@example.com", "b@example.com", "c@example.com", "1@example.com", "Example", "sign-in", "Alice", "alice",
		"192.0.2.1", "Firefox", "en", "1234 5678", uri)
	f.Add(1, "Ex\r\nBcc: x@y", `"a> X"@b`, "b@c,d@e", "", "1@b>\r\nX: y", "\r\n", "a b", "<b>", "\x00", "::1%x", "\u202e", "de", "-", "otpauth://")
	f.Add(2, "=?utf-8?q?x?=", "a@b", "=?x?=@b", "a@b", "1@b", "Café", "x", "http://x", "é", "::1", strings.Repeat("long ", 50), "", "A B", uri+"#x")
	f.Add(2, `"q" \`, "a@b", "a@b", "", "1@b", strings.Repeat(" ", 60)+"x", "", strings.Repeat("長", 128), "a:b", "", "", "", "A", uri)
	f.Fuzz(func(t *testing.T, n int, fromName, from, to, replyTo, id, product, purpose, name, account, ip, agent, locale, typed, uri string) {
		m := sample(t, kinds[uint(n)%3])
		m.From.Name = fromName
		var errs [2]error
		m.From.Address, errs[0] = mailaddr.Parse(from)
		m.To, errs[1] = mailaddr.Parse(to)
		m.ReplyTo, _ = mailaddr.Parse(replyTo)
		if errors.Join(errs[:]...) != nil {
			return
		}
		from, to, replyTo = m.From.Address.String(), m.To.String(), m.ReplyTo.String()
		m.MessageID, m.Product, m.Purpose, m.Name, m.IP, m.Agent, m.Locale = id, product, purpose, name, ip, agent, locale
		m.Secret = secret.New(typed)
		if m.Kind == tasks.TOTP {
			m.Account, m.URI = account, secret.New(uri)
		}
		raw, err := message.Compose(m)
		if err != nil {
			return
		}
		h, parts := walk(t, raw)
		want := []string{"Auto-Submitted", "Content-Type", "Date", "From", "Message-Id", "Mime-Version", "Reply-To", "Subject", "To"}
		if replyTo == "" {
			want = slices.DeleteFunc(want, func(s string) bool { return s == "Reply-To" })
		}
		if got := slices.Sorted(maps.Keys(h)); !slices.Equal(got, want) {
			t.Fatalf("got header fields %q, want %q", got, want)
		}
		for field, address := range map[string]string{"From": from, "To": to, "Reply-To": replyTo} {
			if address == "" {
				continue
			}
			if got, err := h.AddressList(field); err != nil || len(h[field]) != 1 || len(got) != 1 || got[0].Address != address {
				t.Fatalf("%s: got %v (%v), want %q alone", field, got, err, address)
			}
		}
		if got := h.Get("Message-ID"); got != "<"+id+">" {
			t.Fatalf("got Message-ID %q, want %q", got, id)
		}
		words, err := message.Render(m)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := new(mime.WordDecoder).DecodeHeader(h.Get("Subject")); err != nil || got != words.Subject {
			t.Fatalf("got subject %q (%v), want %q", got, err, words.Subject)
		}
		if want := map[tasks.Kind]int{tasks.Key: 2, tasks.Code: 2, tasks.TOTP: 4}[m.Kind]; len(parts) != want {
			t.Fatalf("got %d parts, want %d", len(parts), want)
		}
		if got := strings.ReplaceAll(string(parts[0].body), "\r\n", "\n"); got != words.Text {
			t.Fatalf("got text %q, want %q", got, words.Text)
		}
	})
}
