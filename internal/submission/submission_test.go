package submission_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"go.uber.org/goleak"

	"example.com/securemail/internal/secret"
	"example.com/securemail/internal/submission"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	modes    = []submission.TLSMode{submission.ImplicitTLS, submission.StartTLS}
	envelope = submission.Envelope{From: "sender@example.com", To: "alice@example.net"}
	mail     = []byte("Subject: hello\r\nFrom: sender@example.com\r\n\r\nHello\r\n.\r\n..two dots\r\n.one\r\n")
)

func onBothPorts(t *testing.T, f func(t *testing.T, mode submission.TLSMode)) {
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) { f(t, mode) })
	}
}

func submit(c *submission.Client) (submission.Acceptance, error) {
	return c.Submit(context.Background(), envelope, mail, nil)
}

// failure returns err as the *Error that every failure must be, having checked what must hold for
// all of them.
func failure(t *testing.T, err error) *submission.Error {
	t.Helper()
	var e *submission.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *Error", err)
	}
	if e.Relay != "test" || e.Scope == "" {
		t.Errorf("relay %q, scope %q in %v", e.Relay, e.Scope, e)
	}
	checkPrintable(t, e.Error(), 400)
	checkReadable(t, e.Said(), 300)
	for _, hidden := range []string{password, encodedPassword, username, envelope.To, envelope.From, "@"} {
		if strings.Contains(e.Error(), hidden) || strings.Contains(e.Said(), hidden) {
			t.Errorf("%q shows in %q or %q", hidden, e.Error(), e.Said())
		}
	}
	return e
}

// checkReadable is checkPrintable for text in any language.
func checkReadable(t *testing.T, s string, most int) {
	t.Helper()
	if len(s) > most || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("%d bytes of text, want at most %d, all of them printable: %q", len(s), most, s)
	}
}

func checkPrintable(t *testing.T, s string, most int) {
	t.Helper()
	if len(s) > most {
		t.Errorf("%d bytes of text, want at most %d: %q", len(s), most, s)
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			t.Fatalf("unprintable text: %q", s)
		}
	}
}

func TestSubmit_OnBothPorts(t *testing.T) {
	onBothPorts(t, func(t *testing.T, mode submission.TLSMode) {
		s := newServer(t, mode, nil).start()
		asked := 0
		got, err := s.client().Submit(context.Background(), envelope, mail, func(context.Context) error { asked++; return nil })
		if err != nil {
			t.Fatal(err)
		}
		got.Timings = submission.Timings{}
		want := submission.Acceptance{Relay: "test", Code: 250, EnhancedCode: "2.0.0", QueueID: "4XyZ1", TLSVersion: "TLS 1.3"}
		if got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if asked != 1 {
			t.Errorf("beforeDot was called %d times, want 1", asked)
		}
		s.stop()
		if len(s.mails) != 1 || !bytes.Equal(s.mails[0], mail) {
			t.Errorf("got %q, want %q", s.mails, mail)
		}
		wire := []string{
			"AUTH PLAIN " + encodedPassword, fmt.Sprintf("MAIL FROM:<sender@example.com> SIZE=%d", len(mail)),
			"RCPT TO:<alice@example.net>", "DATA",
		}
		i := slices.Index(s.commands, wire[0])
		if i < 0 || !slices.Equal(s.commands[i:i+len(wire)], wire) {
			t.Errorf("got %q, want in it %q", s.commands, wire)
		}
		s.checkNothingInClear()
	})
}

func TestReceipt_Timings(t *testing.T) {
	receipt, err := submit(newServer(t, submission.StartTLS, nil).start().client())
	if err != nil {
		t.Fatal(err)
	}
	if d := receipt.Timings; d.Connect <= 0 || d.Envelope <= 0 || d.Body <= 0 || d.FinalReply <= 0 {
		t.Errorf("got %+v, want all of them positive", d)
	}
}

func TestAuth_Mechanisms(t *testing.T) {
	login := []string{"AUTH LOGIN", "d29ya2VyQGV4YW1wbGUuY29t", "Y2FuYXJ5LXBhc3MtN2YzYQ=="}
	tests := []struct {
		name, ehlo string
		script     map[string]string
		want       []string // the commands of AUTH
		err        string
	}{
		{"both offered", `AUTH LOGIN PLAIN`, nil, []string{"AUTH PLAIN " + encodedPassword}, ""},
		{"lower case", `auth plain`, nil, []string{"AUTH PLAIN " + encodedPassword}, ""},
		{"two lines", `AUTH CRAM-MD5\nAUTH PLAIN`, nil, []string{"AUTH PLAIN " + encodedPassword}, ""},
		{"only LOGIN", `AUTH LOGIN`, nil, login, ""},
		{"LOGIN with odd prompts", `AUTH LOGIN`, map[string]string{"user": "334 ", "pass": "334 dXNlcjo="}, login, ""},
		{"LOGIN without the first prompt", `AUTH LOGIN`, map[string]string{"user": "235 ok"}, login[:1], "does not belong here"},
		{"none offered", `SIZE`, nil, nil, "offers neither"},
		{"none that we know", `AUTH CRAM-MD5 NTLM`, nil, nil, "offers neither"},
		{"challenge after an initial response", `AUTH PLAIN`, map[string]string{"auth": "334 "}, []string{"AUTH PLAIN " + encodedPassword}, "does not belong here"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, submission.ImplicitTLS, tt.script)
			s.ehlo = tt.ehlo
			_, err := submit(s.start().client())
			s.stop()
			if tt.err == "" && err != nil {
				t.Fatal(err)
			}
			if tt.err != "" {
				if e := failure(t, err); e.Phase != submission.PhaseAuth || !strings.Contains(e.Error(), tt.err) {
					t.Errorf("got %v, want %q in phase auth", e, tt.err)
				}
				if slices.ContainsFunc(s.commands, func(c string) bool { return strings.HasPrefix(c, "MAIL") }) {
					t.Error("MAIL was sent without a login")
				}
			}
			var got []string
			for i, c := range s.commands {
				if strings.HasPrefix(c, "AUTH") {
					got = s.commands[i:min(len(s.commands), i+len(tt.want))]
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestAuth_NoneWithoutUserName(t *testing.T) {
	s := newServer(t, submission.ImplicitTLS, nil).start()
	r := s.relay()
	r.Username, r.Password, r.LocalName = "", secret.String{}, ""
	if _, err := submit(s.clientOf(r)); err != nil {
		t.Fatal(err)
	}
	s.stop()
	if s.commands[0] != "EHLO [127.0.0.1]" || !strings.HasPrefix(s.commands[1], "MAIL") {
		t.Errorf("got %q, want EHLO [127.0.0.1], then MAIL", s.commands)
	}
}

func TestEHLO_AddressLiterals(t *testing.T) {
	for ip, want := range map[string]string{"192.0.2.1": "[192.0.2.1]", "2001:db8::1": "[IPv6:2001:db8::1]"} {
		if got := submission.Literal(net.ParseIP(ip)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestCheck_SendsNothing(t *testing.T) {
	onBothPorts(t, func(t *testing.T, mode submission.TLSMode) {
		s := newServer(t, mode, nil).start()
		c := s.client()
		info, err := c.Check(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if info.Relay != "test" || info.TLSVersion != "TLS 1.3" || info.Auth != "PLAIN" || !info.Pipelining ||
			info.MaxSize != 104857600 || info.CertificateExpires.IsZero() {
			t.Errorf("got %+v", info)
		}
		c.Close()
		s.stop()
		if got := s.commands[len(s.commands)-2:]; got[0] != "AUTH PLAIN "+encodedPassword || got[1] != "QUIT" {
			t.Errorf("got %q, want AUTH, then QUIT", got)
		}
	})
}

func TestClose_RefusesFurtherMails(t *testing.T) {
	c := newServer(t, submission.ImplicitTLS, nil).start().client()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := submit(c)
	if e := failure(t, err); !errors.Is(e, submission.ErrClosed) || e.Scope != submission.ScopeCaller {
		t.Errorf("Submit: got %v, want ErrClosed", err)
	}
	if _, err := c.Check(context.Background()); !errors.Is(err, submission.ErrClosed) {
		t.Errorf("Check: got %v, want ErrClosed", err)
	}
}

func TestQuit_FailureIsSuccess(t *testing.T) {
	for _, action := range []string{"(drop)", "500 what", "(garbage)"} {
		if _, err := submit(newServer(t, submission.ImplicitTLS, map[string]string{"quit": action}).start().client()); err != nil {
			t.Errorf("%s: %v", action, err)
		}
	}
}

func TestRelay_NamesEverythingWrong(t *testing.T) {
	good := submission.Relay{Name: "r", Host: "mail.example.com", Port: 465, TLS: submission.ImplicitTLS}
	if _, err := submission.NewClient(good); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		edit func(*submission.Relay)
		want string // "" is accepted
	}{
		{"no name", func(r *submission.Relay) { r.Name = "" }, "its name"},
		{"name with a line break", func(r *submission.Relay) { r.Name = "a\nb" }, "its name"},
		{"no host", func(r *submission.Relay) { r.Host = "" }, "host"},
		{"host with a port", func(r *submission.Relay) { r.Host = "mail.example.com:465" }, "without a port"},
		{"host with a URL", func(r *submission.Relay) { r.Host = "smtps://mail.example.com" }, "host"},
		{"IPv6 host", func(r *submission.Relay) { r.Host = "::1" }, ""},
		{"IPv6 host in brackets", func(r *submission.Relay) { r.Host = "[::1]" }, ""},
		{"a name in brackets", func(r *submission.Relay) { r.Host = "[mail]" }, "host"},
		{"a service of Compose", func(r *submission.Relay) { r.Host = "mail_server" }, ""},
		{"the dot of the root", func(r *submission.Relay) { r.Host = "localhost." }, ""},
		{"a host in another script", func(r *submission.Relay) { r.Host = "mail.bücher.example" }, ""},
		{"host with a space", func(r *submission.Relay) { r.Name, r.Host = "mail server", "mail server" }, "host"},
		{"no port", func(r *submission.Relay) { r.Port = 0 }, "port 0"},
		{"no TLS mode", func(r *submission.Relay) { r.TLS = 0 }, "no TLS mode"},
		{"unknown TLS mode", func(r *submission.Relay) { r.TLS = 3 }, "no TLS mode"},
		{"user name alone", func(r *submission.Relay) { r.Username = "u" }, "belong together"},
		{"password alone", func(r *submission.Relay) { r.Password = secret.New(password) }, "belong together"},
		{"NUL in password", func(r *submission.Relay) { r.Username, r.Password = "u", secret.New("a\x00"+password) }, "NUL"},
		{"local name injects", func(r *submission.Relay) { r.LocalName = "a\r\nMAIL" }, "local name"},
		{"bad literal", func(r *submission.Relay) { r.LocalName = "[not an address]" }, "local name"},
		{"literal", func(r *submission.Relay) { r.LocalName = "[192.0.2.1]" }, ""},
		{"IPv6 literal", func(r *submission.Relay) { r.LocalName = "[IPv6:2001:db8::1]" }, ""},
		{"negative timeout", func(r *submission.Relay) { r.Timeouts.Data = -1 }, "negative"},
		{"no time before the dot", func(r *submission.Relay) { r.Timeouts.Total = 1 }, "must be longer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := good
			tt.edit(&r)
			_, err := submission.NewClient(r)
			if got := fmt.Sprint(err); tt.want == "" && err != nil || !strings.Contains(got, tt.want) || strings.Contains(got, password) {
				t.Errorf("got %q, want %q in it", got, tt.want)
			}
		})
	}
	_, err := submission.NewClient(submission.Relay{})
	if n := strings.Count(fmt.Sprint(err), "\n") + 1; n != 3 {
		t.Errorf("got %d complaints about the zero Relay, want 3: %v", n, err)
	}
}
