package securemail_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// listenForReplicas lets a server listen over TCP, as a replica needs it, and returns the port.
func listenForReplicas(t *testing.T, master *testserver.Redis) (port int) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port = listener.Addr().(*net.TCPAddr).Port
	listener.Close()
	for _, setting := range [][2]string{{"bind", "127.0.0.1"}, {"port", fmt.Sprint(port)}, {"repl-diskless-sync-delay", "0"}} {
		if err := master.Client.ConfigSet(t.Context(), setting[0], setting[1]).Err(); err != nil {
			t.Fatal(err)
		}
	}
	return port
}

// Send fails if there are too few replicas.
func TestWithReplicas_SendWaitsForThem(t *testing.T) {
	master, replica := testserver.StartRedis(t), testserver.StartRedis(t)
	ctx := context.Background()
	port := listenForReplicas(t, master)
	hasty, err := securemail.NewClient(master.Client, securemail.WithReplicas(1, 20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	// The timeout is long enough for a busy machine.
	client, err := securemail.NewClient(master.Client, securemail.WithReplicas(1, 2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	m := tasks.Mail{Kind: tasks.Key, To: "alice@example.com", IdempotencyKey: "1"}
	if _, err := hasty.Send(ctx, m); err == nil || errors.Is(err, tasks.ErrInvalid) {
		t.Fatalf("without a replica: got %v, want an error of Redis", err)
	}

	if err := replica.Client.Do(ctx, "REPLICAOF", "127.0.0.1", port).Err(); err != nil {
		t.Fatal(err)
	}
	// Once there is a replica, the same mail is acknowledged.
	limit := time.Now().Add(30 * time.Second)
	for _, err = client.Send(ctx, m); err != nil && time.Now().Before(limit); _, err = client.Send(ctx, m) {
	}
	if err != nil {
		t.Fatalf("with a replica: %v", err)
	}
	for i := range 50 {
		receipt, err := client.Send(ctx, tasks.Mail{Kind: tasks.Code, To: fmt.Sprintf("m%d@example.com", i)})
		if err != nil {
			t.Fatal(err)
		}
		if n := replica.Client.Exists(ctx, "asynq:{"+tasks.QueueCodes+"}:t:"+receipt.ID).Val(); n != 1 {
			t.Errorf("Send returned before the replica had the mail")
		}
	}
}

// TestWithReplicas_AFailoverForgetsNoKey: the reservation is on the replica that becomes the master, so the key is still that of
// one mail there.
func TestWithReplicas_AFailoverForgetsNoKey(t *testing.T) {
	master, replica := testserver.StartRedis(t), testserver.StartRedis(t)
	h := fixtureOver(t, replica.Client, replica.As(testserver.Producer))
	h.must(replica.Client.Do(t.Context(), "REPLICAOF", "127.0.0.1", listenForReplicas(t, master)).Err())
	before, err := securemail.NewClient(master.As(testserver.Producer), securemail.WithReplicas(1, 2*time.Second))
	h.must(err)
	m := tasks.Mail{Kind: tasks.Key, To: alice, IdempotencyKey: "k"}
	limit := time.Now().Add(30 * time.Second)
	receipt, err := before.Send(t.Context(), m)
	for ; err != nil && time.Now().Before(limit); receipt, err = before.Send(t.Context(), m) {
	}
	h.must(err)
	h.replays(before, m, receipt.ID, tasks.CredentialNew)
	master.Kill()
	h.must(replica.Client.Do(t.Context(), "REPLICAOF", "NO", "ONE").Err())
	h.replays(h.client, m, receipt.ID, tasks.CredentialNew)
	other := m
	other.Kind = tasks.Code // which has another queue
	h.refusesTheKey(h.client, other)
	if ids := h.queued(); len(ids) != 1 {
		t.Errorf("%q are queued, want one mail", ids)
	}
}

// The server that is asked for its replicas does not have the task.
func TestWithReplicas_SendNoticesAFailover(t *testing.T) {
	r := testserver.StartRedis(t)
	r.Client.AddHook(forgetful{r.Client})
	client, err := securemail.NewClient(r.Client, securemail.WithReplicas(1, time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Send(context.Background(), tasks.Mail{Kind: tasks.Key, To: "alice@example.com"}); err == nil || !strings.Contains(err.Error(), "failover") {
		t.Errorf("got %v, want an error that says that a failover lost it", err)
	}
}

// forgetful deletes all data before each pipeline. A replica that becomes master before it got the
// data looks the same.
type forgetful struct{ rdb *redis.Client }

func (forgetful) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (forgetful) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (f forgetful) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			if cmd.Name() == "wait" {
				f.rdb.FlushAll(ctx)
			}
		}
		return next(ctx, cmds)
	}
}

func TestWithReplicas_RefusesInvalidArguments(t *testing.T) {
	for _, option := range []securemail.Option{securemail.WithReplicas(0, time.Second), securemail.WithReplicas(1, 0), securemail.WithReplicas(1, 3*time.Second)} {
		if _, err := securemail.NewClient(testserver.StartRedis(t).Client, option); err == nil {
			t.Error("got no error")
		}
	}
}
