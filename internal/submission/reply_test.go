package submission_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"example.com/securemail/internal/submission"
)

func TestReply_Parse(t *testing.T) {
	long := strings.Repeat("x", 1994)
	tests := []struct {
		raw      string
		code     int // 0: refused
		enhanced string
		lines    int
	}{
		{"220 hello\r\n", 220, "", 1},
		{"250\r\n", 250, "", 1},
		{"250 \r\n", 250, "", 1},
		{"250-\r\n250\r\n", 250, "", 2},
		{"250-a\r\n250-b\r\n250 c\r\n", 250, "", 3},
		{"250 2.1.0 ok\r\n", 250, "2.1.0", 1},
		{"550 5.1.1\r\n", 550, "5.1.1", 1},
		{"550-5.7.26 a\r\n550 5.7.26 b\r\n", 550, "5.7.26", 2},
		{"550-text\r\n550 5.7.26 b\r\n", 550, "5.7.26", 2},
		{"550 4.1.1 of another class\r\n", 550, "", 1},
		{"550 5.1 short\r\n", 550, "", 1},
		{"550 5.1.1234 long\r\n", 550, "", 1},
		{"550 5.01.1 leading zero\r\n", 550, "", 1},
		{"550 5.1.1x\r\n", 550, "", 1},
		{"354 3.0.0 no such class\r\n", 354, "", 1},
		{"250 " + long + "\r\n", 250, "", 1},
		{"250 \xff\x00\x1b\r\n", 250, "", 1},
		{"250 ok\r\r\n", 250, "", 1},
		{"250 " + long + "x\r\n", 0, "", 0},
		{strings.Repeat("250-"+long+"\r\n", 40) + "250 ok\r\n", 0, "", 0},
		{strings.Repeat("250-a\r\n", 99) + "250 ok\r\n", 250, "", 100},
		{strings.Repeat("250-a\r\n", 100) + "250 ok\r\n", 0, "", 0},
		{"250 ok\n", 0, "", 0},
		{"250-a\n250 ok\r\n", 0, "", 0},
		{"250 ok", 0, "", 0},
		{"", 0, "", 0},
		{"\r\n", 0, "", 0},
		{"25\r\n", 0, "", 0},
		{"2500\r\n", 0, "", 0},
		{"250_ok\r\n", 0, "", 0},
		{"250\tok\r\n", 0, "", 0},
		{" 250 ok\r\n", 0, "", 0},
		{"150 ok\r\n", 0, "", 0},
		{"650 ok\r\n", 0, "", 0},
		{"2x0 ok\r\n", 0, "", 0},
		{"\xb2\xb5\xb0 ok\r\n", 0, "", 0},
		{"250-a\r\n251 b\r\n", 0, "", 0},
		{"250-a\r\n", 0, "", 0},
		{"-250 a\r\n", 0, "", 0},
	}
	for _, tt := range tests {
		got, read, err := submission.ParseReply([]byte(tt.raw + "next"))
		if tt.code == 0 {
			if err == nil {
				t.Errorf("%.40q: got %d, want an error", tt.raw, got.Code)
			}
			continue
		}
		if err != nil || got.Code != tt.code || got.Enhanced != tt.enhanced || len(got.Lines) != tt.lines || read != len(tt.raw) {
			t.Errorf("%.40q: got %d %q, %d lines of %d bytes, %v; want %d %q, %d lines of %d bytes",
				tt.raw, got.Code, got.Enhanced, len(got.Lines), read, err, tt.code, tt.enhanced, tt.lines, len(tt.raw))
		}
	}
}

func TestReply_CutShort(t *testing.T) {
	if _, _, err := submission.ParseReply(nil); err != io.EOF {
		t.Errorf("nothing: got %v, want io.EOF", err)
	}
	if _, _, err := submission.ParseReply([]byte("250 o")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a line: got %v, want io.ErrUnexpectedEOF", err)
	}
	if _, _, err := submission.ParseReply([]byte("250-o\r\n")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a reply: got %v, want io.ErrUnexpectedEOF", err)
	}
}

func TestReply_QueueID(t *testing.T) {
	tests := []struct{ server, reply, want string }{
		{"Postfix", "250 2.0.0 Ok: queued as 4XyZ1q2WsTz5kj", "4XyZ1q2WsTz5kj"},
		{"Exim", "250 OK id=1rABCd-0001Xy-2F", "1rABCd-0001Xy-2F"},
		{"Gmail", "250 2.0.0 OK  1700000000 a1-20020a05600c1c8600b003fe1fe56202sm1234567wms.33 - gsmtp", "a1-20020a05600c1c8600b003fe1fe56202sm1234567wms.33"},
		{"Exchange", "250 2.6.0 <a@b.prod.outlook.com> [InternalId=82137891, Hostname=X.prod.outlook.com] 9 bytes in 0.1 Queued mail for delivery", "82137891"},
		{"Sendmail", "250 2.0.0 3AB1cd23 Message accepted for delivery", "3AB1cd23"},
		{"OpenSMTPD", "250 2.0.0 4f3c2b1a Message accepted for delivery", "4f3c2b1a"},
		{"qmail", "250 ok 1700000000 qp 12345", "12345"},
		{"Amazon SES", "250 Ok 0100018c1f2e3d4c-1a2b3c4d-0000-0000-0000-000000000000-000000", "0100018c1f2e3d4c-1a2b3c4d-0000-0000-0000-000000000000-000000"},
		{"SendGrid", "250 Ok: queued as Zx0AbCdEfGhIjKlM-_q", "Zx0AbCdEfGhIjKlM-_q"},
		{"Haraka", "250 Message Queued (B1C2D3E4-1111-2222-3333-444455556666.1)", "B1C2D3E4-1111-2222-3333-444455556666.1"},
		{"Stalwart", "250 2.0.0 Message queued with id 1a2b3c.", "1a2b3c."},
		{"nothing", "250", ""},
		{"unknown form", "250 2.0.0 Great success", ""},
		{"unsafe", "250 queued as \x1b[31mred", ""},
		{"an address", "250 queued as alice@example.net", ""},
		{"too long", "250 queued as " + strings.Repeat("a", 65), ""},
	}
	for _, tt := range tests {
		got, _, err := submission.ParseReply([]byte(tt.reply + "\r\n"))
		if err != nil || got.QueueID != tt.want {
			t.Errorf("%s: got %q, %v, want %q", tt.server, got.QueueID, err, tt.want)
		}
	}
}

// FuzzReply: whatever is accepted has a code, ends with CRLF, keeps the limits, and shows nothing
// unprintable.
func FuzzReply(f *testing.F) {
	for _, s := range []string{
		"250-a\r\n250 2.1.0 b\r\n", "550 5.1.1 <a@b>\r\n", "354 go\n", "250 queued as x\r\n", "\x00\xff", "250-a\r\n251 b\r\n",
		strings.Repeat("220-x\r\n", 101),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, n, err := submission.ParseReply(raw)
		if err != nil {
			return
		}
		if r.Code < 200 || r.Code > 599 || n > 64<<10 || len(r.Lines) > 100 || !bytes.HasSuffix(raw[:n], []byte("\r\n")) {
			t.Errorf("accepted %d with %d lines from %d bytes", r.Code, len(r.Lines), n)
		}
		if r.Enhanced != "" && (r.Enhanced[0] != raw[0] || strings.Count(r.Enhanced, ".") != 2) {
			t.Errorf("enhanced code %q of a %d", r.Enhanced, r.Code)
		}
		checkReadable(t, submission.Said(r.Lines, username, password, mail), 300)
		if r.Code >= 400 {
			for _, phase := range phases {
				e := submission.Refused(phase, r.Code, r.Enhanced, r.Lines...)
				checkPrintable(t, e.Error(), 400)
				if e.Scope == submission.ScopeRecipient && e.Permanent && r.Code < 500 {
					t.Errorf("%s: a %d refuses the recipient for good", phase, r.Code)
				}
			}
		}
		checkPrintable(t, r.QueueID, 64)
	})
}
