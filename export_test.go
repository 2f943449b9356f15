package securemail_test

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// exportFixture is a fixture between whose Export and Redis a reply can be lost or late.
type exportFixture struct {
	*fixture
	lose atomic.Bool                   // the replies to the script are lost
	late atomic.Pointer[chan struct{}] // the first one is read only when the channel is closed
	ran  chan struct{}                 // has something when Redis has answered
}

func newExportFixture(t *testing.T) *exportFixture {
	server := testserver.StartRedis(t, "--appendfsync", "no")
	h := &exportFixture{ran: make(chan struct{}, 10)}
	rdb := redis.NewClient(&redis.Options{MaxRetries: -1, DisableIdentity: true, ContextTimeoutEnabled: true,
		Username: testserver.Producer, Password: testserver.RedisPassword,
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			conn, err := net.Dial("unix", server.Client.Options().Addr)
			return &exportConn{Conn: conn, h: h}, err
		}})
	t.Cleanup(func() { rdb.Close() })
	h.fixture = fixtureOver(t, server.Client, rdb)
	// Redis knows the script then, so that the first call is the one that exports.
	warm, _ := h.activeTOTP("warm-up")
	h.client.Export(t.Context(), warm.Ref)
	return h
}

type exportConn struct {
	net.Conn
	h      *exportFixture
	export bool // the next reply is that of the script
}

func (c *exportConn) Write(b []byte) (int, error) {
	c.export = bytes.Contains(b, []byte("}:export"))
	return c.Conn.Write(b)
}

func (c *exportConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if !c.export {
		return n, err
	}
	if c.h.lose.Load() {
		c.h.ran <- struct{}{}
		c.Conn.Close()
		return 0, &net.OpError{Op: "read", Net: "unix", Err: syscall.ECONNRESET}
	}
	if late := c.h.late.Swap(nil); late != nil {
		c.h.ran <- struct{}{}
		<-*late
	}
	return n, err
}

// exported is the result of an Export that must be right.
func (h *exportFixture) exported(ctx context.Context, a answer) tasks.Exported {
	h.Helper()
	e, err := h.client.Export(ctx, a.Ref)
	if err != nil || e.Secret != strings.ReplaceAll(a.Typed, " ", "") || e.LastStep != time.Now().Unix()/30-1 {
		h.Errorf("export: got %v and step %d, want the secret and the step of the first code", err, e.LastStep)
	}
	return e
}

// TestExport_ALostReplyLosesNoSecret: an Export whose reply was late destroyed the person's authenticator, whose secret nobody
// had any more.
func TestExport_ALostReplyLosesNoSecret(t *testing.T) {
	h := newExportFixture(t)
	a, _ := h.activeTOTP("sign-in")
	h.lose.Store(true)
	if e, err := h.client.Export(t.Context(), a.Ref); err == nil || e != (tasks.Exported{}) {
		t.Errorf("where every reply is lost: got %v, want an error and no secret", err)
	}
	h.lose.Store(false)
	if len(h.ran) == 0 || h.credential(a.ID) != tasks.CredentialExported {
		t.Fatalf("%d replies were lost, and the secret is %s; want some, and exported", len(h.ran), h.credential(a.ID))
	}
	// Whether the application has got the secret is not known here: there must never be two that check codes.
	code := authenticator{t, a.Typed}.code(0)
	if got := h.verify(a, code); got != "rejected" {
		t.Errorf("a code meanwhile: got %s, want rejected", got)
	}
	if first, second := h.exported(t.Context(), a), h.exported(t.Context(), a); first != second {
		t.Error("two calls after it returned different secrets")
	}
	if got := h.verify(a, code); got != "rejected" {
		t.Errorf("a code after it: got %s, want rejected", got)
	}

	// After ten minutes the secret is gone, in all that Redis has.
	kept := "securemail:{" + a.ID + "}:export"
	sealed, life := h.redis.Get(t.Context(), kept).Val(), h.redis.PTTL(t.Context(), kept).Val()
	if sealed == "" || life <= 9*time.Minute || life > 10*time.Minute {
		t.Errorf("the secret stays for %v, want 10 minutes", life)
	}
	h.must(h.redis.PExpireAt(t.Context(), kept, time.Now().Add(-time.Minute)).Err())
	if _, err := h.client.Export(t.Context(), a.Ref); resultOf(err) != "rejected" {
		t.Errorf("after ten minutes: got %v, want rejected", err)
	}
	for field, value := range h.redis.HGetAll(t.Context(), "securemail:{"+a.ID+"}").Val() {
		if strings.Contains(value, sealed) {
			t.Errorf("after ten minutes the record has the secret in %s", field)
		}
	}
}

// TestExport_EndsWhatItBeganWhenItsContextEnds while the script runs.
func TestExport_EndsWhatItBeganWhenItsContextEnds(t *testing.T) {
	h := newExportFixture(t)
	a, _ := h.activeTOTP("sign-in")
	ctx, hangUp := context.WithCancel(t.Context())
	late := make(chan struct{})
	h.late.Store(&late)
	go func() {
		<-h.ran
		hangUp()
		close(late)
	}()
	first := h.exported(ctx, a)
	if ctx.Err() == nil || h.credential(a.ID) != tasks.CredentialExported {
		t.Error("the context did not end after the script had run")
	}
	if again := h.exported(t.Context(), a); again != first {
		t.Error("a second call returned another secret")
	}
	// One that ends before changes nothing.
	b, _ := h.activeTOTP("recovery")
	if _, err := h.client.Export(ctx, b.Ref); err == nil || h.credential(b.ID) != tasks.CredentialActive {
		t.Errorf("with a context that had ended: got %v, and the secret is %s, want active", err, h.credential(b.ID))
	}
	if got := h.verify(b, authenticator{t, b.Typed}.code(0)); got != "right" {
		t.Errorf("a code after that: got %s, want right", got)
	}
}
