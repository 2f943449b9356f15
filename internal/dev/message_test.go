package dev_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"example.com/securemail/internal/dev"
)

// related has the structure of a TOTP mail: text and HTML with an inline image, and attachments.
const related = "From: =?utf-8?q?Caf=C3=A9?= <no-reply@example.org>\r\n" +
	"To: Alice <alice@example.com>, bob@example.com\r\n" +
	"Reply-To: help@example.org\r\n" +
	"Subject: Set up\r\n" +
	"Date: Mon, 23 Nov 2026 12:00:00 +0000\r\n" +
	"Message-ID: <set-up.1@example.org>\r\n" +
	"Content-Type: multipart/mixed; boundary=m\r\n\r\n" +
	"--m\r\nContent-Type: multipart/related; boundary=r\r\n\r\n" +
	"--r\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n" +
	"--a\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" +
	"Scan=\r\n the caf=C3=A9's  code\r\n" +
	"--a\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" +
	"<p>Scan</p><img src=\"cid:qr%40example.org\"><img src='cid:other@example.org'>\r\n--a--\r\n" +
	"--r\r\nContent-Type: image/png\r\nContent-ID: <qr@example.org>\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
	"iVBORw0K\r\nGgo=\r\n--r--\r\n" +
	"--m\r\nContent-Type: image/png; name=\"qr.png\"\r\nContent-Disposition: attachment; filename=\"qr.png\"\r\n\r\nPNG\r\n" +
	"--m\r\nContent-Type: text/plain\r\nContent-Disposition: attachment; filename=\"=?utf-8?q?r=C3=A9adme.txt?=\"\r\n\r\nread\r\n" +
	"--m--\r\n"

const png = "\x89PNG\r\n\x1a\n"

// deliver sends a message and returns it as it arrived.
func deliver(t testing.TB, env *dev.Env, message string) dev.Message {
	t.Helper()
	if err := send(login(t, env, "smtps"), "alice@example.com", message); err != nil {
		t.Fatal(err)
	}
	messages := env.Messages()
	return messages[len(messages)-1]
}

func TestParse_SeparatesTheParts(t *testing.T) {
	t.Parallel()
	m := deliver(t, start(t), related)
	if m.Defect != "" {
		t.Errorf("defect: %s", m.Defect)
	}
	if got, want := m.Text, "Scan the café's  code"; got != want {
		t.Errorf("text: got %q, want %q", got, want)
	}
	if !strings.HasPrefix(m.HTML, "<p>Scan</p>") {
		t.Errorf("HTML: got %q", m.HTML)
	}
	show := func(parts []dev.Part) (s string) {
		for _, p := range parts {
			s += fmt.Sprintf("%s %q %s %q %q; ", p.ID, p.FileName, p.ContentType, p.ContentID, p.Content)
		}
		return s
	}
	if got, want := show(m.Inline), fmt.Sprintf("3 \"\" image/png \"qr@example.org\" %q; ", png); got != want {
		t.Errorf("inline: got %s, want %s", got, want)
	}
	want := `4 "qr.png" image/png "" "PNG"; 5 "réadme.txt" text/plain "" "read"; `
	if got := show(m.Attachments); got != want {
		t.Errorf("attachments: got %s, want %s", got, want)
	}
}

func TestParse_ReportsDefects(t *testing.T) {
	t.Parallel()
	env := start(t)
	nested := "Content-Type: multipart/mixed; boundary=b0\r\n\r\n"
	for i := range 12 {
		nested += fmt.Sprintf("--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n", i, i+1)
	}
	for name, c := range map[string]struct{ message, defect string }{
		"no header":        {"no header here\r\n", "header"},
		"bad base64":       {"Content-Transfer-Encoding: base64\r\n\r\n!!!!\r\n", "part 1 (text/plain) cannot be decoded"},
		"no end":           {"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\ntext\r\n", "cannot be separated"},
		"no boundary":      {"Content-Type: multipart/mixed\r\n\r\ntext\r\n", "cannot be separated"},
		"nested too deep":  {nested, "nested more than 10 deep"},
		"too many parts":   {"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + strings.Repeat("--x\r\n\r\n\r\n", 250) + "--x--\r\n", "more than 200 parts"},
		"nothing":          {"", ""},
		"well-formed":      {"Subject: x\r\n\r\n", ""},
		"unknown encoding": {"Content-Transfer-Encoding: x-unknown\r\nContent-Type: text/plain; charset=\r\n\r\nas it is\r\n", ""},
	} {
		m := deliver(t, env, c.message)
		if c.defect == "" && m.Defect != "" || !strings.Contains(m.Defect, c.defect) {
			t.Errorf("%s: got defect %q, want %q", name, m.Defect, c.defect)
		}
		if reply, body := get(t, env, "/mail/"+m.ID); reply.StatusCode != 200 || c.defect != "" && !strings.Contains(body, "Not a well-formed message") {
			t.Errorf("%s: the page answers %s without the defect", name, reply.Status)
		}
	}
}

// The raw bytes of a message are kept unchanged, and the parsed texts are valid UTF-8.
func FuzzParse(f *testing.F) {
	f.Add([]byte(related))
	f.Add([]byte("Subject: =?utf-8?b?!!?=\r\nContent-Type: text/html; charset=x\r\n\r\n\xff\xfe"))
	f.Add([]byte("Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\n\r\n----"))
	f.Add([]byte("\xff0"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := dev.Parse(bytes.Clone(raw))
		if !bytes.Equal(m.Raw, raw) {
			t.Error("the raw message changed")
		}
		if !utf8.ValidString(m.Subject + m.Text + m.HTML + m.Defect) {
			t.Errorf("not UTF-8: %q %q %q %q", m.Subject, m.Text, m.HTML, m.Defect)
		}
	})
}
