package worker_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"example.com/securemail"
	"example.com/securemail/internal/dev"
	"example.com/securemail/internal/harness"
	"example.com/securemail/internal/redisconn"
	"example.com/securemail/internal/secret"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// Each command works, as its own user of deploy/redis.acl, with a single server, through Sentinel
// and on a Cluster, all with TLS. The test servers report commands that a user was denied.
func TestWorker_WorksWithEveryFormOfRedis(t *testing.T) {
	env := harness.StartDev(t)
	p := newProcess(t, "", env)
	enqueue := filepath.Join(t.TempDir(), "enqueue")
	if out, err := exec.Command("go", "build", "-o", enqueue, "example.com/securemail/cmd/enqueue").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	single, singleCA := testserver.StartTLSRedis(t)
	sentinels, sentinelsCA := testserver.StartTLSSentinels(t)
	cluster, clusterCA := testserver.StartTLSCluster(t)
	common := p.Environ
	for name, form := range map[string]struct{ url, caFile, address string }{
		"single":   {single.URL, singleCA, `127\.0\.0\.1:\d+`},
		"Sentinel": {sentinels.URL, sentinelsCA, `127\.0\.0\.1:\d+,127\.0\.0\.1:\d+,127\.0\.0\.1:\d+ \(Sentinel, master main\)`},
		"Cluster":  {cluster.URL, clusterCA, `127\.0\.0\.1:\d+(,127\.0\.0\.1:\d+){5} \(Cluster\)`},
	} {
		t.Run(name, func(t *testing.T) {
			p.T, p.Log = t, filepath.Join(t.TempDir(), "log")
			p.Environ = append(slices.Clone(common), "SECUREMAIL_REDIS_CA_FILE="+form.caFile, "SECUREMAIL_ADMIN_PASSWORD=a long password",
				"SECUREMAIL_REDIS_URL="+form.url)
			f := &redisForm{Process: p, enqueue: enqueue, redis: redisconn.Config{CAFile: form.caFile,
				URL: secret.New(strings.Replace(form.url, testserver.Worker+":", testserver.Producer+":", 1))}}
			f.matches(f.run(p.Binary, "check"), `(?m)^ok +redis +`+form.address+` answers, and wakes the worker when a mail comes$`)
			f.matches(f.run(enqueue, "key", name+"-early@example.com"), `no worker is running on the Redis at `+form.address+`; the mail waits`)
			p.Start("")
			f.awaitWorker(redisconn.Config{CAFile: form.caFile, URL: secret.New(form.url)})
			for _, kind := range []string{"key", "code", "totp"} {
				// The output has no warning.
				f.matches(f.run(enqueue, kind, name+"-"+kind+"@example.com", "--wait"), `(?s)^\S+\n([a-z]+\n)*accepted\n$`)
			}
			f.answer(env, name+"-key@example.com")
			f.pages()
			p.Stop()
		})
	}
}

// redisForm is a worker as a process, and the settings of its producer.
type redisForm struct {
	*harness.Process
	enqueue string
	redis   redisconn.Config // of the producer
}

// run runs a command until it ends, and returns its output.
func (f *redisForm) run(program string, args ...string) string {
	f.T.Helper()
	ctx, cancel := context.WithTimeout(f.T.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = f.Environ
	if program == f.enqueue {
		cmd.Env = append(slices.Clone(f.Environ), "SECUREMAIL_REDIS_URL="+f.redis.URL.Reveal())
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		log, _ := os.ReadFile(f.Log)
		f.T.Fatalf("%v: %v\n%s\n%s", args, err, out, log)
	}
	return string(out)
}

// awaitWorker waits until asynq has published the worker.
func (f *redisForm) awaitWorker(settings redisconn.Config) {
	f.T.Helper()
	rdb, err := settings.ProducerClient()
	if err != nil {
		f.T.Fatal(err)
	}
	defer rdb.Close()
	ctx, cancel := context.WithTimeout(f.T.Context(), 30*time.Second)
	defer cancel()
	waitUntil(f.T, ctx, "asynq knows of the worker", func() bool {
		servers, err := asynq.NewInspectorFromRedisClient(rdb).Servers()
		return err == nil && len(servers) > 0 && servers[0].Status == "active"
	})
}

func (f *redisForm) matches(text, pattern string) {
	f.T.Helper()
	if !regexp.MustCompile(pattern).MatchString(text) {
		f.T.Errorf("got %q, want %s", text, pattern)
	}
}

// answer resends a key, gives a wrong answer and the right one, and revokes another mail.
func (f *redisForm) answer(env *dev.Env, to string) {
	rdb, err := f.redis.ProducerClient()
	if err != nil {
		f.T.Fatal(err)
	}
	defer rdb.Close()
	ring := ""
	for _, variable := range f.Environ {
		if path, found := strings.CutPrefix(variable, "SECUREMAIL_KEYRING_FILE="); found {
			ring = path
		}
	}
	client, err := securemail.NewClient(rdb, securemail.WithKeyRingFile(ring))
	if err != nil {
		f.T.Fatal(err)
	}
	receipt, err := client.Send(f.T.Context(), tasks.Mail{Kind: tasks.Key, To: "again-" + to})
	if err != nil {
		f.T.Fatal(err)
	}
	id := receipt.ID
	if s, err := client.Wait(f.T.Context(), id); err != nil || s.State != tasks.Accepted {
		f.T.Fatalf("got %+v, %v; want accepted", s, err)
	}
	if err := client.Resend(f.T.Context(), id); err != nil {
		f.T.Errorf("resend: %v", err)
	}
	mail, err := env.Wait(f.T.Context(), func(m dev.Message) bool { return m.To == "again-"+to })
	if err != nil {
		f.T.Fatal(err)
	}
	ref, typed := tasks.Ref{ID: id, To: "again-" + to}, strings.Repeat("0", 25)
	if err := client.Verify(f.T.Context(), ref, typed); err == nil || errors.Is(err, tasks.ErrRejected) {
		f.T.Errorf("a wrong answer: got %v", err)
	}
	typed = secretIn(f.T, mail)
	if err := client.Verify(f.T.Context(), ref, typed); err != nil {
		f.T.Errorf("the right answer: %v", err)
	}
	if err := client.Unlock(f.T.Context(), to); err != nil {
		f.T.Errorf("unlock: %v", err)
	}
	receipt, err = client.Send(f.T.Context(), tasks.Mail{Kind: tasks.Key, To: "revoked+450@example.com"})
	id = receipt.ID
	if err != nil {
		f.T.Fatal(err)
	}
	if err := client.Revoke(f.T.Context(), id); err != nil {
		f.T.Errorf("revoke: %v", err)
	}
}

// pages requests the pages of the worker's admin listener that need Redis.
func (f *redisForm) pages() {
	log, err := os.ReadFile(f.Log)
	address := regexp.MustCompile(`"admin":"(http://[^"]+)"`).FindSubmatch(log)
	if address == nil {
		f.T.Fatalf("the worker does not say where its pages are: %v\n%s", err, log)
	}
	for path, want := range map[string]string{
		"/readyz":                  `^ok\n$`,
		"/metrics":                 `(?m)^asynq_queue_size\{queue="secure-mail"\} \d+$`,
		"/monitor/api/servers":     `"queue_priorities":\{"secure-mail":1,"secure-mail-codes":2\}`,
		"/monitor/api/redis_info":  `(?s)"address":.*"raw_`,
		"/monitor/api/queue_stats": `"secure-mail":\[\{`,
		"/monitor/api/queues":      `"queue":"secure-mail-codes"`,
		"/monitor/api/queues/secure-mail/completed_tasks": `"key for default, until 20`,
	} {
		request, err := http.NewRequestWithContext(f.T.Context(), "GET", string(address[1])+path, nil)
		if err != nil {
			f.T.Fatal(err)
		}
		request.SetBasicAuth("operator", "a long password")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			f.T.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != 200 || !regexp.MustCompile(want).Match(body) {
			f.T.Errorf("%s: got %d %.600s, want %s", path, response.StatusCode, body, want)
		}
	}
}
