package admin_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/securemail/internal/admin"
)

// Serve ends in whatever state its clients are. TestMain checks that no goroutine is left.
func TestServe_EndsWhateverClientsDo(t *testing.T) {
	for _, test := range []struct {
		name  string
		sends string
	}{
		{"a silent connection", ""}, // browsers open some in advance
		{"half a request", "GET /livez HTTP/1.1\r\n"},
		{"an idle connection", "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, nil, nil)
			conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, test.sends); err != nil {
				t.Fatal(err)
			}
			answers := bufio.NewReader(conn)
			if strings.HasSuffix(test.sends, "\r\n\r\n") {
				if _, err := http.ReadResponse(answers, nil); err != nil {
					t.Fatal(err)
				}
			}
			r.get(t, "/livez") // the server has accepted the connection above, which is older
			begun := time.Now()
			if err := r.stop(); err != nil {
				t.Errorf("Serve: %v", err)
			}
			if took := time.Since(begun); took > 4*time.Second {
				t.Errorf("Serve returned %v after its context ended", took)
			}
			if _, err := io.Copy(io.Discard, answers); err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the connection is not closed: %v", err)
			}
			if _, err := net.Dial("tcp", conn.RemoteAddr().String()); err == nil {
				t.Error("the port is still open")
			}
		})
	}
}

// A request that ends in time gets its response, and no request outlives Serve.
func TestServe_WaitsForRequests(t *testing.T) {
	for name, inTime := range map[string]bool{"in time": true, "too late": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked, release := make(chan struct{}), make(chan struct{})
			r := start(t, nil, func(c *admin.Config) {
				c.Ready = func() error {
					close(asked)
					<-release
					return nil
				}
			})
			answered := make(chan error, 1)
			go func() {
				answer, err := r.http.Get(r.url + "/readyz")
				if err == nil {
					answer.Body.Close()
				}
				answered <- err
			}()
			<-asked
			stopped := make(chan error, 1)
			go func() { stopped <- r.stop() }()
			if inTime {
				waitClosed(t, strings.TrimPrefix(r.url, "http://"))
				close(release)
				if err := <-answered; err != nil {
					t.Errorf("the running request: %v", err)
				}
			} else {
				if err := <-answered; err == nil {
					t.Error("the hanging request got a response")
				}
				select {
				case <-stopped:
					t.Fatal("Serve returned before its handler did")
				default:
				}
				close(release)
			}
			if err := <-stopped; err != nil {
				t.Errorf("Serve: %v", err)
			}
		})
	}
}

// waitClosed waits until nobody listens on addr.
func waitClosed(t *testing.T, addr string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("the port stays open")
		}
	}
}
