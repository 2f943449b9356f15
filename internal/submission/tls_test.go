package submission_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"testing"
	"time"

	"example.com/securemail/internal/submission"
)

// TestTLS_BadCertificates: no bad certificate is accepted, on either port, and its server is told
// nothing.
func TestTLS_BadCertificates(t *testing.T) {
	good := authority()
	unknown := newCA(nil, nil)
	expired := newCA(nil, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	between := newCA(good, nil)
	narrow := newCA(nil, func(c *x509.Certificate) {
		c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"example.org"}
		c.ExcludedIPRanges = []*net.IPNet{{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}}
	})
	notCA := newCA(good, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature })
	names := func(dns ...string) leaf {
		return leaf{edit: func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = dns, nil }}
	}
	tests := []struct {
		name   string
		host   string
		roots  *ca
		config *tls.Config
		want   string
	}{
		{"expired", "localhost", good, good.config(leaf{edit: func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }}), "has expired"},
		{"not valid yet", "localhost", good, good.config(leaf{edit: func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }}), "not valid yet"},
		{"wrong name", "localhost", good, good.config(names("mail.example.com")), `does not name "localhost"`},
		{"wrong address", "127.0.0.1", good, good.config(names("localhost")), `does not name "127.0.0.1"`},
		{"name in the subject only", "localhost", good, good.config(names()), `does not name "localhost"`},
		{"wildcard of another domain", "localhost", good, good.config(names("*.example.com")), `does not name "localhost"`},
		{"wildcard of everything", "localhost", good, good.config(names("*")), `does not name "localhost"`},
		{"address as a name", "127.0.0.1", good, good.config(names("127.0.0.1")), `does not name "127.0.0.1"`},
		{"self-signed", "localhost", good, good.config(leaf{selfSign: true}), "self-signed"},
		{"unknown CA", "localhost", good, unknown.config(leaf{}), "unknown authority"},
		{"system's CAs only", "localhost", nil, good.config(leaf{}), "unknown authority"},
		{"expired CA", "localhost", expired, expired.config(leaf{}), "has expired"},
		{"intermediate not sent", "localhost", good, between.config(leaf{}), "unknown authority"},
		{"signed by a certificate that may not sign", "localhost", good, notCA.config(leaf{}, notCA), "unknown authority"},
		{"CA for other names", "localhost", narrow, narrow.config(leaf{}), "cannot be verified"},
		{"for clients only", "localhost", good, good.config(leaf{edit: func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}}), "cannot be verified"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			onBothPorts(t, func(t *testing.T, mode submission.TLSMode) {
				s := newServer(t, mode, nil)
				s.tls = tt.config
				r := s.start().relay()
				r.Host, r.RootCAs = tt.host, nil
				if tt.roots != nil {
					r.RootCAs = tt.roots.pool()
				}
				_, err := submit(s.clientOf(r))
				e := failure(t, err)
				if e.Phase != submission.PhaseTLS || e.Scope != submission.ScopeRelay || !e.Permanent || !strings.Contains(e.Error(), tt.want) {
					t.Errorf("got %v of scope %s, want %q", e, e.Scope, tt.want)
				}
				s.stop()
				s.checkNothingInClear()
				for _, c := range s.commands {
					if !strings.HasPrefix(c, "EHLO") && c != "STARTTLS" {
						t.Errorf("the server was told %q", c)
					}
				}
			})
		})
	}
}

func TestTLS_GoodCertificates(t *testing.T) {
	good := authority()
	between := newCA(good, nil)
	for name, config := range map[string]*tls.Config{
		"by the CA": good.config(leaf{}), "with an intermediate": between.config(leaf{}, between),
	} {
		for _, host := range []string{"localhost", "127.0.0.1"} {
			s := newServer(t, submission.StartTLS, nil)
			s.tls = config
			r := s.start().relay()
			r.Host = host
			if _, err := submit(s.clientOf(r)); err != nil {
				t.Errorf("%s for %s: %v", name, host, err)
			}
		}
	}
}

func TestTLS_Versions(t *testing.T) {
	onBothPorts(t, func(t *testing.T, mode submission.TLSMode) {
		for version, ok := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
			s := newServer(t, mode, nil)
			s.tls.MinVersion, s.tls.MaxVersion = version, version
			receipt, err := submit(s.start().client())
			switch {
			case ok && (err != nil || receipt.TLSVersion != tls.VersionName(version)):
				t.Errorf("%s: %s, %v", tls.VersionName(version), receipt.TLSVersion, err)
			case !ok:
				e := failure(t, err)
				if e.Phase != submission.PhaseTLS || e.Permanent || e.Pause() != submission.PauseShort || !strings.Contains(e.Error(), "TLS 1.2") {
					t.Errorf("%s: got %v, want that it is too old", tls.VersionName(version), e)
				}
				s.stop()
				s.checkNothingInClear()
			}
		}
	})
}

// TestTLS_WrongMode talks implicit TLS to a server that wants STARTTLS, and the other way round:
// the error says how to fix it.
func TestTLS_WrongMode(t *testing.T) {
	s := newServer(t, submission.StartTLS, nil).start()
	r := s.relay()
	r.TLS = submission.ImplicitTLS
	_, err := submit(s.clientOf(r))
	if e := failure(t, err); e.Phase != submission.PhaseTLS || !strings.Contains(e.Error(), "another mode than implicit TLS") {
		t.Errorf("got %v", e)
	}
	s.stop()
	s.checkNothingInClear()

	s = newServer(t, submission.ImplicitTLS, nil).start()
	r = s.relay()
	r.TLS, r.Timeouts.Command = submission.StartTLS, impatient
	_, err = submit(s.clientOf(r))
	if e := failure(t, err); e.Phase != submission.PhaseGreeting || !strings.Contains(e.Error(), "implicit TLS") {
		t.Errorf("got %v", e)
	}
	s.stop()
	s.checkNothingInClear()
}

// TestEHLO_InClearIsForgotten has a server that offers in clear what it does not offer inside TLS.
func TestEHLO_InClearIsForgotten(t *testing.T) {
	s := newServer(t, submission.StartTLS, map[string]string{
		"clear-ehlo": `250-test.example\r\n250-STARTTLS\r\n250-PIPELINING\r\n250-SIZE 1\r\n250 AUTH PLAIN`,
	})
	s.ehlo = `AUTH LOGIN`
	c := s.start().client()
	info, err := c.Check(context.Background())
	if err != nil || info.Auth != "LOGIN" || info.Pipelining || info.MaxSize != 0 {
		t.Errorf("got %+v, %v, want what was offered inside TLS", info, err)
	}
}
