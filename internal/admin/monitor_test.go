package admin_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"example.com/securemail/internal/admin"
	"example.com/securemail/internal/secret"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

func TestMonitor_AsksForThePassword(t *testing.T) {
	a := start(t, testserver.StartRedis(t).As(testserver.Worker), nil)
	paths := []string{"/monitor", "/monitor/", "/monitor/queues/secure-mail", "/monitor/api/queues", "/monitor/api/redis_info",
		"/monitor/favicon.ico", "/monitor/../monitor/api/queues", "/monitor//api/queues"}
	for _, path := range paths {
		for _, wrong := range []string{"", "wrong", password + "x", password[:4], strings.ToUpper(password)} {
			answer, body := a.ask(t, "GET", path, wrong)
			if answer.StatusCode != 401 || answer.Header.Get("WWW-Authenticate") != `Basic realm="securemail", charset="UTF-8"` {
				t.Errorf("%s with %q: got %d %v, want 401 and a challenge", path, wrong, answer.StatusCode, answer.Header)
			}
			if strings.Contains(body, password) {
				t.Errorf("%s: the response holds the password", path)
			}
		}
		if answer, _ := a.ask(t, "GET", path, password); answer.StatusCode != 200 {
			t.Errorf("%s with the password: got %d, want 200", path, answer.StatusCode)
		}
	}
	for _, user := range []string{"", "admin", "Ünsal"} {
		request, err := http.NewRequest("GET", a.url+"/monitor/api/queues", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.SetBasicAuth(user, password)
		answer, err := a.http.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != 200 {
			t.Errorf("user name %q: got %d, want 200: any will do", user, answer.StatusCode)
		}
	}
}

func TestMonitor_IsOffWithoutAPassword(t *testing.T) {
	a := start(t, nil, func(c *admin.Config) { c.Password = secret.String{} })
	for _, path := range []string{"/monitor", "/monitor/", "/monitor/api/queues"} {
		for _, given := range []string{"", "x"} {
			if answer, body := a.ask(t, "GET", path, given); answer.StatusCode != 403 || !strings.Contains(body, "admin.password") {
				t.Errorf("%s: got %d %q, want 403 and a hint at admin.password", path, answer.StatusCode, body)
			}
		}
	}
}

// The page, also at a deep link, and all that it loads are under /monitor, and only there.
func TestMonitor_ServesThePageAndItsFiles(t *testing.T) {
	a := start(t, testserver.StartRedis(t).As(testserver.Worker), nil)
	loads := regexp.MustCompile(`(?:src|href)="([^"]+)"`)
	for _, path := range []string{"/monitor", "/monitor/", "/monitor/queues/secure-mail", "/monitor/servers"} {
		answer, page := a.ask(t, "GET", path, password)
		if answer.StatusCode != 200 || !strings.Contains(page, "<!doctype html>") || !strings.Contains(page, `FLAG_READ_ONLY="true"`) {
			t.Fatalf("%s: got %d %.200q, want the page, read-only", path, answer.StatusCode, page)
		}
		for header, want := range map[string]string{"Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"} {
			if got := answer.Header.Get(header); got != want {
				t.Errorf("%s: %s: got %q, want %q", path, header, got, want)
			}
		}
		// The page names Google's fonts. The policy keeps a browser from requesting them.
		policy := answer.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'self'; ") || strings.Contains(policy, "http") || !strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("%s: got the policy %q", path, policy)
		}
		scripts := 0
		for _, match := range loads.FindAllStringSubmatch(page, -1) {
			if strings.HasPrefix(match[1], "https://") {
				continue
			}
			asset, body := a.ask(t, "GET", match[1], password)
			if asset.StatusCode != 200 || body == "" || strings.Contains(body, "<!doctype html>") {
				t.Errorf("%s loads %s: got %d %.40q", path, match[1], asset.StatusCode, body)
			}
			if strings.HasSuffix(match[1], ".js") {
				scripts++
				if got := asset.Header.Get("Content-Type"); !strings.HasPrefix(got, "application/javascript") {
					t.Errorf("%s: got type %q", match[1], got)
				}
			}
		}
		if scripts < 2 {
			t.Errorf("%s loads %d scripts", path, scripts)
		}
	}
}

// The test requests every change that asynqmon knows.
func TestMonitor_ChangesNothing(t *testing.T) {
	r := testserver.StartRedis(t)
	ids := map[string]string{}
	queue, inspector := asynq.NewClientFromRedisClient(r.Client), asynq.NewInspectorFromRedisClient(r.Client)
	for _, state := range []string{"pending", "scheduled", "archived"} {
		var options []asynq.Option
		if state == "scheduled" {
			options = append(options, asynq.ProcessIn(time.Hour))
		}
		ids[state] = enqueue(t, queue, state, options...).ID
	}
	if err := inspector.ArchiveTask(tasks.Queue, ids["archived"]); err != nil {
		t.Fatal(err)
	}
	a := start(t, r.As(testserver.Worker), nil)
	before := dump(t, r)

	q := "/monitor/api/queues/secure-mail"
	requests := []string{"DELETE " + q, "POST " + q + ":pause", "POST " + q + ":resume", "POST " + q + "/active_tasks:cancel_all",
		"POST " + q + "/active_tasks:batch_cancel", "POST " + q + "/active_tasks/" + ids["pending"] + ":cancel"}
	for state, id := range ids {
		list := q + "/" + state + "_tasks"
		requests = append(requests, "DELETE "+list+"/"+id, "DELETE "+list+":delete_all", "POST "+list+":batch_delete", "POST "+list+"/"+id+":run",
			"POST "+list+":run_all", "POST "+list+":batch_run", "POST "+list+"/"+id+":archive", "POST "+list+":archive_all", "POST "+list+":batch_archive")
	}
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get"} {
		requests = append(requests, method+" /monitor", method+" /monitor/", method+" /monitor/api/queues", method+" /monitor/favicon.ico")
	}
	for _, request := range requests {
		method, path, _ := strings.Cut(request, " ")
		if answer, _ := a.ask(t, method, path, password); answer.StatusCode != 405 || answer.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: got %d %v, want 405", request, answer.StatusCode, answer.Header)
		}
		if answer, _ := a.ask(t, method, path, "wrong"); answer.StatusCode != 401 {
			t.Errorf("%s with a wrong password: got %d, want 401", request, answer.StatusCode)
		}
	}
	if after := dump(t, r); !slices.Equal(before, after) {
		t.Errorf("Redis held %q before and %q after", before, after)
	}
}

// dump returns every key of Redis and its content.
func dump(t *testing.T, r *testserver.Redis) []string {
	t.Helper()
	keys, err := r.Client.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) == 0 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	for i, key := range keys {
		keys[i] += " " + r.Client.Dump(t.Context(), key).Val()
	}
	slices.Sort(keys)
	return keys
}

// private is a mail with personal data of its recipient in every field.
func private(purpose string) tasks.Mail {
	return tasks.Mail{Kind: tasks.TOTP, To: "alice.liddell@private.example", Purpose: purpose, Account: "alice-account",
		Vars: map[string]string{"name": "Alice Pleasance"}, Origin: tasks.Origin{IP: "2001:db8::77", Agent: "RabbitHole/1.0"}}
}

func enqueue(t *testing.T, queue *asynq.Client, purpose string, options ...asynq.Option) *asynq.TaskInfo {
	t.Helper()
	task, _, err := tasks.NewTask(private(purpose))
	if err != nil {
		t.Fatal(err)
	}
	info, err := queue.EnqueueContext(t.Context(), task, options...)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// The test views one task in every state: in the lists, by itself, and among the workers of a
// server.
func TestMonitor_ShowsNoRecipient(t *testing.T) {
	r := testserver.StartRedis(t)
	queue := asynq.NewClientFromRedisClient(r.Client)
	// The states are also the purposes of the mails.
	states := []string{"active", "pending", "scheduled", "retry", "archived", "completed"}
	hidden := map[string][]string{} // by state, the texts of its task that must not be shown
	ids := map[string]string{}
	for _, state := range states {
		var options []asynq.Option
		switch state {
		case "pending":
			options = append(options, asynq.Queue(tasks.QueueCodes)) // not served below
		case "scheduled":
			options = append(options, asynq.ProcessIn(time.Hour))
		}
		info := enqueue(t, queue, state, options...)
		ids[state] = info.ID
		task, err := tasks.ParseTask(info.Type, info.Payload)
		if err != nil {
			t.Fatal(err)
		}
		m := task.Mail
		hidden[state] = []string{m.To, "alice.liddell", m.Account, m.Vars["name"], m.Origin.IP, m.Origin.Agent, string(task.Seed),
			base64.StdEncoding.EncodeToString(task.Seed), base64.URLEncoding.EncodeToString(task.Seed), hex.EncodeToString(task.Seed)}
	}
	// Nothing of a malformed task, or of a task of another type, may be shown.
	for _, task := range []*asynq.Task{
		asynq.NewTask(tasks.Type, []byte(`{"v":1,"id":"malformed-task-0001","kind":"alice.liddell@private.example"}`)),
		asynq.NewTask(tasks.Type, []byte(`{"v":1,"id":"malformed-task-0002","kind":"key","to":"a@b.example","vars":{"alice.liddell":"x"}}`)),
		asynq.NewTask("other", []byte(`alice.liddell@private.example`)),
	} {
		if _, err := queue.EnqueueContext(t.Context(), task, asynq.Queue(tasks.QueueCodes)); err != nil {
			t.Fatal(err)
		}
	}

	release := make(chan struct{})
	server := asynq.NewServerFromRedisClient(r.As(testserver.Worker), asynq.Config{Queues: map[string]int{tasks.Queue: 1}, TaskCheckInterval: 10 * time.Millisecond,
		LogLevel: asynq.FatalLevel, RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return time.Hour }})
	err := server.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		parsed, err := tasks.ParseTask(task.Type(), task.Payload())
		if err != nil {
			return err
		}
		switch parsed.Mail.Purpose {
		case "active":
			<-release
		case "retry":
			return errors.New("relay; again in 1h0m0s")
		case "archived":
			return fmt.Errorf("refused: recipient: %w", asynq.SkipRetry)
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown()
	defer close(release)

	a := start(t, r.As(testserver.Worker), nil)
	// wait requests path until the response holds the text. asynq publishes its workers every five
	// seconds.
	wait := func(path, text string) string {
		t.Helper()
		for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			status, body := a.get(t, path)
			if status == 200 && strings.Contains(body, text) {
				return body
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: got %d %s\nwant %q in it", path, status, body, text)
			}
		}
	}
	check := func(path, state string) {
		t.Helper()
		body := wait(path, "totp for "+state+", until 20")
		var decoded any
		if err := json.Unmarshal([]byte(body), &decoded); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		for _, text := range hidden[state] {
			if strings.Contains(body, text) {
				t.Errorf("%s shows %q: %s", path, text, body)
			}
		}
	}
	for _, state := range states {
		q := "/monitor/api/queues/" + tasks.Queue
		if state == "pending" {
			q = "/monitor/api/queues/" + tasks.QueueCodes
		}
		check(q+"/"+state+"_tasks", state)
		check(q+"/tasks/"+ids[state], state)
	}
	check("/monitor/api/servers", "active")
	wait("/monitor/api/queues/"+tasks.QueueCodes+"/pending_tasks", "not shown: malformed, see the worker's log")
	wait("/monitor/api/queues/"+tasks.QueueCodes+"/pending_tasks", "not shown: another type, or a newer version")
}

func TestMonitor_AnswersWithoutRedis(t *testing.T) {
	a := start(t, nil, nil)
	if status, page := a.get(t, "/monitor"); status != 200 || !strings.Contains(page, "<!doctype html>") {
		t.Errorf("the page: got %d %.100q, want 200", status, page)
	}
	if status, body := a.get(t, "/monitor/api/queues"); status != 500 {
		t.Errorf("the queues: got %d %q, want 500", status, body)
	}
}
