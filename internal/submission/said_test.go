package submission_test

import (
	"context"
	"strings"
	"testing"

	"example.com/securemail/internal/submission"
)

var secretMail = []byte("Date: Wed, 25 Nov 2026 10:00:00 +0000\r\nSubject: Your code\r\n\r\n" +
	"Your code: 9050 0324\r\nYour key: ABCDE-F7HJK-MNPQR\r\nSecret: JBSW Y3DP EH=\r\nPK 3PXP\r\n")

func TestSaid(t *testing.T) {
	tests := []struct{ name, reply, want string }{
		{"several lines", "5.7.1 first\n5.7.1 second", "5.7.1 first / 5.7.1 second"},
		{"an address", "<alice@example.net>: unknown, ask mailto:bob@x", "<[address]>: unknown, ask mailto:[address]"},
		{"control characters", "a\x1b[31m\x00b\u202ec\tq", "a [31m b c q"},
		{"invalid UTF-8", "caf\xe9 ok", "caf ok"},
		{"another language", "5.7.1 发送频率超过限制", "5.7.1 发送频率超过限制"},
		{"what an operator needs", "5.7.1 [BL21] 192.0.2.1 blocked (S3150)", "5.7.1 [BL21] 192.0.2.1 blocked (S3150)"},
		{"a link's query", "see https://example.com/help?ip=1&id=abc now", "see https://example.com/help now"},
		{"a long token", "id " + strings.Repeat("aB3", 10) + " end", "id [...] end"},
		{"the code", "rejected: 90500324", "rejected: [...]"},
		{"the code as it stands", "rejected: 9050 0324", "rejected: [...]"},
		{"the code in disguise", "rejected: 9-0-5-0-0-3-2-4", "rejected: [...]"},
		{"half of the code", "rejected: 9050", "rejected: [...]"},
		{"the code as an address", "from 90.50.03.24", "from [...]"},
		{"the key", "rejected: ABCDE-F7HJK-MNPQR", "rejected: [...]-[...]-[...]"},
		{"a part of the key, smaller", "rejected: mnpqr", "rejected: [...]"},
		{"a secret across a line end of the message", "rejected: EHPK", "rejected: [...]"},
		{"the password", "no: canary-pass-7f3a", "no: [...]-[...]-[...]"},
		{"the password, encoded", "no: " + encodedPassword, "no: [...]"},
		{"half of the password", "no: 7f3a", "no: [...]"},
		{"nothing", "", ""},
	}
	for _, tt := range tests {
		if got := submission.Said(strings.Split(tt.reply, "\n"), username, password, secretMail); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	for _, long := range []string{strings.Repeat("word ", 20000), strings.Repeat("x", 64<<10), strings.Repeat("长 ", 1000)} {
		checkReadable(t, submission.Said([]string{long}, username, password, secretMail), 300)
	}
}

// TestReceipt_QueueIDThatHoldsTheCodeIsDropped: it would be in a record and a log.
func TestReceipt_QueueIDThatHoldsTheCodeIsDropped(t *testing.T) {
	for id, kept := range map[string]bool{
		"90500324": false, "Q90500324X": false, "F7HJK": false, "9050-0324": false, "4XyZ1": true, "01000186-0000-0000-a1b2": true, "ABCDEF": true,
	} {
		s := newServer(t, submission.ImplicitTLS, map[string]string{"dot": "250 2.0.0 queued as " + id}).start()
		receipt, err := s.client().Submit(context.Background(), envelope, secretMail, nil)
		if err != nil || (receipt.QueueID == id) != kept {
			t.Errorf("%s: got %q, %v", id, receipt.QueueID, err)
		}
	}
}

// FuzzSaid: whatever is said, it is short and readable and has neither the code nor the password.
func FuzzSaid(f *testing.F) {
	for _, s := range []string{"rejected: 90500324", "x 9 0 5 0 0 3 2 4 x", "canary-pass-7f3a", "<a@b>\x00\xff", "F7HJK f7hjk"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, reply string) {
		got := submission.Said([]string{reply}, username, password, secretMail)
		checkReadable(t, got, 300)
		for _, secret := range []string{"90500324", "9050", "f7hjk", password, encodedPassword} {
			if strings.Contains(strings.ToLower(got), strings.ToLower(secret)) {
				t.Errorf("%q is in %q", secret, got)
			}
		}
	})
}
