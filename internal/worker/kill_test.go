package worker_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/securemail"
	"example.com/securemail/internal/dev"
	"example.com/securemail/internal/harness"
	"example.com/securemail/internal/submission"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// newProcess returns cmd/worker as a process, built with failpoints.
func newProcess(t *testing.T, redisURL string, env *dev.Env, buildFlags ...string) *harness.Process {
	t.Helper()
	dir := t.TempDir()
	p := &harness.Process{T: t, Name: "worker", Binary: testserver.BuildWorker(t, append(buildFlags, "-race", "-tags=failpoints")...),
		Log: filepath.Join(dir, "log")}
	password, ca := filepath.Join(dir, "password"), filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(password, []byte(env.Password().Reveal()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ca, authority(t, env), 0o600); err != nil {
		t.Fatal(err)
	}
	relay := harness.Relay(env, "dev", submission.ImplicitTLS)
	p.Environ = append(os.Environ(), "SECUREMAIL_REDIS_URL="+redisURL, "SECUREMAIL_KEYRING_FILE="+harness.NewKeyRing(t), "SECUREMAIL_FROM=Example <no-reply@example.com>",
		"SECUREMAIL_SMTP_HOST="+relay.Host, fmt.Sprintf("SECUREMAIL_SMTP_PORT=%d", relay.Port), "SECUREMAIL_SMTP_TLS=implicit", "SECUREMAIL_SMTP_CA_FILE="+ca,
		"SECUREMAIL_SMTP_USERNAME="+relay.Username, "SECUREMAIL_SMTP_PASSWORD_FILE="+password, "SECUREMAIL_ADMIN_ADDR=127.0.0.1:0")
	t.Cleanup(func() {
		if p.Running() {
			p.Kill()
		}
	})
	return p
}

// timePasses lets the lease and the lock of a dead worker expire, which would take a minute and a
// quarter of a minute.
func timePasses(t *testing.T, r *testserver.Redis, id string) {
	t.Helper()
	ctx := context.Background()
	for _, queue := range []string{tasks.Queue, tasks.QueueCodes} {
		lease := "asynq:{" + queue + "}:lease"
		if err := r.Client.Do(ctx, "ZADD", lease, "XX", 1, id).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Client.Do(ctx, "EVAL", `if redis.call('HEXISTS', KEYS[1], 'lock_until') == 1 then redis.call('HSET', KEYS[1], 'lock_until', 1) end`,
		1, "securemail:{"+id+"}").Err(); err != nil && err.Error() != "redis: nil" {
		t.Fatal(err)
	}
}

// A mail is sent once. It is sent twice only where SMTP leaves open whether the relay has it, and
// then with the same secret and the same Message-ID.
func TestWorker_SendsTheSameMailOrNoneAfterAKill(t *testing.T) {
	r := testserver.StartRedis(t)
	env := harness.StartDev(t)
	client, err := securemail.NewClient(r.As(testserver.Producer))
	if err != nil {
		t.Fatal(err)
	}
	p := newProcess(t, r.URL, env)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()

	for _, test := range []struct {
		point  string // where the worker dies; "reply" is between the final dot and its reply
		copies int
	}{
		{"opened", 1},     // the record is written, no relay is dialled
		{"before-dot", 1}, // the relay has all but the last bytes
		{"reply", 2},      // the relay has all bytes, and its reply is not read
		{"accepted", 2},   // the reply is read, and not recorded
		{"recorded", 1},   // the reply is recorded, and asynq does not know
	} {
		t.Run(test.point, func(t *testing.T) {
			to := test.point + "@example.com"
			if test.point == "reply" {
				to = "reply+slow@example.com"
			}
			arrived := func() (mails []dev.Message) {
				for _, m := range env.Messages() {
					if m.To == to {
						mails = append(mails, m)
					}
				}
				return mails
			}
			p.T = t
			p.Start(test.point)
			receipt, err := client.Send(ctx, tasks.Mail{Kind: tasks.Key, To: to})
			if err != nil {
				t.Fatal(err)
			}
			id := receipt.ID
			if test.point == "reply" {
				if _, err := env.Wait(ctx, func(m dev.Message) bool { return m.To == to }); err != nil {
					t.Fatal(err)
				}
				p.Kill()
			} else {
				p.Died()
			}
			timePasses(t, r, id)
			p.Start("")
			defer p.Kill()
			status, err := client.Wait(ctx, id)
			if err != nil || status.State != tasks.Accepted {
				log, _ := os.ReadFile(p.Log)
				t.Fatalf("after the restart: got %+v, %v\n%s", status, err, log)
			}
			// A mail that was accepted before the restart has ended when its task has left the
			// queue.
			waitUntil(t, ctx, "the task is done", func() bool {
				n, err := r.Client.LLen(ctx, "asynq:{"+tasks.Queue+"}:active").Result()
				retry, err2 := r.Client.ZCard(ctx, "asynq:{"+tasks.Queue+"}:retry").Result()
				return err == nil && err2 == nil && n+retry == 0
			})
			mails := arrived()
			if len(mails) != test.copies {
				t.Errorf("got %d copies, want %d", len(mails), test.copies)
			}
			seen := map[string]bool{}
			for _, m := range mails {
				seen[fmt.Sprint(m.MessageID, keyPattern.FindString(m.Text))] = true
			}
			if len(seen) != 1 || strings.Contains(fmt.Sprint(seen), "map[:") {
				t.Errorf("the copies differ in Message-ID or secret, or have none: %v", seen)
			}
		})
	}
}

var keyPattern = regexp.MustCompile(`[0-9A-Z]{5}(-[0-9A-Z]{5}){4}`)

func waitUntil(t *testing.T, ctx context.Context, what string, done func() bool) {
	t.Helper()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("timeout, while waiting until %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// authority returns the authority that signed the certificate of the submission server.
func authority(t *testing.T, env *dev.Env) []byte {
	t.Helper()
	conn, err := tls.Dial("tcp", env.SMTPSAddr(), &tls.Config{RootCAs: env.RootCAs()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	chain := conn.ConnectionState().VerifiedChains[0]
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain[len(chain)-1].Raw})
}
