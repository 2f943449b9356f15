package securemail_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail"
	"example.com/securemail/internal/limits"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// processes returns clients with connections of their own, as several processes have.
func (h *fixture) processes(n int, server *testserver.Redis, options ...securemail.Option) (clients []*securemail.Client) {
	h.Helper()
	for range n {
		c, err := securemail.NewClient(server.As(testserver.Producer), options...)
		h.must(err)
		clients = append(clients, c)
	}
	return clients
}

// TestSend_ManyCallsWithOneKeyAreOneMail (IDM-05): two calls that both passed a check would send two, and the loser
// of a race would get an error.
func TestSend_ManyCallsWithOneKeyAreOneMail(t *testing.T) {
	server := testserver.StartRedis(t, "--appendfsync", "no")
	h := fixtureOver(t, server.Client, server.As(testserver.Producer))
	clients := append(h.processes(3, server, securemail.WithKeyRingFile(h.ring)), h.processes(2, server)...)
	a := tasks.Mail{Kind: tasks.Key, To: alice}
	text, kind := a, a
	text.Vars = map[string]string{"name": "B"}
	kind.Kind = tasks.Code // which has another queue
	for round := range 20 {
		for name, contents := range map[string][]tasks.Mail{"one content": {a, a}, "two contents": {a, text}, "two kinds": {a, kind}} {
			before := len(h.queued())
			var group sync.WaitGroup
			var sent [2]atomic.Int32
			var first atomic.Int32
			var ids sync.Map
			for i := range 50 {
				group.Go(func() {
					which := i % 2
					m := contents[which]
					m.IdempotencyKey = fmt.Sprintf("%s-%d", strings.ReplaceAll(name, " ", "-"), round)
					receipt, err := clients[i%len(clients)].Send(context.Background(), m)
					switch {
					case err == nil:
						sent[which].Add(1)
						ids.Store(receipt.ID, true)
						if !receipt.Replayed {
							first.Add(1)
						}
					case name == "one content" || !errors.Is(err, tasks.ErrKeyReused):
						t.Errorf("%s: %v", name, err)
					}
				})
			}
			group.Wait()
			n := 0
			ids.Range(func(any, any) bool { n++; return true })
			won := [2]int32{sent[0].Load(), sent[1].Load()}
			if name == "one content" && won != [2]int32{25, 25} || name != "one content" && won != [2]int32{25, 0} && won != [2]int32{0, 25} {
				t.Errorf("round %d, %s: %v calls were right, want all of one content", round, name, won)
			}
			if queued := len(h.queued()) - before; n != 1 || queued != 1 || first.Load() != 1 {
				t.Fatalf("round %d, %s: %d ids, %d queued, %d were told that theirs is new; want one", round, name, n, queued, first.Load())
			}
		}
	}
}

// TestSend_ALimitFreesOnlyWhatItsOwnCallHasReserved: a key that stayed reserved for a mail that was refused would be
// spent, and one that was freed although another call had queued the mail would be that of two.
func TestSend_ALimitFreesOnlyWhatItsOwnCallHasReserved(t *testing.T) {
	h := newFixture(t)
	h.admit(tasks.DefaultLimits(), tasks.Key, 10)
	m := tasks.Mail{Kind: tasks.Key, To: alice, IdempotencyKey: "k"}
	other := m
	other.To = "bob@example.com"
	reserved := func() bool {
		task, err := m.Task(tasks.Making{Lives: tasks.DefaultLives(), Now: time.Now()})
		h.must(err)
		return h.redis.Exists(t.Context(), "securemail:{"+task.ID+"}:reserved").Val() == 1
	}
	_, err := h.client.Send(t.Context(), m)
	h.limited(err, tasks.LimitRecipient)
	if reserved() {
		t.Error("the key of a mail that is over a limit stays reserved")
	}
	sender, err := securemail.NewClient(h.rdb)
	h.must(err)
	// While a call with the key ring looks at the limits, another one queues the mail.
	h.rdb.AddHook(&during{script: limitScript(t, h), call: func() {
		if _, err := sender.Send(t.Context(), m); err != nil {
			t.Error(err)
		}
	}})
	_, err = h.client.Send(t.Context(), m)
	h.limited(err, tasks.LimitRecipient)
	if ids := h.queued(); len(ids) != 1 || !reserved() {
		t.Errorf("%q are queued, reserved: %v; want one mail, which keeps its key", ids, reserved())
	}
	h.refusesTheKey(h.client, other)
	h.refusesTheKey(sender, other)
}

// limitScript returns the command that looks at the limits of a recipient.
func limitScript(t *testing.T, h *fixture) string {
	t.Helper()
	seen := new(commands)
	rdb := redis.NewClient(h.rdb.(*redis.Client).Options())
	defer rdb.Close()
	rdb.AddHook(seen)
	_, err := limits.NewMails(rdb, tasks.DefaultLimits()).Look(t.Context(), limits.Sending{ID: "x", Kind: tasks.Key, Recipient: h.counters(alice), Until: time.Now()})
	if err != nil && !errors.Is(err, tasks.ErrLimited) {
		t.Fatal(err)
	}
	return seen.take()[0]
}

// during calls a function once, in the middle of another call.
type during struct {
	script string
	call   func()
	once   sync.Once
}

func (*during) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (*during) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (d *during) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			if cmd.Name()+" "+fmt.Sprint(cmd.Args()[1]) == d.script {
				d.once.Do(d.call)
			}
		}
		return next(ctx, cmds)
	}
}

// TestSend_ALostReplyLosesAndDoublesNoMail, whichever of a call's replies it is, and whether go-redis repeats the
// command (after an end of file) or the caller has to (after a reset).
func TestSend_ALostReplyLosesAndDoublesNoMail(t *testing.T) {
	server := testserver.StartRedis(t, "--appendfsync", "no")
	h := fixtureOver(t, server.Client, server.As(testserver.Producer))
	reset := &net.OpError{Op: "read", Net: "unix", Err: syscall.ECONNRESET}
	for name, broken := range map[string]error{"end of file": io.EOF, "reset": reset} {
		lost := 0
		for nth := 1; ; nth++ {
			h.must(server.Client.ScriptFlush(t.Context()).Err())
			h.must(server.Client.FlushDB(t.Context()).Err())
			rdb, loss := losing(t, server, nth, broken)
			client, err := securemail.NewClient(rdb, securemail.WithKeyRingFile(h.ring))
			h.must(err)
			m := tasks.Mail{Kind: tasks.Key, To: alice, IdempotencyKey: "k"}
			var receipt tasks.Receipt
			for try := range 3 { // as an application does
				if receipt, err = client.Send(t.Context(), m); err == nil || errors.Is(err, tasks.ErrKeyReused) || try == 2 {
					break
				}
			}
			if ids := h.queued(); err != nil || len(ids) != 1 || ids[0] != receipt.ID {
				t.Errorf("%s of reply %d: got %+v, %v, and %q are queued; want one mail", name, nth, receipt, err, ids)
			}
			h.replays(h.client, m, receipt.ID, tasks.CredentialNew)
			rdb.Close()
			if !loss.Load() { // there was no nth reply
				break
			}
			lost++
		}
		if lost < 6 { // the login, the reservation, the limits, and what asynq does
			t.Errorf("%s: %d replies were lost, want at least 6", name, lost)
		}
		t.Logf("%s: %d replies lost", name, lost)
	}
}

// losing returns a client whose nth reply is lost once: the server has carried out the command.
func losing(t *testing.T, server *testserver.Redis, nth int, broken error) (rdb *redis.Client, lost *atomic.Bool) {
	t.Helper()
	lost = new(atomic.Bool)
	var reads atomic.Int32
	rdb = redis.NewClient(&redis.Options{MinRetryBackoff: -1, MaxRetryBackoff: -1, DisableIdentity: true, Username: testserver.Producer,
		Password: testserver.RedisPassword, Dialer: func(context.Context, string, string) (net.Conn, error) {
			conn, err := net.Dial("unix", server.Client.Options().Addr)
			return &losingConn{conn, func(n int) error {
				if n > 0 && reads.Add(1) == int32(nth) {
					lost.Store(true)
					return broken
				}
				return nil
			}}, err
		}})
	return rdb, lost
}

type losingConn struct {
	net.Conn
	lose func(n int) error
}

func (c *losingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if loss := c.lose(n); loss != nil {
		c.Conn.Close()
		return 0, loss
	}
	return n, err
}

// TestSend_ASenderHearsOfItsKey, though it may read neither records nor tasks.
func TestSend_ASenderHearsOfItsKey(t *testing.T) {
	server := testserver.StartRedis(t)
	h := fixtureOver(t, server.Client, server.As(testserver.Sender))
	sender, err := securemail.NewClient(h.rdb)
	h.must(err)
	m := tasks.Mail{Kind: tasks.Code, To: alice, IdempotencyKey: "k"}
	receipt, err := sender.Send(t.Context(), m)
	if err != nil || receipt.Replayed || receipt.Credential != tasks.CredentialNew {
		t.Errorf("got %+v, %v; want a new mail", receipt, err)
	}
	for _, state := range []string{"queued", "sent", "dead"} {
		h.replays(sender, m, receipt.ID, "")
		for _, other := range []tasks.Mail{{Kind: tasks.Code, To: "bob@example.com", IdempotencyKey: "k"}, {Kind: tasks.Key, To: alice, IdempotencyKey: "k"}} {
			h.refusesTheKey(sender, other)
		}
		switch state {
		case "queued":
			_, a, err := h.open(receipt.ID)
			h.must(err)
			h.accept(a)
		case "sent":
			h.must(h.records.Revoke(t.Context(), receipt.ID))
		}
	}
	if ids := h.queued(); len(ids) != 1 || !strings.HasPrefix(ids[0], receipt.ID) {
		t.Errorf("%q are queued, want one mail", ids)
	}
	h.must(server.Client.ACLLogReset(t.Context()).Err()) // it was not let read the record
}
