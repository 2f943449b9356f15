package securemail_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// lossy returns a client whose connections break now and then, mostly after the server has run a
// command and before the reply is read. go-redis then repeats the command on another connection.
// losses counts the lost replies.
func lossy(t *testing.T, server *testserver.Redis) (rdb *redis.Client, losses *atomic.Int64) {
	t.Helper()
	losses = new(atomic.Int64)
	rdb = redis.NewClient(&redis.Options{MaxRetries: 100, MinRetryBackoff: -1, MaxRetryBackoff: -1, DisableIdentity: true,
		Username: testserver.Producer, Password: testserver.RedisPassword,
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			conn, err := net.Dial("unix", server.Client.Options().Addr)
			return &lossyConn{Conn: conn, losses: losses}, err
		}})
	t.Cleanup(func() { rdb.Close() })
	return rdb, losses
}

type lossyConn struct {
	net.Conn
	losses *atomic.Int64
	broken error
}

func (c *lossyConn) Read(b []byte) (int, error) {
	if c.broken != nil {
		return 0, c.broken
	}
	n, err := c.Conn.Read(b)
	if n > 0 && rand.IntN(10) == 0 {
		c.losses.Add(1)
		return 0, c.breakOff()
	}
	return n, err
}

func (c *lossyConn) Write(b []byte) (int, error) {
	if c.broken == nil && rand.IntN(50) == 0 {
		c.breakOff()
	}
	if c.broken != nil {
		return 0, c.broken
	}
	return c.Conn.Write(b)
}

// breakOff closes the connection, with an end of file, after which go-redis repeats the command, or
// with a reset, after which it does not.
func (c *lossyConn) breakOff() error {
	c.broken = io.EOF
	if rand.IntN(10) == 0 {
		c.broken = &net.OpError{Op: "read", Net: "unix", Err: syscall.ECONNRESET}
	}
	c.Conn.Close()
	return c.broken
}

// A right answer is right although the first reply was lost. No wrong answer counts twice, and no
// mail is queued twice.
func TestClient_SurvivesLostReplies(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t, "--appendfsync", "no")
	rdb, losses := lossy(t, server)
	h := fixtureOver(t, server.Client, rdb)
	mails := 2500
	if testing.Short() {
		mails = 250
	}
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for i := worker; i < mails; i += 4 {
				to := fmt.Sprintf("user%d@example.com", i)
				if _, err := h.client.Send(context.Background(), tasks.Mail{Kind: tasks.Key, To: to}); err != nil {
					t.Errorf("Send: %v", err)
				}
				a := h.mailed(tasks.Key, to, "sign-in")
				if got := resultOf(check(h.client, context.Background(), wrong(a))); got != "wrong, 4 left" {
					t.Errorf("a wrong answer: got %s, want wrong, 4 left", got)
				}
				if got := resultOf(check(h.client, context.Background(), a)); got != "right" {
					t.Errorf("the right answer: got %s", got)
				}
				if misses := h.misses(to); misses != 1 {
					t.Errorf("%d wrong answers are counted, want 1", misses)
				}
			}
		})
	}
	group.Wait()
	info, err := asynq.NewInspectorFromRedisClient(server.Client).GetQueueInfo(tasks.Queue)
	h.must(err)
	if info.Size != mails {
		t.Errorf("%d mails are queued, want %d", info.Size, mails)
	}
	if losses.Load() < int64(mails/2) {
		t.Errorf("%d replies were lost, want %d and more", losses.Load(), mails/2)
	}
	t.Logf("%d replies lost", losses.Load())
}
