package message_test

import (
	"bytes"
	"errors"
	"image"
	"image/png"
	"strings"
	"testing"
	"time"

	"example.com/securemail/internal/mailaddr"
	"example.com/securemail/internal/message"
	"example.com/securemail/internal/secret"
	"example.com/securemail/tasks"
)

// texts maps the names of the fields that hold free text, as in a FieldError, to the fields.
var texts = map[string]func(*message.Content) *string{
	"From.Name": func(m *message.Content) *string { return &m.From.Name },
	"MessageID": func(m *message.Content) *string { return &m.MessageID },
	"Product":   func(m *message.Content) *string { return &m.Product },
	"Purpose":   func(m *message.Content) *string { return &m.Purpose },
	"Name":      func(m *message.Content) *string { return &m.Name },
	"Account":   func(m *message.Content) *string { return &m.Account },
	"IP":        func(m *message.Content) *string { return &m.IP },
	"Agent":     func(m *message.Content) *string { return &m.Agent },
	"Locale":    func(m *message.Content) *string { return &m.Locale },
}

func refused(t *testing.T, m message.Content, field, value string) {
	t.Helper()
	raw, err := message.Compose(m)
	var fe *message.FieldError
	if !errors.As(err, &fe) || fe.Field != field || raw != nil {
		t.Errorf("%s %.60q: got %d octets and error %v, want an error that names the field", field, value, len(raw), err)
	}
}

func TestCompose_RefusesControlCharactersInEveryField(t *testing.T) {
	for field, of := range texts {
		for _, bad := range []string{
			"\r\nBcc: eve@example.org", "\nX-Injected: 1", "\r", "\n", "\x00", "\t", "\x1b[2J", "\x7f", "\u0085", "\u009b",
			"\u2028", "\u2029", "\u202e", "\u2066", "\r\n.\r\nMAIL FROM:<eve@example.org>", "\xff", "\xed\xa0\x80",
		} {
			m := sample(t, tasks.TOTP)
			*of(&m) += bad
			refused(t, m, field, bad)
			m = sample(t, tasks.TOTP)
			*of(&m) = bad + *of(&m)
			refused(t, m, field, bad)
		}
		m := sample(t, tasks.TOTP)
		*of(&m) += strings.Repeat("x", 300)
		refused(t, m, field, "300 characters more")
	}
}

func TestCompose_NeedsSenderAndRecipient(t *testing.T) {
	for field, clear := range map[string]func(*message.Content){
		"From.Address": func(m *message.Content) { m.From.Address = mailaddr.Address{} },
		"To":           func(m *message.Content) { m.To = mailaddr.Address{} },
	} {
		m := sample(t, tasks.Key)
		clear(&m)
		refused(t, m, field, "")
	}
}

func TestCompose_RefusesOtherInvalidFields(t *testing.T) {
	day := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		field string
		kind  tasks.Kind
		spoil func(*message.Content)
	}{
		{"Kind", tasks.Key, func(m *message.Content) { m.Kind = "" }},
		{"Kind", tasks.Key, func(m *message.Content) { m.Kind = "../key" }},
		{"From.Name", tasks.Key, func(m *message.Content) { m.From.Name = "=?utf-8?q?x?=" }},
		{"Product", tasks.Key, func(m *message.Content) { m.Product = "=?utf-8?b?eA==?=" }},
		{"Product", tasks.Key, func(m *message.Content) { m.Product = "" }},
		{"Product", tasks.Key, func(m *message.Content) { m.Product = " \u00a0" }},
		{"Purpose", tasks.Key, func(m *message.Content) { m.Purpose = "sign in" }},
		{"Purpose", tasks.Key, func(m *message.Content) { m.Purpose = "a/b" }},
		{"MessageID", tasks.Key, func(m *message.Content) { m.MessageID = "" }},
		{"MessageID", tasks.Key, func(m *message.Content) { m.MessageID = "<a@b>" }},
		{"MessageID", tasks.Key, func(m *message.Content) { m.MessageID = "a" }},
		{"MessageID", tasks.Key, func(m *message.Content) { m.MessageID = "a b@c" }},
		{"MessageID", tasks.Key, func(m *message.Content) { m.MessageID = "a@b> <c@d" }},
		{"IP", tasks.Key, func(m *message.Content) { m.IP = "localhost" }},
		{"IP", tasks.Key, func(m *message.Content) { m.IP = "192.0.2.1:443" }},
		{"IP", tasks.Key, func(m *message.Content) { m.IP = "fe80::1%" }},
		{"Date", tasks.Key, func(m *message.Content) { m.Date = time.Time{} }},
		{"Date", tasks.Key, func(m *message.Content) { m.Date = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }},
		{"RequestedAt", tasks.Key, func(m *message.Content) { m.RequestedAt = time.Time{} }},
		{"ExpiresAt", tasks.Key, func(m *message.Content) { m.ExpiresAt = time.Time{} }},
		{"ExpiresAt", tasks.Key, func(m *message.Content) { m.RequestedAt, m.ExpiresAt = day, day }},
		{"Secret", tasks.Key, func(m *message.Content) { m.Secret = secret.String{} }},
		{"Secret", tasks.Key, func(m *message.Content) { m.Secret = secret.New("AB\r\nCD") }},
		{"Secret", tasks.Key, func(m *message.Content) { m.Secret = secret.New("AB<b>CD") }},
		{"Secret", tasks.Key, func(m *message.Content) { m.Secret = secret.New(" AB") }},
		{"Secret", tasks.Key, func(m *message.Content) { m.Secret = secret.New(strings.Repeat("A", 65)) }},
		{"URI", tasks.Key, func(m *message.Content) { m.URI = secret.New(uri) }},
		{"QR", tasks.Code, func(m *message.Content) { m.QR = []byte("x") }},
		{"Account", tasks.Code, func(m *message.Content) { m.Account = "alice" }},
		{"Account", tasks.TOTP, func(m *message.Content) { m.Account = "" }},
		{"URI", tasks.TOTP, func(m *message.Content) { m.URI = secret.String{} }},
		{"URI", tasks.TOTP, func(m *message.Content) { m.URI = secret.New("javascript:alert(1)//otpauth://totp/") }},
		{"URI", tasks.TOTP, func(m *message.Content) { m.URI = secret.New("otpauth://hotp/x") }},
		{"URI", tasks.TOTP, func(m *message.Content) { m.URI = secret.New("OTPAUTH://totp/x") }},
		{"URI", tasks.TOTP, func(m *message.Content) { m.URI = secret.New(uri + "\r\n") }},
		{"URI", tasks.TOTP, func(m *message.Content) { m.URI = secret.New(uri + `"onclick="x`) }},
		{"URI", tasks.TOTP, func(m *message.Content) { m.URI = secret.New(uri + "é") }},
		{"URI", tasks.TOTP, func(m *message.Content) { m.URI = secret.New(uri + strings.Repeat("x", 4<<10)) }},
		{"QR", tasks.TOTP, func(m *message.Content) { m.QR = nil }},
		{"QR", tasks.TOTP, func(m *message.Content) { m.QR = []byte("GIF89a") }},
		{"QR", tasks.TOTP, func(m *message.Content) { m.QR = blank(t, 300, 200) }},
		{"QR", tasks.TOTP, func(m *message.Content) { m.QR = blank(t, 50, 50) }},
		{"QR", tasks.TOTP, func(m *message.Content) { m.QR = blank(t, 2000, 2000) }},
		{"QR", tasks.TOTP, func(m *message.Content) { m.QR = append(m.QR, make([]byte, 64<<10)...) }},
	} {
		m := sample(t, tt.kind)
		tt.spoil(&m)
		refused(t, m, tt.field, "")
	}
}

func TestCompose_AcceptsTheLongestFields(t *testing.T) {
	for _, k := range kinds {
		for _, r := range []string{"x", "x ", "é", "長", "😀"} {
			m := sample(t, k)
			fill := func(n int) string { return strings.Repeat(r, n/len([]rune(r))) }
			m.From.Name, m.Product, m.Name, m.Agent = fill(64), fill(64), fill(256), fill(256)
			m.MessageID = strings.Repeat("x", 64) + "@" + strings.Repeat("x.", 91) + "yyy"
			m.From.Address = address(t, strings.Repeat("x", 64)+"@"+strings.Repeat("x.", 93)+"yyy")
			m.To, m.ReplyTo = m.From.Address, m.From.Address
			m.Purpose = strings.Repeat("x", 64)
			if k == tasks.TOTP {
				m.Account, m.URI = fill(254), secret.New(uri+strings.Repeat("x", 3000))
			}
			walk(t, compose(t, m))
		}
	}
}

func TestRender_ShowsTheIPInItsUsualForm(t *testing.T) {
	for given, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:DB8:0::1": "2001:db8::1", "fe80::1%<b>": "fe80::1",
	} {
		m := sample(t, tasks.Key)
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

func TestRender_SaysHowLongTheSecretIsValid(t *testing.T) {
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
		m := sample(t, tasks.Key)
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
