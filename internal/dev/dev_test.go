package dev_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"example.com/securemail/internal/dev"
)

// TestMain fails when any test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// anyPorts lets tests run in parallel, and beside a real environment.
var anyPorts = dev.Options{
	RedisAddr: "127.0.0.1:0", SMTPSAddr: "127.0.0.1:0", SubmissionAddr: "127.0.0.1:0", InboxAddr: "127.0.0.1:0",
}

func start(t testing.TB) *dev.Env {
	t.Helper()
	env, err := dev.Start(context.Background(), anyPorts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return env
}

// within returns a context that ends after d.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestRedis_ExpiresKeys(t *testing.T) {
	t.Parallel()
	env := start(t)
	client := redis.NewClient(&redis.Options{Addr: env.RedisAddr()})
	defer client.Close()
	ctx := within(t, 10*time.Second)
	set := time.Now()
	if err := client.Set(ctx, "lock", "held", 300*time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	if err := client.Set(ctx, "kept", "yes", 0).Err(); err != nil {
		t.Fatal(err)
	}
	for {
		n, err := client.Exists(ctx, "lock").Result()
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if lived := time.Since(set); lived < 240*time.Millisecond {
		t.Errorf("a key of 300ms lived %v", lived)
	}
	if got := client.Get(ctx, "kept").Val(); got != "yes" {
		t.Errorf("a key without time to live: got %q, want %q", got, "yes")
	}
}

// With miniredis's own Close alone, a running INFO would use a server that is gone.
func TestClose_EndsRunningRedisCommands(t *testing.T) {
	t.Parallel()
	env := start(t)
	client := redis.NewClient(&redis.Options{Addr: env.RedisAddr(), MaxRetries: -1})
	defer client.Close()
	const clients = 8
	began, ended := make(chan struct{}, clients), make(chan struct{}, clients)
	for range clients {
		go func() {
			defer func() { ended <- struct{}{} }()
			for first := true; ; first = false {
				err := client.Info(context.Background()).Err()
				if first {
					began <- struct{}{}
				}
				if err != nil {
					return
				}
			}
		}()
	}
	for range clients {
		<-began
	}
	if err := env.Close(); err != nil {
		t.Error(err)
	}
	for range clients {
		<-ended
	}
}

func TestStart_UsesTheNextPortIfTheDefaultIsInUse(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		standard string
		choose   func(*dev.Options)
		addr     func(*dev.Env) string
	}{
		"redis":      {"127.0.0.1:6379", func(o *dev.Options) { o.RedisAddr = "" }, (*dev.Env).RedisAddr},
		"smtps":      {"127.0.0.1:1465", func(o *dev.Options) { o.SMTPSAddr = "" }, (*dev.Env).SMTPSAddr},
		"submission": {"127.0.0.1:1587", func(o *dev.Options) { o.SubmissionAddr = "" }, (*dev.Env).SubmissionAddr},
		"inbox": {"127.0.0.1:8025", func(o *dev.Options) { o.InboxAddr = "" }, func(e *dev.Env) string {
			return strings.TrimPrefix(e.InboxURL(), "http://")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// On an error the port is in use already, which is fine too.
			if l, err := net.Listen("tcp", c.standard); err == nil {
				defer l.Close()
			}
			o := anyPorts
			c.choose(&o)
			env, err := dev.Start(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer env.Close()
			if c.addr(env) == c.standard {
				t.Errorf("got %s, which is taken", c.standard)
			}
			conn, err := net.Dial("tcp", c.addr(env))
			if err != nil {
				t.Fatalf("nothing answers at %s: %v", c.addr(env), err)
			}
			conn.Close()
		})
	}
}

func TestStart_RefusesInvalidAddresses(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() }) // after the parallel tests below have ended
	options := map[string]func(addr string) dev.Options{
		"redis":      func(a string) dev.Options { o := anyPorts; o.RedisAddr = a; return o },
		"smtps":      func(a string) dev.Options { o := anyPorts; o.SMTPSAddr = a; return o },
		"submission": func(a string) dev.Options { o := anyPorts; o.SubmissionAddr = a; return o },
		"inbox":      func(a string) dev.Options { o := anyPorts; o.InboxAddr = a; return o },
	}
	addresses := []string{
		taken.Addr().String(), "0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:2525", "example.com:25", "127.0.0.1", "127.0.0.1:x",
	}
	for name, option := range options {
		for _, addr := range addresses {
			t.Run(name+" "+addr, func(t *testing.T) {
				t.Parallel()
				env, err := dev.Start(context.Background(), option(addr))
				if err == nil {
					env.Close()
					t.Fatalf("started on %q", addr)
				}
				if !strings.Contains(err.Error(), addr) {
					t.Errorf("the error does not name %q: %v", addr, err)
				}
			})
		}
	}
}

func TestWait_ReturnsTheFirstMatchingMail(t *testing.T) {
	t.Parallel()
	env := start(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := env.Wait(ctx, func(dev.Message) bool { return true }); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait in an empty inbox: got %v, want context.Canceled", err)
	}
	found := make(chan string)
	go func() {
		m, err := env.Wait(context.Background(), func(m dev.Message) bool { return m.To == "third@example.com" })
		found <- fmt.Sprint(m.To, err)
	}()
	c := login(t, env, "smtps")
	for _, to := range []string{"first", "second", "third"} {
		if err := send(c, to+"@example.com", "Subject: x\r\n\r\nx\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := <-found, "third@example.com<nil>"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// At Close, there is a client in every state that could keep a goroutine running.
func TestClose_EndsEveryGoroutine(t *testing.T) {
	before := goleak.IgnoreCurrent()
	env := start(t)
	var conns []net.Conn
	dial := func(addr string) net.Conn {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		return conn
	}
	for _, addr := range []string{env.RedisAddr(), env.SMTPSAddr(), env.SubmissionAddr(), strings.TrimPrefix(env.InboxURL(), "http://")} {
		dial(addr) // sends nothing, not even a TLS hello
	}
	fmt.Fprint(dial(env.RedisAddr()), "*3\r\n$5\r\nBLPOP\r\n$5\r\nnever\r\n$1\r\n0\r\n")
	fmt.Fprint(dial(env.RedisAddr()), "*2\r\n$9\r\nSUBSCRIBE\r\n$5\r\nnever\r\n")
	for _, port := range []string{"smtps", "submission"} {
		login(t, env, port) // idle between mails
		half := begin(t, login(t, env, port), "alice@example.com")
		write(t, half, "Subject: half a mail\r\n")
		chunk := envelope(t, login(t, env, port), "alice@example.com")
		write(t, chunk, "BDAT 4\r\nhalf")
		if _, _, err := chunk.Text.ReadResponse(250); err != nil {
			t.Fatal(err)
		}
		hang := begin(t, login(t, env, port), "alice+timeout@example.com")
		write(t, hang, "Subject: never answered\r\n\r\n.\r\n")
		slow := begin(t, login(t, env, port), "alice+slow@example.com")
		write(t, slow, "Subject: slow "+port+"\r\n\r\n.\r\n")
		if _, err := env.Wait(within(t, 10*time.Second), func(m dev.Message) bool { return m.Subject == "slow "+port }); err != nil {
			t.Fatal(err)
		}
	}
	web := &http.Transport{}
	if reply, err := (&http.Client{Transport: web}).Get(env.InboxURL()); err != nil {
		t.Fatal(err)
	} else {
		reply.Body.Close()
	}
	began := time.Now()
	if err := env.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("Close took %v", took)
	}
	if err := env.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	web.CloseIdleConnections()
	goleak.VerifyNone(t, before)
	for _, conn := range conns {
		conn.Close()
	}
}
