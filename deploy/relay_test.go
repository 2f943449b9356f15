package deploy_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

const (
	relayName = "relay.test"
	relayUser = "no-reply@example.com"
	// A shell, a .env file and a compose file would each read this password differently.
	relayPassword = `pa ss$w${HOME}"o'rd#%ü\`
)

// relay is a submission server on the host, with implicit TLS on one port and STARTTLS on the
// other. It accepts mail only inside TLS and after AUTH.
type relay struct {
	certificate                []byte // in PEM form, for the worker to trust
	implicitPort, startTLSPort string

	mu         sync.Mutex
	recipients []string // of the accepted mails
}

func startRelay(t *testing.T, ip string) *relay {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: relayName}, DNSNames: []string{relayName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	r.implicitPort = r.serve(t, ip, config, true)
	r.startTLSPort = r.serve(t, ip, config, false)
	return r
}

func (r *relay) serve(t *testing.T, ip string, config *tls.Config, implicit bool) (port string) {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatalf("the containers reach the host at %s, where this test must be able to listen: %v", ip, err)
	}
	port = strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{relay: r}, nil }))
	server.Domain = relayName
	if implicit {
		listener = tls.NewListener(listener, config)
	} else {
		server.TLSConfig = config
	}
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(listener) })
	t.Cleanup(func() {
		server.Close()
		serving.Wait()
	})
	return port
}

// took returns how many mails to a recipient the relay has accepted.
func (r *relay) took(recipient string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.recipients {
		if one == recipient {
			n++
		}
	}
	return n
}

type session struct {
	relay    *relay
	loggedIn bool
	to       string
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != relayUser || password != relayPassword {
			return errors.New("wrong user name or password")
		}
		s.loggedIn = true
		return nil
	}), nil
}

func (s *session) Mail(string, *smtp.MailOptions) error {
	if !s.loggedIn {
		return smtp.ErrAuthRequired
	}
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	return nil
}

func (s *session) Data(body io.Reader) error {
	if _, err := io.Copy(io.Discard, body); err != nil {
		return err
	}
	s.relay.mu.Lock()
	defer s.relay.mu.Unlock()
	s.relay.recipients = append(s.relay.recipients, s.to)
	return nil
}

func (s *session) Reset() {}

func (s *session) Logout() error { return nil }
