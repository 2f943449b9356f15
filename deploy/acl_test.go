package deploy_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"example.com/securemail"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// refused matches the errors of a script that runs a command which its user, or any script, may not
// run.
var refused = regexp.MustCompile(`The user executing the script can't|ACL failure in script|not allowed from script`)

// The test tries commands that the users do not need, by themselves and in a script, which must not
// be a way around. All other tests run with the same users, and show that the commands they need
// are allowed.
func TestACL_DeniesWhatTheUsersDoNotNeed(t *testing.T) {
	server := testserver.StartRedis(t)
	defer server.Client.ACLLogReset(t.Context())
	const task, pending, record = "asynq:{secure-mail}:t:1", "asynq:{secure-mail}:pending", "securemail:{1}"
	nobody := []string{"CONFIG GET *", "CONFIG SET maxmemory 1", "KEYS *", "SCAN 0", "RANDOMKEY", "FLUSHALL", "FLUSHDB", "SHUTDOWN NOSAVE", "SAVE", "MONITOR",
		"ACL LIST", "ACL SETUSER x", "CLIENT LIST", "CLIENT KILL ID 1", "CLIENT TRACKING ON BCAST", "SCRIPT FLUSH", "REPLICAOF NO ONE",
		"MIGRATE 127.0.0.1 1 x 0 1", "SWAPDB 0 1", "PUBLISH asynq:cancel 1", "SUBSCRIBE other", "PSUBSCRIBE *", "GET other", "SET other 1", "DEL other",
		"HGETALL other", "RENAME " + record + " securemail:{2}", "COPY " + record + " securemail:{2}"}
	producer := []string{"INFO", "RPOPLPUSH " + pending + " asynq:{secure-mail}:active", "LRANGE " + pending + " 0 -1", "RPOP " + pending, "LLEN " + pending,
		"DEL " + pending, "HGETALL " + task, "EXPIRE " + task + " 1", "ZRANGE asynq:{secure-mail}:retry 0 -1",
		"ZRANGEBYSCORE asynq:{secure-mail}:lease 0 1", "ZREM asynq:{secure-mail}:retry 1", "HVALS asynq:workers:{x}", "SMEMBERS asynq:queues",
		"SUBSCRIBE asynq:cancel", "SET " + record + ":mail 1"}
	sender := []string{"HMGET " + task + " msg", "HGETALL " + record, "HMGET " + record + " seed", "GET " + record + ":mail", "HSET " + record + " state x",
		"DEL " + record, "DEL " + task, "SET " + record + " x", "ZREM asynq:{secure-mail}:archived 1", "ZSCORE asynq:{secure-mail}:retry 1", "GET asynq:servers:{x}", "HSET asynq:{other}:t:1 msg x", "LPUSH asynq:{other}:pending 1"}
	for user, forbidden := range map[string][]string{
		testserver.Worker:   nobody,
		testserver.Producer: append(nobody, producer...),
		testserver.Sender:   append(append(nobody, producer...), sender...),
	} {
		rdb := server.As(user)
		for _, command := range forbidden {
			var args []any
			for word := range strings.FieldsSeq(command) {
				args = append(args, word)
			}
			if err := rdb.Do(t.Context(), args...).Err(); !redis.IsPermissionError(err) {
				t.Errorf("%s: %s: got %v, want NOPERM", user, command, err)
			}
			script := fmt.Sprintf("return redis.call(unpack({%q%s}))", args[0], strings.Repeat(", %q", len(args)-1))
			err := rdb.Eval(t.Context(), fmt.Sprintf(script, args[1:]...), nil).Err()
			if err == nil || !refused.MatchString(err.Error()) {
				t.Errorf("%s: %s in a script: got %v, want a refusal", user, command, err)
			}
		}
		if got := rdb.Do(t.Context(), "ACL", "WHOAMI").Val(); user == testserver.Worker && got != user {
			t.Errorf("ACL WHOAMI: got %v, want %s", got, user)
		}
	}
	stranger := redis.NewClient(&redis.Options{Network: "unix", Addr: server.Client.Options().Addr})
	defer stranger.Close()
	if err := stranger.Ping(t.Context()).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOAUTH") {
		t.Errorf("without a user: got %v, want NOAUTH", err)
	}
	for _, password := range []string{"", testserver.RedisPassword} {
		if err := stranger.Do(t.Context(), "AUTH", "default", password).Err(); err == nil || !strings.HasPrefix(err.Error(), "WRONGPASS") {
			t.Errorf("as the default user: got %v, want WRONGPASS", err)
		}
	}
}

// A sender's mail is queued once, however often it is sent. A sender cannot read a mail's status.
func TestACL_LetsASenderOnlySend(t *testing.T) {
	server := testserver.StartRedis(t)
	client, err := securemail.NewClient(server.As(testserver.Sender))
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []tasks.Kind{tasks.Key, tasks.Code, tasks.TOTP} {
		for range 2 {
			if _, err := client.Send(t.Context(), tasks.Mail{Kind: kind, To: "alice@example.com", IdempotencyKey: string(kind)}); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
		if _, err := client.Send(t.Context(), tasks.Mail{Kind: kind, To: "bob@example.com", IdempotencyKey: string(kind)}); !errors.Is(err, tasks.ErrKeyReused) {
			t.Errorf("another mail with the same key: got %v, want ErrKeyReused", err)
		}
	}
	if n := server.Client.LLen(t.Context(), "asynq:{"+tasks.Queue+"}:pending").Val(); n != 2 {
		t.Errorf("%d mails are queued, want 2", n)
	}
	receipt, err := client.Send(t.Context(), tasks.Mail{Kind: tasks.Key, To: "alice@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	var reply redis.Error
	if _, err := client.Status(t.Context(), receipt.ID); !errors.As(err, &reply) {
		t.Errorf("Status: got %v, want a refusal of Redis", err)
	}
	server.Client.ACLLogReset(t.Context())
}

// Redis replays its append-only file as the default user. Before the end of 2025 it silently
// skipped every transaction, such as the writes of a script, that this user was denied
// (redis/redis#14541, valkey-io/valkey#3983). So the default user keeps all rights, and nobody can
// log in as it.
func TestACL_LosesNothingInARestart(t *testing.T) {
	server := testserver.StartRedis(t, "--appendfsync", "always")
	client, err := securemail.NewClient(server.As(testserver.Sender))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Send(t.Context(), tasks.Mail{Kind: tasks.Key, To: "alice@example.com"}); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	server.Start()
	if n := server.Client.LLen(t.Context(), "asynq:{"+tasks.Queue+"}:pending").Val(); n != 1 {
		t.Errorf("%d mails are queued after the restart, want 1", n)
	}
}

// The test runs the commands of docs/redis-users.md, and logs in with the passwords that they create.
func TestACL_IsSetUpAsTheDocumentSays(t *testing.T) {
	document, err := os.ReadFile(filepath.Join(root, "docs/redis-users.md"))
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile("(?s)```sh\n(umask 077\ncp deploy/redis\\.acl .*?)```").FindStringSubmatch(string(document))
	if commands == nil {
		t.Fatal("docs/redis-users.md no longer says how to fill in deploy/redis.acl")
	}
	dir := t.TempDir()
	list, err := filepath.Abs("redis.acl")
	if err != nil {
		t.Fatal(err)
	}
	script := exec.Command("sh", "-euc", strings.Replace(commands[1], "deploy/redis.acl", list, 1))
	script.Dir = dir
	if out, err := script.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v: %s", err, out)
	}
	users, err := os.ReadFile(filepath.Join(dir, "users.acl"))
	if err != nil {
		t.Fatal(err)
	}
	// The document also tells operators to add an administrator.
	admin := fmt.Sprintf("user admin on #%x ~* &* +@all\n", sha256.Sum256([]byte(testserver.RedisPassword)))
	if err := os.WriteFile(filepath.Join(dir, "users.acl"), append(users, admin...), 0o600); err != nil {
		t.Fatal(err)
	}
	server := testserver.StartRedis(t, "--aclfile", filepath.Join(dir, "users.acl"))
	for _, user := range []string{testserver.Worker, testserver.Producer, testserver.Sender} {
		password, err := os.ReadFile(filepath.Join(dir, user+"-password"))
		if err != nil || len(password) != 48 {
			t.Fatalf("the password of %s is %d characters long, %v", user, len(password), err)
		}
		rdb := redis.NewClient(&redis.Options{Network: "unix", Addr: filepath.Join(server.Dir, "s"), Username: user, Password: string(password), DisableIdentity: true})
		defer rdb.Close()
		if err := rdb.Ping(t.Context()).Err(); err != nil {
			t.Errorf("%s: %v", user, err)
		}
	}
	if url, err := os.ReadFile(filepath.Join(dir, "redis-url")); err != nil || !strings.HasPrefix(string(url), "redis://worker:") {
		t.Errorf("redis-url is %q, %v", url, err)
	}
}
