package submission_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"example.com/securemail/internal/submission"
)

func TestPrepare_RefusesBadMessages(t *testing.T) {
	s := newServer(t, submission.ImplicitTLS, nil).start()
	c := s.client()
	tests := []struct{ name, msg, want string }{
		{"empty", "", "is empty"},
		{"bare LF", "a: b\r\n\r\nx\ny\r\n", "bare LF at the end of line 3"},
		{"bare LF at the end", "a: b\r\n\r\nx\n", "bare LF"},
		{"bare LF alone", "\n", "bare LF"},
		{"bare CR", "a: b\r\n\r\nx\ry\r\n", "bare CR in line 3"},
		{"bare CR at the end", "a: b\r\n\r\nx\r", "bare CR"},
		{"CR CR LF", "a: b\r\n\r\nx\r\r\n", "bare CR"},
		{"LF CR", "a: b\n\r", "bare LF"},
		{"smuggled with bare LF", "a: b\r\n\r\nx\n.\r\nMAIL FROM:<x@y>\r\n", "bare LF"},
		{"smuggled with bare CR", "a: b\r\n\r\nx\r.\r\nMAIL FROM:<x@y>\r\n", "bare CR"},
		{"NUL", "a: b\r\n\r\nx\x00y\r\n", "NUL in line 3"},
		{"long line", "a: b\r\n\r\n" + strings.Repeat("x", 999) + "\r\n", "998 octets in line 3"},
		{"long line without end", "a: b\r\n\r\n" + strings.Repeat("x", 999), "998 octets in line 3"},
	}
	for _, tt := range tests {
		_, err := c.Submit(context.Background(), envelope, []byte(tt.msg), nil)
		e := failure(t, err)
		if e.Phase != submission.PhasePrepare || e.Scope != submission.ScopeMessage || !e.Permanent || !strings.Contains(e.Error(), tt.want) {
			t.Errorf("%s: got %v of scope %s, want %q", tt.name, e, e.Scope, tt.want)
		}
	}
	s.stop()
	if s.conns != 0 {
		t.Errorf("%d connections, want none", s.conns)
	}
}

func TestSubmit_GoodMessagesArriveUnchanged(t *testing.T) {
	s := newServer(t, submission.ImplicitTLS, nil).start()
	c := s.client()
	msgs := []string{
		"a: b\r\n\r\n", "\r\n", ".\r\n", "..\r\n", ".\r\n.\r\n", "\r\n.\r\n\r\n", "a: b\r\n\r\n.\r\nMAIL FROM:<x@y>\r\n",
		"a: b\r\n\r\n" + strings.Repeat(".", 998) + "\r\n", "a: b\r\n\r\ntab\t and \x7f\r\n", "a: b\r\n\r\nno end", "a: b\r\n\r\n.",
	}
	for _, msg := range msgs {
		if _, err := c.Submit(context.Background(), envelope, []byte(msg), nil); err != nil {
			t.Errorf("%.30q: %v", msg, err)
		}
	}
	c.Close()
	s.stop()
	for i, msg := range msgs {
		if want := strings.TrimSuffix(msg, "\r\n") + "\r\n"; string(s.mails[i]) != want {
			t.Errorf("got %.30q, want %.30q", s.mails[i], want)
		}
	}
}

var badAddresses = []string{
	"", "@", "a", "a@", "@b", "a@b@c", "a b@c", "a@b c", " a@b", "a@b ", "a\r\n@b", "a@b\r\n", "a@b\nRCPT TO:<x@y>", "a\x00@b", "a@b\x00",
	"<a@b>", "a@b>", "a>@b", "a@b> ORCPT=rfc822;x", `"a b"@b`, `"victim@evil.test> ORCPT=rfc822;x"@example.com`,
	"a@b\xff", "a\xff@b", "a\u2028b@c", "a\u00a0b@c", "a\u0085@c", "a\t@b", "a\x7f@b", "Alice <a@b>", "a@b,c@d", "a@b;c@d", "@relay:a@b",
	strings.Repeat("a", 65) + "@b", "a@" + strings.Repeat("b.", 127) + "bc", "a@" + strings.Repeat("b.", 200) + "b",
}

func TestPrepare_RefusesBadAddresses(t *testing.T) {
	s := newServer(t, submission.ImplicitTLS, nil).start()
	c := s.client()
	for _, addr := range badAddresses {
		_, err := c.Submit(context.Background(), submission.Envelope{From: envelope.From, To: addr}, mail, nil)
		if e := failure(t, err); e.Phase != submission.PhasePrepare || e.Scope != submission.ScopeRecipient || !e.Permanent {
			t.Errorf("to %q: got %v of scope %s", addr, e, e.Scope)
		}
		_, err = c.Submit(context.Background(), submission.Envelope{From: addr, To: envelope.To}, mail, nil)
		if e := failure(t, err); e.Phase != submission.PhasePrepare || e.Scope != submission.ScopeMessage || !e.Permanent {
			t.Errorf("from %q: got %v of scope %s", addr, e, e.Scope)
		}
	}
	s.stop()
	if s.conns != 0 {
		t.Errorf("%d connections, want none", s.conns)
	}
}

func TestPrepare_TakesGoodAddresses(t *testing.T) {
	for _, addr := range []string{
		"a@b", "a.b.c@d.e.f", "a+tag@example.com", "!#$%&'*+-/=?^_`{|}~@example.com", "1@2.example", "a@xn--bcher-kva.example", "A@example.com",
		"ünal@example.com", "用户@example.com", strings.Repeat("a", 64) + "@" + strings.Repeat("b", 63), "a@" + strings.Repeat("b.", 125) + "bc",
	} {
		if why := submission.BadAddress(addr); why != "" {
			t.Errorf("%q %s", addr, why)
		}
	}
}

// FuzzAddress: what is accepted cannot end a path or a line.
func FuzzAddress(f *testing.F) {
	for _, s := range append(badAddresses, "a@b", "ünal@example.com") {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, addr string) {
		if submission.BadAddress(addr) != "" {
			return
		}
		if strings.ContainsAny(addr, "<> \t\r\n\x00") || strings.Count(addr, "@") != 1 || len(addr) > 254 {
			t.Errorf("accepted %q", addr)
		}
	})
}

// FuzzStuff: unstuff(stuff(x)) == x, and the end of data stands at the end only.
func FuzzStuff(f *testing.F) {
	for _, s := range []string{"\r\n", ".\r\n", "..\r\n.\r\n", "a\r\n.\r\nb\r\n", "a\n.\nb", "a\r.\r\n", "x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		if submission.BadText(msg) != "" || !bytes.HasSuffix(msg, []byte("\r\n")) {
			return
		}
		wire := submission.Stuff(msg)
		if end := bytes.Index(append([]byte("\r\n"), wire...), []byte("\r\n.\r\n")); end != len(wire)-3 {
			t.Errorf("the data ends at %d of %d: %q", end, len(wire), wire)
		}
		var back []byte
		for line := range bytes.Lines(bytes.TrimSuffix(wire, []byte(".\r\n"))) {
			back = append(back, bytes.TrimPrefix(line, []byte("."))...)
		}
		if !bytes.Equal(back, msg) {
			t.Errorf("got %q back, want %q", back, msg)
		}
	})
}
