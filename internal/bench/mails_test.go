package bench_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skip2/go-qrcode"

	"example.com/securemail/internal/harness"
	"example.com/securemail/internal/mailaddr"
	"example.com/securemail/internal/message"
	"example.com/securemail/internal/submission"
	"example.com/securemail/tasks"
)

// BenchmarkMails measures three rates with the same backlog: asynq with an empty handler, a bare
// TLS client, and the worker. The ratios are the worker's rate to each of the others.
func BenchmarkMails(b *testing.B) {
	s := startSink(b)
	for _, c := range []struct {
		kind  tasks.Kind
		port  int
		mode  submission.TLSMode
		fsync string
		mails int
	}{
		{tasks.Key, 465, submission.ImplicitTLS, "everysec", 6000},
		{tasks.Key, 465, submission.ImplicitTLS, "always", 3000},
		{tasks.Key, 587, submission.StartTLS, "everysec", 3000},
		{tasks.Code, 465, submission.ImplicitTLS, "everysec", 3000},
		{tasks.TOTP, 465, submission.ImplicitTLS, "everysec", 3000},
	} {
		b.Run(fmt.Sprintf("%s-%d-%s", c.kind, c.port, c.fsync), func(b *testing.B) {
			var noop, bare, ours, matrix time.Duration
			var noopCPU, cpu usage
			for b.Loop() {
				took, used := drainNoop(b, s, c.fsync, c.kind, c.mails, 1)
				noop, noopCPU = noop+took, noopCPU.plus(used)
				bare += bareTLS(b, s, c.mode, c.kind, c.mails)
				if c.kind == tasks.TOTP {
					matrix += matrixTime(b)
				}
				took, used = drainOurs(b, s, c.mode, c.fsync, c.kind, c.mails, 1)
				ours, cpu = ours+took, cpu.plus(used)
			}
			n := float64(c.mails * b.N)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(n/ours.Seconds(), "mails/s")
			b.ReportMetric(n/noop.Seconds(), "asynq/s")
			b.ReportMetric(noop.Seconds()/ours.Seconds(), "of-asynq")
			b.ReportMetric(n/bare.Seconds(), "tls/s")
			b.ReportMetric(bare.Seconds()/ours.Seconds(), "of-tls")
			b.ReportMetric(noopCPU.each(n), "asynq-µs/mail")
			b.ReportMetric(cpu.each(n), "all-µs/mail")
			b.ReportMetric(noopCPU.each(n)/cpu.each(n), "of-asynq-cpu")
			b.ReportMetric(cpu.worker.Seconds()*1e6/n, "worker-µs/mail")
			b.ReportMetric(cpu.redis.Seconds()*1e6/n, "redis-µs/mail")
			b.ReportMetric(cpu.sink.Seconds()*1e6/n, "sink-µs/mail")
			if c.kind == tasks.TOTP {
				limit := float64(runtime.NumCPU()*b.N) / matrix.Seconds()
				b.ReportMetric(limit, "matrix/s")
				b.ReportMetric(n/ours.Seconds()/limit, "of-matrix")
			}
		})
	}
}

// composed returns a mail as the worker composes it.
func composed(t testing.TB, kind tasks.Kind) message.Content {
	t.Helper()
	m, err := message.Sample(harness.Sender(t), mailaddr.Address{}, product, kind, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// bareTLS submits one finished message to the sink n times. It uses as many connections as the
// worker, and pipelines commands.
func bareTLS(t testing.TB, s *sink, mode submission.TLSMode, kind tasks.Kind, n int) time.Duration {
	t.Helper()
	text, err := message.Compose(composed(t, kind))
	if err != nil {
		t.Fatal(err)
	}
	body := append(text, ".\r\n"...)
	config := &tls.Config{RootCAs: s.roots(), ServerName: "127.0.0.1", DynamicRecordSizingDisabled: true}
	var next atomic.Int64
	var loops sync.WaitGroup
	begun := time.Now()
	for range min(connections, n) {
		loops.Go(func() {
			c := &bareClient{s.relay(mode), nil, nil}
			defer c.dial(t, config).Close()
			for next.Add(1) <= int64(n) {
				c.say(t, "MAIL FROM:<no-reply@example.com>\r\nRCPT TO:<alice@example.com>\r\nDATA\r\n", 3)
				c.say(t, string(body), 1)
			}
			c.say(t, "QUIT\r\n", 1)
		})
	}
	loops.Wait()
	return time.Since(begun)
}

// bareClient is the smallest SMTP client for a server that accepts everything.
type bareClient struct {
	relay submission.Relay
	conn  net.Conn
	r     *bufio.Reader
}

func (c *bareClient) dial(t testing.TB, config *tls.Config) net.Conn {
	var err error
	if c.conn, err = net.Dial("tcp", net.JoinHostPort(c.relay.Host, strconv.Itoa(c.relay.Port))); err != nil {
		t.Error(err)
		runtime.Goexit()
	}
	c.r = bufio.NewReader(c.conn)
	if c.relay.TLS == submission.StartTLS {
		c.say(t, "", 1)
		c.say(t, "EHLO localhost\r\n", 5)
		c.say(t, "STARTTLS\r\n", 1)
	}
	c.conn = tls.Client(c.conn, config)
	c.r = bufio.NewReader(c.conn)
	if c.relay.TLS == submission.ImplicitTLS {
		c.say(t, "", 1)
	}
	c.say(t, "EHLO localhost\r\n", 5)
	c.say(t, "AUTH PLAIN AHVzZXIAcGFzc3dvcmQ=\r\n", 1)
	return c.conn
}

// say writes text and reads as many reply lines.
func (c *bareClient) say(t testing.TB, text string, replies int) {
	_, err := c.conn.Write([]byte(text))
	for range replies {
		line, readErr := c.r.ReadSlice('\n')
		if err != nil || readErr != nil || line[0] > '3' {
			t.Errorf("the sink refused: %q, %v, %v", line, err, readErr)
			runtime.Goexit()
		}
	}
}

// matrixTime returns how long go-qrcode takes for the matrix of one TOTP mail's key URI, on one
// core.
func matrixTime(t testing.TB) time.Duration {
	t.Helper()
	uri := composed(t, tasks.TOTP).URI.Reveal()
	const rounds = 300
	begun := time.Now()
	for range rounds {
		q, err := qrcode.New(uri, qrcode.Medium)
		if err != nil {
			t.Fatal(err)
		}
		q.Bitmap()
	}
	return time.Since(begun) / rounds
}

// Every part of the benchmarks handles one mail, so that a change cannot break them unnoticed.
func TestBench_RunsEachPart(t *testing.T) {
	s := startSink(t)
	for _, mode := range []submission.TLSMode{submission.ImplicitTLS, submission.StartTLS} {
		bareTLS(t, s, mode, tasks.Key, 1)
		drainOurs(t, s, mode, "everysec", tasks.TOTP, 1, 1)
	}
	drainNoop(t, s, "everysec", tasks.Code, 1, 1)
	if matrixTime(t) <= 0 {
		t.Error("a matrix took no time")
	}
	h := newVerifier(t, "unix")
	a := h.answer(t)
	if err := h.client.Verify(context.Background(), a.Ref, a.typed); err != nil {
		t.Error(err)
	}
	h.ask(t, h.questions(t, 1))
	if !strings.Contains(string(s.Certificate), "CERTIFICATE") {
		t.Error("the sink has no certificate")
	}
}
