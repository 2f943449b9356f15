package submission

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"example.com/securemail/internal/secret"
)

// TLSMode is how a connection becomes encrypted. There is no mode that leaves it in clear, and the
// zero value is invalid.
type TLSMode int

const (
	ImplicitTLS TLSMode = iota + 1 // TLS from the first byte: port 465 (RFC 8314 section 3.3)
	StartTLS                       // STARTTLS, without which nothing is sent: port 587 (RFC 3207)
)

func (m TLSMode) String() string {
	switch m {
	case ImplicitTLS:
		return "implicit TLS"
	case StartTLS:
		return "STARTTLS"
	}
	return "no TLS mode"
}

// Relay is one configured submission server.
type Relay struct {
	Name string // how logs and records name it, such as "gmail": 1 to 64 of [A-Za-z0-9._-]

	Host string // what is dialled, and the name that the certificate must carry: a host name or an IP address
	Port int
	TLS  TLSMode

	RootCAs *x509.CertPool // the authorities for its certificate; nil: the system's

	Username string        // empty: no AUTH
	Password secret.String // for AUTH PLAIN or LOGIN
	// Token, if not nil, returns access tokens for AUTH XOAUTH2 or OAUTHBEARER, instead of a password:
	// see OAuth2. It is called before each connection, by several goroutines. refused says that the
	// server has just refused the token that it returned last. Its errors are logged; one that wraps
	// ErrTokenRefused means that the login itself is no longer valid.
	Token func(ctx context.Context, refused bool) (secret.String, error)

	// Headers are lines that stand before the header section of each message through this relay, such as
	// "X-Mailgun-Track: no".
	Headers []string

	// LocalName is our name in EHLO: a domain, or an address literal such as "[192.0.2.1]". Empty: the
	// connection's local address (RFC 5321 section 4.1.4), which some relays insist on and which shows
	// an internal address.
	LocalName string

	// MaxConnections is how many sessions there may be at a time, 1 to 1,000. The pool starts at 5 and
	// grows with what the relay takes. Default 20.
	MaxConnections int

	Timeouts Timeouts

	resumption tls.ClientSessionCache
}

// Timeouts bound the parts of a conversation. RFC 5321 section 4.5.3.2 asks for minutes, for the sake
// of relays that talk to the whole world; our defaults are for a configured submission server.
type Timeouts struct {
	Connect    time.Duration // TCP and TLS together; a STARTTLS handshake has it for itself. Default 10 s.
	Command    time.Duration // the greeting, and every reply but the last. Default 30 s.
	Data       time.Duration // each block of the body. Default 30 s.
	FinalReply time.Duration // the reply to the final dot. Default 120 s.
	// Total bounds the whole attempt, from the dialling or from when a kept session is free. The final
	// dot is written only while FinalReply is left of it, so Total must be longer, and the difference
	// is what all that comes before the dot may take, and before it the wait for a session.
	// Default 180 s.
	Total time.Duration
}

// headerLine is a field of RFC 5322 section 2.2 in one line, of at most 998 characters.
var headerLine = regexp.MustCompile(`^X-[A-Za-z0-9-]{1,60}: [!-~][ -~]{0,900}$`)

// complete returns r with its defaults, or everything that is wrong with it.
func (r Relay) complete() (Relay, error) {
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("relay %q: "+format, append([]any{r.Name}, args...)...))
	}
	host, ok := hostName(r.Host)
	if r.Host = host; !ok {
		wrong("host %q is neither a host name nor an IP address; give the name on its certificate, without a port", r.Host)
	} else if len(r.Name) < 1 || len(r.Name) > 64 || strings.Trim(r.Name, safeCharacters) != "" { // the settings may take it from the host
		wrong("its name must be 1 to 64 letters, digits, dots, hyphens or underscores")
	}
	if r.Port < 1 || r.Port > 65535 {
		wrong("port %d is not between 1 and 65535; submission servers listen on 465 and 587", r.Port)
	}
	if r.TLS != ImplicitTLS && r.TLS != StartTLS {
		wrong("no TLS mode; use implicit TLS with port 465, STARTTLS with port 587")
	}
	switch {
	case r.Token != nil && !r.Password.IsZero():
		wrong("a password and OAuth2 exclude each other; give one of them")
	case (r.Username == "") != (r.Password.IsZero() && r.Token == nil):
		wrong("user name and password, or OAuth2, belong together; give both, or neither for a relay without AUTH")
	case strings.ContainsAny(r.Username, "\x00\x01") || strings.ContainsRune(r.Password.Reveal(), 0):
		wrong("user name or password contains a NUL or a separator that AUTH cannot carry (RFC 4616, RFC 7628)")
	}
	if r.LocalName != "" && !validDomain(r.LocalName) && !addressLiteral(r.LocalName) {
		wrong("local name %q is neither a domain nor an address literal such as [192.0.2.1]", r.LocalName)
	}
	for _, line := range r.Headers {
		if !headerLine.MatchString(line) {
			wrong("%q is no header line", line)
		}
	}
	if r.MaxConnections == 0 {
		r.MaxConnections = 20
	}
	if r.MaxConnections < 1 || r.MaxConnections > 1000 {
		wrong("%d connections are not between 1 and 1000", r.MaxConnections)
	}
	if err := r.Timeouts.complete(); err != nil {
		wrong("%v", err)
	}
	return r, errors.Join(errs...)
}

func (t *Timeouts) complete() error {
	for _, f := range []struct {
		value    *time.Duration
		standard time.Duration
	}{
		{&t.Connect, 10 * time.Second},
		{&t.Command, 30 * time.Second},
		{&t.Data, 30 * time.Second},
		{&t.FinalReply, 120 * time.Second},
		{&t.Total, 180 * time.Second},
	} {
		if *f.value < 0 {
			return errors.New("a timeout is negative")
		}
		if *f.value == 0 {
			*f.value = f.standard
		}
	}
	if t.Total <= t.FinalReply {
		return fmt.Errorf("the total timeout (%v) must be longer than that of the final reply (%v)", t.Total, t.FinalReply)
	}
	return nil
}

// line is how long a mail may wait for a session.
func (t Timeouts) line() time.Duration { return t.Total - t.FinalReply }

// addressLiteral reports whether s is an IP address in the form of RFC 5321 section 4.1.3.
func addressLiteral(s string) bool {
	inner, ok := strings.CutPrefix(s, "[")
	inner, ok2 := strings.CutSuffix(inner, "]")
	if v6, is6 := strings.CutPrefix(inner, "IPv6:"); is6 {
		ip := net.ParseIP(v6)
		return ok && ok2 && ip != nil && strings.Contains(v6, ":")
	}
	ip := net.ParseIP(inner)
	return ok && ok2 && ip != nil && ip.To4() != nil && !strings.Contains(inner, ":")
}

// literal returns ip as an address literal.
func literal(ip net.IP) string {
	if ip.To4() != nil {
		return "[" + ip.String() + "]"
	}
	return "[IPv6:" + ip.String() + "]"
}

// hostName returns the form in which host is dialled and verified, and whether it has one: without the
// dot of the root and the brackets of an IPv6 address, in A-labels. An underscore is no letter of a
// domain (RFC 5321 section 4.1.2), but Compose and Kubernetes name services so.
func hostName(host string) (string, bool) {
	name := strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"), ".")
	if net.ParseIP(name) != nil {
		return name, true
	}
	if !ascii(name) {
		if a, err := idna.Lookup.ToASCII(name); err == nil {
			name = a
		}
	}
	if strings.HasPrefix(host, "[") || !validDomain(strings.ReplaceAll(name, "_", "x")) {
		return host, false
	}
	return name, true
}

// validDomain reports whether s is a domain of letters, digits and hyphens (RFC 5321 section 4.1.2).
func validDomain(s string) bool {
	if len(s) > maxDomain {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, alphanumeric+"-") != "" {
			return false
		}
	}
	return true
}
