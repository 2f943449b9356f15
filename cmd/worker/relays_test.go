package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"example.com/securemail/internal/dev"
	"example.com/securemail/internal/harness"
	"example.com/securemail/internal/testserver"
)

// startDevRelay starts the servers of `worker dev` without a worker, and puts Redis and the relay
// into the settings. The relay's authority is in ca.pem, its ports are in $SMTPS_PORT and
// $SUBMISSION_PORT, and its inbox is in $INBOX.
func startDevRelay(ts *testscript.TestScript, _ bool, _ []string) {
	free := "127.0.0.1:0"
	env, err := dev.Start(context.Background(), dev.Options{RedisAddr: free, SMTPSAddr: free, SubmissionAddr: free, InboxAddr: free})
	ts.Check(err)
	ts.Defer(func() { env.Close() })
	conn, err := tls.Dial("tcp", env.SMTPSAddr(), &tls.Config{RootCAs: env.RootCAs()})
	ts.Check(err)
	conn.Close()
	chain := conn.ConnectionState().VerifiedChains[0]
	writeCA(ts, chain[len(chain)-1].Raw)
	ts.Setenv("SMTPS_PORT", portOf(env.SMTPSAddr()))
	ts.Setenv("SUBMISSION_PORT", portOf(env.SubmissionAddr()))
	ts.Setenv("INBOX", env.InboxURL())
	ts.Setenv("SECUREMAIL_REDIS_URL", "redis://"+env.RedisAddr())
	ts.Setenv("SECUREMAIL_SMTP_HOST", "127.0.0.1")
	ts.Setenv("SECUREMAIL_SMTP_PORT", portOf(env.SMTPSAddr()))
	ts.Setenv("SECUREMAIL_SMTP_TLS", "implicit")
	ts.Setenv("SECUREMAIL_SMTP_USERNAME", env.Username())
	ts.Setenv("SECUREMAIL_SMTP_PASSWORD", env.Password().Reveal())
}

// startPostfix starts a real Postfix as the relay of the settings, and puts its ports into
// $SMTPS_PORT and $SUBMISSION_PORT.
func startPostfix(ts *testscript.TestScript, _ bool, _ []string) {
	p := testserver.StartPostfix(ts.Value("t").(testing.TB))
	ts.Value("env").(*testscript.Env).Values["postfix"] = p
	ts.Setenv("SMTPS_PORT", strconv.Itoa(p.SMTPSPort))
	ts.Setenv("SUBMISSION_PORT", strconv.Itoa(p.SubmissionPort))
	ts.Setenv("SECUREMAIL_SMTP_HOST", "localhost")
	ts.Setenv("SECUREMAIL_SMTP_USERNAME", p.Username)
	ts.Setenv("SECUREMAIL_SMTP_PASSWORD", p.Password)
	ts.Setenv("SECUREMAIL_SMTP_CA_FILE", p.CAFile())
}

// delivered N waits until Postfix has delivered N mails, and prints them.
func delivered(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	mails := ts.Value("postfix").(*testserver.Postfix).WaitMails(n)
	if len(mails) != n {
		ts.Fatalf("%d mails were delivered, want %d", len(mails), n)
	}
	ts.Stdout().Write(bytes.Join(mails, nil))
}

// oldRelay is a server without STARTTLS. It accepts every command, and keeps every byte that it
// reads.
type oldRelay struct {
	sync.Mutex
	bytes.Buffer
}

func (r *oldRelay) Write(p []byte) (int, error) {
	r.Lock()
	defer r.Unlock()
	return r.Buffer.Write(p)
}

// startOldRelay starts an oldRelay as the relay of the settings, with a login. With the argument
// tls it speaks TLS from the first byte. Its certificate, in ca.pem, then names another host than
// the settings.
func startOldRelay(ts *testscript.TestScript, _ bool, args []string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	relay := new(oldRelay)
	serve := func(conn net.Conn) { relay.talk(conn) }
	if len(args) > 0 {
		cert := certificate(ts, "mail.example.org")
		writeCA(ts, cert.Certificate[0])
		serve = func(conn net.Conn) { relay.talk(tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}})) }
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.SetDeadline(time.Now().Add(harness.ScriptTime))
			serving.Go(func() { serve(conn) })
		}
	})
	ts.Defer(func() { listener.Close(); serving.Wait() })
	ts.Value("env").(*testscript.Env).Values["old-relay"] = relay
	ts.Setenv("SECUREMAIL_SMTP_HOST", "127.0.0.1")
	ts.Setenv("SECUREMAIL_SMTP_PORT", portOf(listener.Addr().String()))
	ts.Setenv("SECUREMAIL_SMTP_USERNAME", "canary-user")
	ts.Setenv("SECUREMAIL_SMTP_PASSWORD", "canary-password")
}

// talk accepts every command, AUTH in clear too, so that a careless client would send its login and
// its mail.
func (r *oldRelay) talk(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewScanner(io.TeeReader(conn, r))
	fmt.Fprint(conn, "220 old.example.com ESMTP\r\n")
	for in.Scan() {
		switch verb, _, _ := strings.Cut(strings.ToUpper(in.Text()), " "); verb {
		case "EHLO":
			fmt.Fprint(conn, "250-old.example.com\r\n250 AUTH PLAIN LOGIN\r\n")
		case "AUTH":
			fmt.Fprint(conn, "235 2.7.0 Welcome\r\n")
		case "QUIT":
			fmt.Fprint(conn, "221 2.0.0 Bye\r\n")
			return
		default:
			fmt.Fprint(conn, "250 2.0.0 Ok\r\n")
		}
	}
}

// received prints what the old relay has read. That must not hold the user name or the password in
// any usual encoding.
func received(ts *testscript.TestScript, _ bool, _ []string) {
	relay := ts.Value("old-relay").(*oldRelay)
	relay.Lock()
	defer relay.Unlock()
	if relay.Len() == 0 {
		ts.Fatalf("no client connected")
	}
	for _, secret := range []string{"canary-user", "canary-password", "\x00canary-user\x00canary-password"} {
		for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))} {
			if bytes.Contains(relay.Bytes(), []byte(form)) {
				ts.Fatalf("the relay has read the login: %q", relay.Bytes())
			}
		}
	}
	ts.Stdout().Write(relay.Bytes())
}

// certificate returns a self-signed certificate for name.
func certificate(ts *testscript.TestScript, name string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	ts.Check(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func writeCA(ts *testscript.TestScript, der []byte) {
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	ts.Check(os.WriteFile(filepath.Join(ts.MkAbs("."), "ca.pem"), block, 0o600))
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr) // a listener's address always has one
	return port
}
