package worker_test

import (
	"bytes"
	"context"
	"encoding/base32"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"example.com/securemail"
	"example.com/securemail/internal/dev"
	"example.com/securemail/internal/harness"
	"example.com/securemail/internal/limits"
	"example.com/securemail/internal/otpauth"
	"example.com/securemail/internal/submission"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// fixture is a worker with a real Redis and a submission server whose mails the test can read.
type fixture struct {
	t      *testing.T
	ctx    context.Context
	redis  *testserver.Redis
	env    *dev.Env
	ring   string
	client *securemail.Client
	logs   *observer.ObservedLogs
	log    *zap.Logger
	stop   func() // stops the worker, and waits until it has ended

	metrics *prometheus.Registry // of the last worker

	relays        []submission.Relay
	changed       func(relay string, open bool, cause error, until time.Time)
	stopOnUnknown bool
	mailLimits    tasks.Limits  // none at first
	relayLimit    *limits.Limit // of every relay; nil for no limit
}

// newFixture returns a fixture whose worker has started.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	h := &fixture{t: t, ctx: ctx, redis: testserver.StartRedis(t), ring: harness.NewKeyRing(t), env: harness.StartDev(t)}
	var err error
	if h.client, err = securemail.NewClient(h.redis.As(testserver.Producer), securemail.WithKeyRingFile(h.ring)); err != nil {
		t.Fatal(err)
	}
	h.relays = []submission.Relay{harness.Relay(h.env, "dev", submission.ImplicitTLS)}
	core, logs := observer.New(zapcore.DebugLevel)
	h.log, h.logs = zap.New(core), logs
	h.start()
	return h
}

// start starts a worker.
func (h *fixture) start() {
	h.t.Helper()
	byRelay := map[string]limits.Limit{}
	if h.relayLimit != nil {
		for _, relay := range h.relays {
			byRelay[relay.Name] = *h.relayLimit
		}
	}
	w := harness.StartWorker(h.t, harness.Config{Redis: h.redis.As(testserver.Worker), KeyRing: h.ring, Log: h.log, Relays: h.relays,
		Limits: byRelay, Changed: h.changed, MailLimits: &h.mailLimits, StopOnUnknown: h.stopOnUnknown})
	h.metrics, h.stop = w.Metrics, w.Stop
}

func (h *fixture) send(m tasks.Mail) string {
	h.t.Helper()
	receipt, err := h.client.Send(h.ctx, m)
	if err != nil {
		h.t.Fatal(err)
	}
	return receipt.ID
}

// until waits until the mail is in the state.
func (h *fixture) until(id string, state tasks.State) tasks.Status {
	h.t.Helper()
	for s, err := range h.client.Watch(h.ctx, id) {
		if err != nil {
			h.t.Fatalf("waiting for %s: %v", state, err)
		}
		if s.State == state {
			return s
		}
	}
	h.t.Fatalf("the mail ended before it was %s", state)
	return tasks.Status{}
}

// enqueue puts raw bytes into the queue, as a broken or hostile producer might.
func (h *fixture) enqueue(id, taskType string, payload []byte) {
	h.t.Helper()
	_, err := asynq.NewClientFromRedisClient(h.redis.Client).EnqueueContext(h.ctx, asynq.NewTask(taskType, payload),
		asynq.TaskID(id), asynq.Queue(tasks.Queue), asynq.MaxRetry(1000))
	if err != nil {
		h.t.Fatal(err)
	}
}

// task waits until asynq has the task in the state, and returns asynq's info of it.
func (h *fixture) task(id string, state asynq.TaskState) *asynq.TaskInfo {
	h.t.Helper()
	inspector := asynq.NewInspectorFromRedisClient(h.redis.Client)
	var last *asynq.TaskInfo
	waitUntil(h.t, h.ctx, "asynq has the task as "+state.String(), func() bool {
		var err error
		last, err = inspector.GetTaskInfo(tasks.Queue, id)
		return err == nil && last.State == state
	})
	return last
}

// payload returns the JSON of a valid task after a change.
func payload(t *testing.T, change func(map[string]any)) (id string, body []byte) {
	t.Helper()
	task, id, err := tasks.NewTask(tasks.Mail{Kind: tasks.Key, To: "alice@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	var p map[string]any
	if err := json.Unmarshal(task.Payload(), &p); err != nil {
		t.Fatal(err)
	}
	change(p)
	body, err = json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return id, body
}

func TestWorker_SendsMailsOfEveryKind(t *testing.T) {
	h := newFixture(t)
	for _, kind := range []tasks.Kind{tasks.Key, tasks.Code, tasks.TOTP} {
		id := h.send(tasks.Mail{Kind: kind, To: string(kind) + "@example.com", Purpose: "test"})
		s := h.until(id, tasks.Accepted)
		if s.Kind != kind || s.Purpose != "test" || s.Code != 250 || s.Relay != "dev" || s.Tries != 1 || s.AcceptedAt.IsZero() {
			t.Errorf("%s: got %+v", kind, s)
		}
	}
	if n := len(h.env.Messages()); n != 3 {
		t.Errorf("%d mails arrived, want 3", n)
	}
	waitUntil(t, h.ctx, "three log lines say accepted", func() bool { return h.logs.FilterMessage("mail accepted").Len() == 3 })
}

func TestWorker_EndsOnlyTheMailOfARefusedRecipient(t *testing.T) {
	h := newFixture(t)
	id := h.send(tasks.Mail{Kind: tasks.Key, To: "alice+550@example.com"})
	s := h.until(id, tasks.Refused)
	if s.Reason != "recipient" || s.Code != 550 || s.Tries != 1 {
		t.Errorf("got %+v, want refused for its recipient after one attempt", s)
	}
	if info := h.task(id, asynq.TaskStateArchived); strings.Contains(info.LastErr, "@") || strings.Contains(info.LastErr, "alice") {
		t.Errorf("asynq keeps an address: %q", info.LastErr)
	}
	h.until(h.send(tasks.Mail{Kind: tasks.Key, To: "bob@example.com"}), tasks.Accepted)
}

func TestWorker_DefersATemporaryRefusalAndCountsIt(t *testing.T) {
	h := newFixture(t)
	id := h.send(tasks.Mail{Kind: tasks.Key, To: "alice+450@example.com"})
	s := h.until(id, tasks.Deferred)
	if s.Code != 450 || s.Tries != 1 || time.Until(s.NextTry) < 30*time.Second {
		t.Errorf("got %+v, want 450, one attempt, and the next in a minute", s)
	}
	if info := h.task(id, asynq.TaskStateRetry); info.Retried != 0 {
		t.Errorf("asynq counted %d failures towards its own limit", info.Retried)
	}
}

func TestWorker_ExpiresAStaleMail(t *testing.T) {
	h := newFixture(t)
	created := time.Now().Add(-9 * time.Minute)
	id, body := payload(t, func(p map[string]any) {
		p["kind"], p["created_at"], p["expires_at"] = "code", created.Format(time.RFC3339), created.Add(10*time.Minute).Format(time.RFC3339)
	})
	h.enqueue(id, tasks.Type, body)
	if s := h.until(id, tasks.Expired); s.Reason != "late" {
		t.Errorf("got %+v, want late", s)
	}
	if n := len(h.env.Messages()); n != 0 {
		t.Errorf("%d mails arrived", n)
	}
	waitUntil(t, h.ctx, "the task is dropped, not archived", func() bool {
		_, err := asynq.NewInspectorFromRedisClient(h.redis.Client).GetTaskInfo(tasks.Queue, id)
		return errors.Is(err, asynq.ErrTaskNotFound)
	})
}

func TestWorker_RefusesMalformedTasks(t *testing.T) {
	h := newFixture(t)
	for name, change := range map[string]func(map[string]any){
		"bad address":      func(p map[string]any) { p["to"] = "alice@example.com\r\nBcc: eve@example.com" },
		"short seed":       func(p map[string]any) { p["seed"] = "AAAA" },
		"over the maximum": func(p map[string]any) { p["expires_at"] = time.Now().Add(48 * time.Hour).Format(time.RFC3339) },
		"no id":            func(p map[string]any) { delete(p, "id") },
	} {
		id, body := payload(t, change)
		h.enqueue(id, tasks.Type, body)
		if s := h.until(id, tasks.Refused); s.Reason != "malformed" {
			t.Errorf("%s: got %+v, want malformed", name, s)
		}
		if info := h.task(id, asynq.TaskStateArchived); strings.Contains(info.LastErr, "alice") {
			t.Errorf("%s: asynq keeps the address: %q", name, info.LastErr)
		}
	}
	if n := len(h.env.Messages()); n != 0 {
		t.Errorf("%d mails arrived", n)
	}
}

func TestWorker_DefersTasksOfANewerVersion(t *testing.T) {
	h := newFixture(t)
	newer, body := payload(t, func(p map[string]any) { p["v"] = 3 })
	h.enqueue(newer, tasks.Type, body)
	other, body := payload(t, func(map[string]any) {})
	h.enqueue(other, tasks.Type+"-in-bulk", body) // asynq's mux would match this type by its prefix
	for _, id := range []string{newer, other} {
		if info := h.task(id, asynq.TaskStateRetry); !strings.HasPrefix(info.LastErr, "newer; again in") {
			t.Errorf("got %q, want newer", info.LastErr)
		}
	}
}

func TestWorker_DefersAMailWhoseKeyIsMissing(t *testing.T) {
	h := newFixture(t)
	id, body := payload(t, func(map[string]any) {})
	h.redis.Client.HSet(h.ctx, "securemail:{"+id+"}", "seed", strings.Repeat("s", 32), "kid", "gone", "digits", 0, "sending", 0, "tries", 0, "created",
		time.Now().UnixMilli(), "expires", time.Now().Add(24*time.Hour).UnixMilli(), "state", "deferred")
	h.enqueue(id, tasks.Type, body)
	waitUntil(t, h.ctx, "the log has an error for the operator", func() bool {
		return h.logs.FilterLevelExact(zapcore.ErrorLevel).FilterMessage("mail deferred").Len() == 1
	})
	if s := h.until(id, tasks.Deferred); s.Reason != "key-ring" || s.Tries != 0 {
		t.Errorf("got %+v, want deferred for the key ring, and no attempt used", s)
	}
}

func TestWorker_SendsNothingForARepeatedTask(t *testing.T) {
	h := newFixture(t)
	m := tasks.Mail{Kind: tasks.Key, To: "alice@example.com", IdempotencyKey: "order-1"}
	id := h.send(m)
	h.until(id, tasks.Accepted)
	if again := h.send(m); again != id {
		t.Errorf("got id %s, then %s", id, again)
	}
	// The task is repeated after asynq has dropped the first one.
	first := h.task(id, asynq.TaskStateCompleted)
	if err := asynq.NewInspectorFromRedisClient(h.redis.Client).DeleteTask(tasks.Queue, id); err != nil {
		t.Fatal(err)
	}
	h.enqueue(id, first.Type, first.Payload)
	waitUntil(t, h.ctx, "the log says that the task was repeated", func() bool {
		return h.logs.FilterMessage("mail accepted").FilterField(zap.String("reason", "repeated")).Len() == 1
	})
	if n := len(h.env.Messages()); n != 1 {
		t.Errorf("%d mails arrived, want 1", n)
	}
}

// The relay takes three seconds to answer the final dot.
func TestRun_WaitsForInFlightMailsWhenStopped(t *testing.T) {
	h := newFixture(t)
	id := h.send(tasks.Mail{Kind: tasks.Key, To: "alice+slow@example.com"})
	if _, err := h.env.Wait(h.ctx, func(dev.Message) bool { return true }); err != nil {
		t.Fatal(err)
	}
	h.stop()
	s, err := h.client.Status(h.ctx, id)
	if err != nil || s.State != tasks.Accepted {
		t.Errorf("after stopping: got %+v, %v; want accepted", s, err)
	}
}

// asynq gives up a task that is cancelled or whose lease expired. The relay has the mail already,
// and without the record another worker would send it again.
func TestRun_WaitsForAMailThatAsynqHasGivenUp(t *testing.T) {
	h := newFixture(t)
	id := h.send(tasks.Mail{Kind: tasks.Key, To: "alice+slow@example.com"})
	if _, err := h.env.Wait(h.ctx, func(dev.Message) bool { return true }); err != nil {
		t.Fatal(err)
	}
	inspector := asynq.NewInspectorFromRedisClient(h.redis.Client)
	if err := inspector.CancelProcessing(id); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, h.ctx, "asynq has given up the task", func() bool {
		info, err := inspector.GetTaskInfo(tasks.Queue, id)
		return err == nil && info.State == asynq.TaskStateRetry
	})
	h.stop()
	if s, err := h.client.Status(h.ctx, id); err != nil || s.State != tasks.Accepted {
		t.Errorf("after stopping: got %+v, %v; want accepted", s, err)
	}
}

// The relay keeps the mail and drops the connection without a reply. With on_unknown: stop, the
// mail ends as unknown. Otherwise it is sent again.
func TestWorker_EndsALostReplyAsTheSettingsSay(t *testing.T) {
	h := newFixture(t)
	id := h.send(tasks.Mail{Kind: tasks.Key, To: "alice+drop@example.com"})
	if s := h.until(id, tasks.Deferred); s.Reason != "unconfirmed" || s.Tries != 1 || time.Until(s.NextTry) < 50*time.Second {
		t.Errorf("retry: got %+v, want unconfirmed, and the next attempt in a minute", s)
	}
	h.stop()
	h.stopOnUnknown = true
	h.start()
	id = h.send(tasks.Mail{Kind: tasks.Key, To: "bob+drop@example.com"})
	if s := h.until(id, tasks.Unknown); s.Reason != "unconfirmed" {
		t.Errorf("stop: got %+v, want unconfirmed", s)
	}
}

// zbarimg reads the QR code, as a phone does, and oathtool computes the codes.
func TestWorker_MailsAQRCodeThatAnAuthenticatorReads(t *testing.T) {
	zbarimg, oathtool := testserver.Need(t, "zbarimg", "zbar-tools"), testserver.Need(t, "oathtool", "oathtool")
	h := newFixture(t)
	id := h.send(tasks.Mail{Kind: tasks.TOTP, To: "alice@example.com", Account: "alice & bob"})
	h.until(id, tasks.Accepted)
	mail := h.env.Messages()[0]
	if len(mail.Inline) != 1 || len(mail.Attachments) != 1 || !bytes.Equal(mail.Inline[0].Content, mail.Attachments[0].Content) {
		t.Fatalf("got %d inline images and %d attachments, want the same one as both", len(mail.Inline), len(mail.Attachments))
	}
	image := filepath.Join(t.TempDir(), "qr.png")
	if err := os.WriteFile(image, mail.Inline[0].Content, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(zbarimg, "--raw", "-q", image).Output()
	if err != nil {
		t.Fatal(err)
	}
	uri := strings.TrimSpace(string(out))
	if !strings.Contains(mail.Text, uri) || !strings.Contains(mail.HTML, strings.ReplaceAll(uri, "&", "&amp;")) {
		t.Errorf("the mail does not have the URI of the QR code as a link")
	}
	key, err := otpauth.ParseURI(uri)
	if err != nil || key.Issuer != "Example" || key.Account != "alice & bob" {
		t.Fatalf("got issuer %q, account %q, %v", key.Issuer, key.Account, err)
	}
	shared := []byte(key.Secret.Reveal())
	now := time.Now()
	cmd := exec.Command(oathtool, "--totp", "-b", "--now", now.UTC().Format("2006-01-02 15:04:05 UTC"), "-")
	cmd.Stdin = strings.NewReader(base32.StdEncoding.EncodeToString(shared))
	code, err := cmd.Output()
	if err != nil || strings.TrimSpace(string(code)) != otpauth.Code(shared, now) {
		t.Errorf("oathtool and otpauth disagree: %v", err)
	}
}
