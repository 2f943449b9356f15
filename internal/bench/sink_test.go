package bench_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"runtime/debug"
	"testing"
	"time"

	"github.com/redis/go-redis/v9/logging"
)

const sinkVariable = "SECUREMAIL_BENCH_SINK"

func TestMain(m *testing.M) {
	debug.SetGCPercent(400) // as in cmd/worker; the baselines get the same
	if os.Getenv(sinkVariable) != "" {
		serveSink()
		return
	}
	logging.Disable() // go-redis would log lost connections between the figures
	os.Exit(m.Run())
}

// sink is a receiving server in a separate process.
type sink struct {
	ImplicitPort, StartTLSPort int
	Certificate                []byte // PEM

	pid int
}

// startSink starts this test program again as the receiving server.
func startSink(t testing.TB) *sink {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), sinkVariable+"=1")
	cmd.Stderr = os.Stderr
	hold, err := cmd.StdinPipe() // closes when this process ends in any way, and then the sink ends
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		hold.Close()
		cmd.Wait()
	})
	s := &sink{pid: cmd.Process.Pid}
	if err := json.NewDecoder(out).Decode(s); err != nil {
		t.Fatalf("the receiving server did not start: %v", err)
	}
	return s
}

func (s *sink) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.Certificate)
	return pool
}

// serveSink is the main function of the sink. It prints its ports and its certificate, and ends
// when its standard input closes.
func serveSink() {
	certificate, encoded := selfSigned()
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	implicit, startTLS := listen(), listen()
	go accept(implicit, func(c net.Conn) { converse(tls.Server(c, config), nil) })
	go accept(startTLS, func(c net.Conn) { converse(c, config) })
	json.NewEncoder(os.Stdout).Encode(sink{ImplicitPort: port(implicit), StartTLSPort: port(startTLS), Certificate: encoded})
	io.Copy(io.Discard, os.Stdin)
}

func listen() net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	return l
}

func port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

func accept(l net.Listener, serve func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			panic(err)
		}
		go serve(c)
	}
}

// converse is a submission server that accepts everything. It knows enough SMTP for a correct
// client. With config it offers STARTTLS first. It writes replies when it has read all commands
// that have arrived, so it answers pipelined commands in one write.
func converse(c net.Conn, config *tls.Config) {
	defer c.Close()
	r, w := bufio.NewReaderSize(c, 32<<10), bufio.NewWriter(c)
	w.WriteString("220 sink.example.com\r\n")
	for {
		if r.Buffered() == 0 {
			if w.Flush() != nil {
				return
			}
		}
		line, err := r.ReadSlice('\n')
		if err != nil || len(line) < 4 {
			return
		}
		switch string(bytes.ToUpper(line[:4])) {
		case "EHLO":
			w.WriteString("250-sink.example.com\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n")
			if config != nil {
				w.WriteString("250 STARTTLS\r\n")
			} else {
				w.WriteString("250 AUTH PLAIN\r\n")
			}
		case "STAR":
			w.WriteString("220 go ahead\r\n")
			w.Flush()
			c = tls.Server(c, config)
			r, w, config = bufio.NewReaderSize(c, 32<<10), bufio.NewWriter(c), nil
		case "AUTH":
			w.WriteString("235 2.7.0 welcome\r\n")
		case "DATA":
			w.WriteString("354 go ahead\r\n")
			w.Flush()
			for err == nil && string(line) != ".\r\n" {
				line, err = r.ReadSlice('\n')
			}
			w.WriteString("250 2.0.0 Ok: queued as 4bRzXk2Vw1z9sT\r\n")
		case "QUIT":
			w.WriteString("221 2.0.0 bye\r\n")
			w.Flush()
			return
		default:
			w.WriteString("250 2.1.0 Ok\r\n")
		}
	}
}

// selfSigned returns a self-signed certificate for 127.0.0.1, also in PEM form.
func selfSigned() (tls.Certificate, []byte) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sink"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
