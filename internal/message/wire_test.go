package message

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/go-mail/mail/v2"
)

func TestScan_FindsWhatARelayWouldChange(t *testing.T) {
	head := "Subject: x\r\n\r\n"
	for _, good := range []string{head, head + strings.Repeat("a", 76) + "\r\n", "Subject: " + strings.Repeat("a", 989) + "\r\n\r\n"} {
		if err := scan([]byte(good)); err != nil {
			t.Errorf("%.20q: %v", good, err)
		}
	}
	for _, bad := range []string{
		head + "a\nb\r\n", head + "a\rb\r\n", head + "a\r\r\n", head + "a\x00\r\n", head + "caf\xc3\xa9\r\n", head + "a", head + "a\n",
		head + strings.Repeat("a", 77) + "\r\n", "Subject: " + strings.Repeat("a", 990) + "\r\n\r\n", "a\n.\r\nb\r\n",
	} {
		if scan([]byte(bad)) == nil {
			t.Errorf("%.40q is not refused", bad)
		}
	}
}

func TestOrderHeader_SortsKnownFieldsAndRefusesOthers(t *testing.T) {
	got := []byte("Content-Type: t;\r\n boundary=b\r\nSubject: a\r\n b\r\nFrom: f\r\n\r\nbody\r\n")
	err := orderHeader(got)
	if want := "From: f\r\nSubject: a\r\n b\r\nContent-Type: t;\r\n boundary=b\r\n\r\nbody\r\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	for _, bad := range []string{
		"From: f\r\nBcc: eve@example.org\r\n\r\n", "From: f\r\nFrom: g\r\n\r\n", "from: f\r\n\r\n", " x\r\nFrom: f\r\n\r\n",
		"From: f\r\nno colon\r\n\r\n", "From: f\r\n", "",
	} {
		if orderHeader([]byte(bad)) == nil {
			t.Errorf("%q is not refused", bad)
		}
	}
}

func TestWrite_ReturnsAnErrorInsteadOfPanicking(t *testing.T) {
	msg := mail.NewMessage()
	msg.SetBodyWriter("text/plain", func(io.Writer) error { return errors.New("full") })
	msg.AddAlternative("text/html", "x")
	if raw, err := write(msg); err == nil || raw != nil {
		t.Errorf("got %d octets and no error", len(raw))
	}
}
