package message_test

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"os"
	"strings"
	"testing"
	"time"

	"example.com/securemail/internal/mailaddr"
	"example.com/securemail/internal/message"
	"example.com/securemail/internal/secret"
	"example.com/securemail/tasks"
)

const uri = "otpauth://totp/Example:alice%40example.com?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP" +
	"&issuer=Example&algorithm=SHA1&digits=6&period=30"

var kinds = []tasks.Kind{tasks.Key, tasks.Code, tasks.TOTP}

func address(tb testing.TB, s string) mailaddr.Address {
	tb.Helper()
	a, err := mailaddr.Parse(s)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

// sample is a valid mail with every field set.
func sample(tb testing.TB, k tasks.Kind) message.Content {
	tb.Helper()
	asked := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	m := message.Content{
		Kind:        k,
		From:        message.Sender{Name: "Example Accounts", Address: address(tb, "accounts@example.com")},
		To:          address(tb, "alice@example.net"),
		ReplyTo:     address(tb, "help@example.com"),
		MessageID:   "0190a7c2-7d11-7a4e-9d3c-2b6f1e0c8a55.1@example.com",
		Date:        asked.Add(2 * time.Second),
		Product:     "Example",
		Purpose:     "sign-in",
		Name:        "Alice",
		RequestedAt: asked,
		IP:          "203.0.113.7",
		Agent:       "Firefox on Linux",
		ExpiresAt:   asked.Add(24 * time.Hour),
		Locale:      "en-GB",
	}
	switch k {
	case tasks.Key:
		m.Secret = secret.New("7K3QF-9M2XW-4TZ8H-P6RNV-C5DJY")
	case tasks.Code:
		m.Secret = secret.New("4071 9328")
		m.ExpiresAt = asked.Add(10 * time.Minute)
	case tasks.TOTP:
		qr, err := os.ReadFile("testdata/qr.png")
		if err != nil {
			tb.Fatal(err)
		}
		m.Account = "alice@example.com"
		m.Secret = secret.New("JBSW Y3DP EHPK 3PXP JBSW Y3DP EHPK 3PXP")
		m.URI = secret.New(uri)
		m.QR = qr
	}
	return m
}

func compose(t *testing.T, m message.Content) []byte {
	t.Helper()
	raw, err := message.Compose(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// leaf is one decoded part of a message that is not a multipart.
type leaf struct {
	path   string // "mixed/related/alternative/text/html"
	header map[string][]string
	file   string
	body   []byte
}

// walk reads a message with the standard library, which shares no code with go-mail.
func walk(tb testing.TB, raw []byte) (netmail.Header, []leaf) {
	tb.Helper()
	msg, err := netmail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		tb.Fatalf("net/mail: %v", err)
	}
	return msg.Header, leaves(tb, "", msg.Header, msg.Body)
}

func leaves(tb testing.TB, path string, header map[string][]string, body io.Reader) []leaf {
	tb.Helper()
	h := netmail.Header(header)
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		tb.Fatalf("Content-Type %q: %v", h.Get("Content-Type"), err)
	}
	if name, ok := strings.CutPrefix(kind, "multipart/"); ok {
		var all []leaf
		r := multipart.NewReader(body, params["boundary"])
		for {
			p, err := r.NextRawPart()
			if err == io.EOF {
				return all
			}
			if err != nil {
				tb.Fatalf("multipart: %v", err)
			}
			all = append(all, leaves(tb, path+name+"/", p.Header, p)...)
		}
	}
	switch enc := h.Get("Content-Transfer-Encoding"); enc {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	default:
		tb.Fatalf("got Content-Transfer-Encoding %q, want quoted-printable or base64", enc)
	}
	b, err := io.ReadAll(body)
	if err != nil {
		tb.Fatalf("body of %s%s: %v", path, kind, err)
	}
	_, disposition, _ := mime.ParseMediaType(h.Get("Content-Disposition"))
	return []leaf{{path + kind, header, disposition["filename"], b}}
}

func TestCompose_HasTheDocumentedStructure(t *testing.T) {
	want := map[tasks.Kind]string{
		tasks.Key:  "alternative/text/plain alternative/text/html",
		tasks.Code: "alternative/text/plain alternative/text/html",
		tasks.TOTP: "mixed/related/alternative/text/plain mixed/related/alternative/text/html mixed/related/image/png mixed/image/png",
	}
	for _, k := range kinds {
		m := sample(t, k)
		_, parts := walk(t, compose(t, m))
		var paths []string
		for _, p := range parts {
			paths = append(paths, p.path)
		}
		if got := strings.Join(paths, " "); got != want[k] {
			t.Errorf("%s: got parts %s, want %s", k, got, want[k])
		}
		words, err := message.Render(m)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.ReplaceAll(string(parts[0].body), "\r\n", "\n"); got != words.Text {
			t.Errorf("%s: got text %q, want %q", k, got, words.Text)
		}
		if got := strings.ReplaceAll(string(parts[1].body), "\r\n", "\n"); got != words.HTML {
			t.Errorf("%s: got HTML %q, want %q", k, got, words.HTML)
		}
	}
}

func TestCompose_PutsTheQRCodeInlineAndAttached(t *testing.T) {
	m := sample(t, tasks.TOTP)
	_, parts := walk(t, compose(t, m))
	html, inline, attached := string(parts[1].body), parts[2], parts[3]
	id := netmail.Header(inline.header).Get("Content-Id")
	if !strings.HasPrefix(id, "<") || !strings.Contains(html, `src="cid:`+strings.Trim(id, "<>")+`"`) {
		t.Errorf("the HTML has no image with the Content-ID %s", id)
	}
	if n := strings.Count(html, "<img"); n != 1 {
		t.Errorf("got %d images in the HTML, want 1", n)
	}
	for i, p := range parts[2:] {
		if !bytes.Equal(p.body, m.QR) {
			t.Errorf("image %d is not the one given", i)
		}
	}
	if inline.file != "qr.png" || attached.file != "authenticator-qr.png" {
		t.Errorf("got file names %q and %q", inline.file, attached.file)
	}
	if d := netmail.Header(attached.header).Get("Content-Disposition"); !strings.HasPrefix(d, "attachment;") {
		t.Errorf("got Content-Disposition %q, want an attachment", d)
	}
}

func TestRender_LinksTheKeyURI(t *testing.T) {
	_, parts := walk(t, compose(t, sample(t, tasks.TOTP)))
	if !strings.Contains(string(parts[0].body), "\r\n"+uri+"\r\n") {
		t.Error("the text has no line with the key URI alone")
	}
	if want := `<a href="` + strings.ReplaceAll(uri, "&", "&amp;") + `"`; !strings.Contains(string(parts[1].body), want) {
		t.Errorf("the HTML has no %s", want)
	}
}

func TestCompose_WritesTheHeader(t *testing.T) {
	for _, k := range kinds {
		m := sample(t, k)
		m.Date = m.Date.In(time.FixedZone("", 5*3600)) // the mail shows UTC nevertheless
		raw := compose(t, m)
		h, _ := walk(t, raw)
		for name, want := range map[string]string{
			"From":           `"Example Accounts" <accounts@example.com>`,
			"To":             "alice@example.net",
			"Reply-To":       "help@example.com",
			"Date":           "Mon, 23 Nov 2026 12:00:02 +0000",
			"Message-ID":     "<" + m.MessageID + ">",
			"Auto-Submitted": "auto-generated",
			"MIME-Version":   "1.0",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: got %s %q, want %q", k, name, got, want)
			}
		}
		if len(h) != 9 {
			t.Errorf("%s: got %d header fields, want 9: %v", k, len(h), h)
		}
		if !bytes.HasPrefix(raw, []byte("From: ")) {
			t.Errorf("%s: the header does not begin with From", k)
		}
	}
}

func TestRender_WritesTheSubject(t *testing.T) {
	for _, tt := range []struct {
		kind             tasks.Kind
		product, purpose string
		want             string
	}{
		{tasks.Key, "Example", "sign-in", "Your Example sign-in key"},
		{tasks.Code, "Example", "sign-in", "Your Example sign-in code"},
		{tasks.Code, "Example", "default", "Your Example code"},
		{tasks.Code, "Example", "", "Your Example code"},
		{tasks.TOTP, "Example", "", "Set up your authenticator for Example"},
		{tasks.Key, "Café & Söhne", "", "Your Café & Söhne key"},
		{tasks.Key, strings.Repeat("長", 64), "x", "Your " + strings.Repeat("長", 64) + " x key"},
		{tasks.Key, strings.Repeat("very long ", 6), strings.Repeat("x", 64),
			"Your " + strings.Repeat("very long ", 6) + strings.Repeat("x", 64) + " key"},
	} {
		m := sample(t, tt.kind)
		m.Product, m.Purpose = tt.product, tt.purpose
		h, _ := walk(t, compose(t, m))
		got, err := new(mime.WordDecoder).DecodeHeader(h.Get("Subject"))
		if err != nil || got != tt.want {
			t.Errorf("got subject %q (%v), want %q", got, err, tt.want)
		}
	}
}

func TestCompose_KeepsNamesInFrom(t *testing.T) {
	for _, name := range []string{
		"", "Example", `O'Brien, "Bob" \ Sons <x>`, "Café", "会社 株式会社", "a@b", "Dr. (J.) Smith;", strings.Repeat("é", 64),
	} {
		m := sample(t, tasks.Key)
		m.From.Name = name
		h, _ := walk(t, compose(t, m))
		got, err := h.AddressList("From")
		if err != nil || len(got) != 1 || got[0].Name != name || got[0].Address != m.From.Address.String() {
			t.Errorf("name %q: got %v, %v", name, got, err)
		}
	}
}

func TestCompose_GivesTheSameTextsAgain(t *testing.T) {
	m := sample(t, tasks.TOTP)
	h1, p1 := walk(t, compose(t, m))
	h2, p2 := walk(t, compose(t, m))
	for i := range p1 {
		if !bytes.Equal(p1[i].body, p2[i].body) {
			t.Errorf("part %s differs between two calls", p1[i].path)
		}
	}
	for name := range h1 {
		if name != "Content-Type" && h1.Get(name) != h2.Get(name) { // its boundary is random
			t.Errorf("%s differs between two calls", name)
		}
	}
}

func TestRender_IsEnglishInEveryLocale(t *testing.T) {
	m := sample(t, tasks.Code)
	want, _ := message.Render(m)
	for _, locale := range []string{"", "en", "de-CH", "zz"} {
		m.Locale = locale
		if got, err := message.Render(m); err != nil || got != want {
			t.Errorf("locale %q: got other words (%v)", locale, err)
		}
	}
}

func BenchmarkCompose(b *testing.B) {
	for _, k := range []tasks.Kind{tasks.Code, tasks.TOTP} {
		b.Run(string(k), func(b *testing.B) {
			m := sample(b, k)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := message.Compose(m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
