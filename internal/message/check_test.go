package message_test

import (
	"bytes"
	"errors"
	"image"
	"image/png"
	"strings"
	"testing"
	"time"

	"example.com/securemail/internal/message"
	"example.com/securemail/internal/secret"
)

// texts are the fields that hold free text or an address, by the name that an error gives them.
var texts = map[string]func(*message.Mail) *string{
	"From.Address": func(m *message.Mail) *string { return &m.From.Address },
	"From.Name":    func(m *message.Mail) *string { return &m.From.Name },
	"To":           func(m *message.Mail) *string { return &m.To },
	"ReplyTo":      func(m *message.Mail) *string { return &m.ReplyTo },
	"MessageID":    func(m *message.Mail) *string { return &m.MessageID },
	"Product":      func(m *message.Mail) *string { return &m.Product },
	"Purpose":      func(m *message.Mail) *string { return &m.Purpose },
	"Name":         func(m *message.Mail) *string { return &m.Name },
	"Account":      func(m *message.Mail) *string { return &m.Account },
	"IP":           func(m *message.Mail) *string { return &m.IP },
	"Agent":        func(m *message.Mail) *string { return &m.Agent },
	"Locale":       func(m *message.Mail) *string { return &m.Locale },
}

func refused(t *testing.T, m message.Mail, field, value string) {
	t.Helper()
	raw, err := message.Compose(m)
	var fe *message.FieldError
	if !errors.As(err, &fe) || fe.Field != field || raw != nil {
		t.Errorf("%s %.60q: got %d octets and error %v, want an error that names the field", field, value, len(raw), err)
	}
}

func TestNoFieldHoldsControlCharacters(t *testing.T) {
	for field, of := range texts {
		for _, bad := range []string{
			"\r\nBcc: eve@example.org", "\nX-Injected: 1", "\r", "\n", "\x00", "\t", "\x1b[2J", "\x7f", "\u0085", "\u009b",
			"\u2028", "\u2029", "\u202e", "\u2066", "\r\n.\r\nMAIL FROM:<eve@example.org>", "\xff", "\xed\xa0\x80",
		} {
			m := sample(t, message.TOTP)
			*of(&m) += bad
			refused(t, m, field, bad)
			m = sample(t, message.TOTP)
			*of(&m) = bad + *of(&m)
			refused(t, m, field, bad)
		}
		m := sample(t, message.TOTP)
		*of(&m) += strings.Repeat("x", 300)
		refused(t, m, field, "300 characters more")
	}
}

func TestBadAddressesAreRefused(t *testing.T) {
	for _, bad := range []string{
		"alice", "@example.com", "alice@", "alice@@example.com", "a@b@example.com", "alice@example..com", "alice@.example.com",
		"alice@example.com.", ".alice@example.com", "alice.@example.com", "al..ice@example.com", "alice@-example.com",
		"alice@example-.com", "alice@exa_mple.com", "alice@[192.0.2.1]", "alice@[IPv6:::1]", "alice smith@example.com",
		`"alice"@example.com`, `"a\"b"@example.com`, "<alice@example.com>", "Alice <alice@example.com>",
		"alice@example.com, eve@example.org", "alice@example.com;eve@example.org", "alice@example.com eve@example.org",
		`"victim@evil.test> ORCPT=rfc822;x"@example.com`, "alice@example.com> SIZE=1", "alice(comment)@example.com",
		"alice@example.com(comment)", "group:alice@example.com;", "@relay.example:alice@example.com", `alice\@example.com`,
		"älice@example.com", "alice@exämple.com", "alice@例え.jp", "=?utf-8?q?x=40evil.test?=@example.com", "alice%00@exa mple.com",
		strings.Repeat("a", 65) + "@example.com", "a@" + strings.Repeat("b", 64) + ".com",
		"a@" + strings.Repeat("bcdefghij.", 25) + "example", " alice@example.com", "alice@example.com ", "alice@example,com",
	} {
		for _, field := range []string{"From.Address", "To", "ReplyTo"} {
			m := sample(t, message.Key)
			*texts[field](&m) = bad
			refused(t, m, field, bad)
		}
	}
	for _, field := range []string{"From.Address", "To"} {
		m := sample(t, message.Key)
		*texts[field](&m) = ""
		refused(t, m, field, "")
	}
}

func TestGoodAddressesAreAccepted(t *testing.T) {
	for _, good := range []string{
		"a@b.co", "alice@localhost", "alice+tag@example.com", "first.last@sub.example.com", "!#$%&'*+-/?=^_`{|}~@example.com",
		"x@xn--exmple-cua.com", "1@1.example", "Alice@EXAMPLE.COM", strings.Repeat("a", 64) + "@" + strings.Repeat("b", 63) + ".com",
	} {
		m := sample(t, message.Key)
		m.From.Address, m.To, m.ReplyTo = good, good, good
		h, _ := walk(t, compose(t, m))
		for _, field := range []string{"From", "To", "Reply-To"} {
			got, err := h.AddressList(field)
			if err != nil || len(got) != 1 || got[0].Address != good {
				t.Errorf("%s: got %v (%v), want %s", field, got, err, good)
			}
		}
	}
}

func TestOtherBadFieldsAreRefused(t *testing.T) {
	day := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		field string
		kind  message.Kind
		spoil func(*message.Mail)
	}{
		{"Kind", message.Key, func(m *message.Mail) { m.Kind = "" }},
		{"Kind", message.Key, func(m *message.Mail) { m.Kind = "../key" }},
		{"From.Name", message.Key, func(m *message.Mail) { m.From.Name = "=?utf-8?q?x?=" }},
		{"Product", message.Key, func(m *message.Mail) { m.Product = "=?utf-8?b?eA==?=" }},
		{"Product", message.Key, func(m *message.Mail) { m.Product = "" }},
		{"Product", message.Key, func(m *message.Mail) { m.Product = " \u00a0" }},
		{"Purpose", message.Key, func(m *message.Mail) { m.Purpose = "sign in" }},
		{"Purpose", message.Key, func(m *message.Mail) { m.Purpose = "a/b" }},
		{"MessageID", message.Key, func(m *message.Mail) { m.MessageID = "" }},
		{"MessageID", message.Key, func(m *message.Mail) { m.MessageID = "<a@b>" }},
		{"MessageID", message.Key, func(m *message.Mail) { m.MessageID = "a" }},
		{"MessageID", message.Key, func(m *message.Mail) { m.MessageID = "a b@c" }},
		{"MessageID", message.Key, func(m *message.Mail) { m.MessageID = "a@b> <c@d" }},
		{"IP", message.Key, func(m *message.Mail) { m.IP = "localhost" }},
		{"IP", message.Key, func(m *message.Mail) { m.IP = "192.0.2.1:443" }},
		{"IP", message.Key, func(m *message.Mail) { m.IP = "fe80::1%" }},
		{"Date", message.Key, func(m *message.Mail) { m.Date = time.Time{} }},
		{"Date", message.Key, func(m *message.Mail) { m.Date = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }},
		{"RequestedAt", message.Key, func(m *message.Mail) { m.RequestedAt = time.Time{} }},
		{"ExpiresAt", message.Key, func(m *message.Mail) { m.ExpiresAt = time.Time{} }},
		{"ExpiresAt", message.Key, func(m *message.Mail) { m.RequestedAt, m.ExpiresAt = day, day }},
		{"Secret", message.Key, func(m *message.Mail) { m.Secret = secret.String{} }},
		{"Secret", message.Key, func(m *message.Mail) { m.Secret = secret.New("AB\r\nCD") }},
		{"Secret", message.Key, func(m *message.Mail) { m.Secret = secret.New("AB<b>CD") }},
		{"Secret", message.Key, func(m *message.Mail) { m.Secret = secret.New(" AB") }},
		{"Secret", message.Key, func(m *message.Mail) { m.Secret = secret.New(strings.Repeat("A", 65)) }},
		{"URI", message.Key, func(m *message.Mail) { m.URI = secret.New(uri) }},
		{"QR", message.Code, func(m *message.Mail) { m.QR = []byte("x") }},
		{"Account", message.Code, func(m *message.Mail) { m.Account = "alice" }},
		{"Account", message.TOTP, func(m *message.Mail) { m.Account = "" }},
		{"URI", message.TOTP, func(m *message.Mail) { m.URI = secret.String{} }},
		{"URI", message.TOTP, func(m *message.Mail) { m.URI = secret.New("javascript:alert(1)//otpauth://totp/") }},
		{"URI", message.TOTP, func(m *message.Mail) { m.URI = secret.New("otpauth://hotp/x") }},
		{"URI", message.TOTP, func(m *message.Mail) { m.URI = secret.New("OTPAUTH://totp/x") }},
		{"URI", message.TOTP, func(m *message.Mail) { m.URI = secret.New(uri + "\r\n") }},
		{"URI", message.TOTP, func(m *message.Mail) { m.URI = secret.New(uri + `"onclick="x`) }},
		{"URI", message.TOTP, func(m *message.Mail) { m.URI = secret.New(uri + "é") }},
		{"URI", message.TOTP, func(m *message.Mail) { m.URI = secret.New(uri + strings.Repeat("x", 4<<10)) }},
		{"QR", message.TOTP, func(m *message.Mail) { m.QR = nil }},
		{"QR", message.TOTP, func(m *message.Mail) { m.QR = []byte("GIF89a") }},
		{"QR", message.TOTP, func(m *message.Mail) { m.QR = blank(t, 300, 200) }},
		{"QR", message.TOTP, func(m *message.Mail) { m.QR = blank(t, 50, 50) }},
		{"QR", message.TOTP, func(m *message.Mail) { m.QR = blank(t, 2000, 2000) }},
		{"QR", message.TOTP, func(m *message.Mail) { m.QR = append(m.QR, make([]byte, 64<<10)...) }},
	} {
		m := sample(t, tt.kind)
		tt.spoil(&m)
		refused(t, m, tt.field, "")
	}
}

func TestLongestFieldsAreAccepted(t *testing.T) {
	for _, k := range kinds {
		for _, r := range []string{"x", "x ", "é", "長", "😀"} {
			m := sample(t, k)
			fill := func(n int) string { return strings.Repeat(r, n/len([]rune(r))) }
			m.From.Name, m.Product, m.Name, m.Agent = fill(64), fill(64), fill(256), fill(256)
			m.MessageID = strings.Repeat("x", 64) + "@" + strings.Repeat("x.", 91) + "yyy"
			m.From.Address = strings.Repeat("x", 64) + "@" + strings.Repeat("x.", 93) + "yyy"
			m.To, m.ReplyTo = m.From.Address, m.From.Address
			m.Purpose = strings.Repeat("x", 64)
			if k == message.TOTP {
				m.Account, m.URI = fill(254), secret.New(uri+strings.Repeat("x", 3000))
			}
			walk(t, compose(t, m))
		}
	}
}

func TestIPIsShownAsPeopleKnowIt(t *testing.T) {
	for given, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:DB8:0::1": "2001:db8::1", "fe80::1%<b>": "fe80::1",
	} {
		m := sample(t, message.Key)
		m.IP = given
		words, err := message.Render(m)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(words.Text, "\nFrom       "+want+"\n") || !strings.Contains(words.HTML, ">From "+want+"<") {
			t.Errorf("%s: the mail does not say From %s", given, want)
		}
	}
}

func blank(t *testing.T, w, h int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, w, h))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestHowLongItIsValid(t *testing.T) {
	for d, want := range map[time.Duration]string{
		20 * time.Second:               "1 minute",
		59 * time.Second:               "1 minute",
		10 * time.Minute:               "10 minutes",
		90 * time.Minute:               "90 minutes",
		2*time.Hour + 50*time.Minute:   "2 hours",
		24*time.Hour - 10*time.Second:  "24 hours",
		71 * time.Hour:                 "71 hours",
		7*24*time.Hour + 5*time.Minute: "7 days",
	} {
		m := sample(t, message.Key)
		m.ExpiresAt = m.RequestedAt.Add(d)
		words, err := message.Render(m)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(words.Text, "("+want+" after the request)") {
			t.Errorf("%v: the text does not say %q", d, want)
		}
	}
}
