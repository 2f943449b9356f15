package worker_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"example.com/securemail"
	"example.com/securemail/internal/dev"
	"example.com/securemail/internal/otpauth"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// secretIn returns the key in the text of a mail.
func secretIn(t *testing.T, m dev.Message) string {
	t.Helper()
	found := keyPattern.FindString(m.Text)
	if found == "" {
		t.Fatalf("no key in the mail %q", m.Subject)
	}
	return found
}

func TestWorker_MailsTheSecretThatVerifies(t *testing.T) {
	h := newFixture(t)
	id := h.send(tasks.Mail{Kind: tasks.Key, To: "Alice@EXAMPLE.com", Purpose: "sign-in"})
	h.until(id, tasks.Accepted)
	typed := strings.ToLower(strings.ReplaceAll(secretIn(t, h.env.Messages()[0]), "-", " "))
	ref := tasks.Ref{ID: id, Purpose: "sign-in", To: "Alice@example.com"}
	var miss *tasks.WrongError
	if err := h.client.Verify(h.ctx, ref, "00000-00000-00000-00000-00000"); !errors.As(err, &miss) || miss.TriesLeft != 4 {
		t.Errorf("a wrong key: got %v, want 4 tries left", err)
	}
	for _, other := range []tasks.Ref{{ID: id, Purpose: "other", To: ref.To}, {ID: id, Purpose: ref.Purpose, To: "eve@example.com"}} {
		if err := h.client.Verify(h.ctx, other, typed); !errors.Is(err, tasks.ErrRejected) {
			t.Errorf("for another purpose or address: got %v, want rejected", err)
		}
	}
	if err := h.client.Verify(h.ctx, ref, typed); err != nil {
		t.Errorf("the right key: %v", err)
	}
	if err := h.client.Verify(h.ctx, ref, typed); !errors.Is(err, tasks.ErrRejected) {
		t.Errorf("the right key again: got %v, want rejected", err)
	}
}

// The secret of each mail can be used until it is verified.
func TestResend_KeepsTheSecretAndHasItsOwnMessageID(t *testing.T) {
	h := newFixture(t)
	id := h.send(tasks.Mail{Kind: tasks.Key, To: "alice@example.com", Vars: map[string]string{"name": "Alice"}})
	h.until(id, tasks.Accepted)
	if err := h.client.Resend(h.ctx, id); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, h.ctx, "the second mail has arrived", func() bool { return len(h.env.Messages()) == 2 })
	if s := h.until(id, tasks.Accepted); s.Resends != 1 {
		t.Errorf("got %d resends, want 1", s.Resends)
	}
	mails := h.env.Messages()
	if secretIn(t, mails[0]) != secretIn(t, mails[1]) || !strings.Contains(mails[1].Text, "Hello Alice") {
		t.Error("the second mail has another text than the first")
	}
	if mails[0].MessageID == mails[1].MessageID {
		t.Error("both mails have the same Message-ID")
	}
	ref := tasks.Ref{ID: id, To: "alice@example.com"}
	if err := h.client.Verify(h.ctx, ref, secretIn(t, mails[0])); err != nil {
		t.Errorf("the key of the first mail after the second one: %v", err)
	}
	if err := h.client.Resend(h.ctx, id); !errors.Is(err, tasks.ErrRejected) {
		t.Errorf("a resend of a used secret: got %v, want rejected", err)
	}
}

func TestTOTP_BecomesActiveWithItsFirstCode(t *testing.T) {
	h := newFixture(t)
	id := h.send(tasks.Mail{Kind: tasks.TOTP, To: "alice@example.com"})
	if s := h.until(id, tasks.Accepted); s.Credential != tasks.CredentialPending {
		t.Errorf("got %s, want pending", s.Credential)
	}
	text := h.env.Messages()[0].Text
	_, rest, _ := strings.Cut(text, "otpauth://")
	uri, _, _ := strings.Cut("otpauth://"+rest, "\n")
	key, err := otpauth.ParseURI(strings.TrimSpace(uri))
	if err != nil {
		t.Fatal(err)
	}
	ref, code := tasks.Ref{ID: id, To: "alice@example.com"}, otpauth.Code([]byte(key.Secret.Reveal()), time.Now())
	if err := h.client.Verify(h.ctx, ref, code); err != nil {
		t.Fatalf("the first code: %v", err)
	}
	if err := h.client.Verify(h.ctx, ref, code); err == nil {
		t.Error("the same code was accepted twice")
	}
	if s, err := h.client.Status(h.ctx, id); err != nil || s.Credential != tasks.CredentialActive {
		t.Errorf("got %s, %v; want active", s.Credential, err)
	}
}

// The second mail of a kind within a minute is deferred, which does not use up an attempt. The
// eleventh within an hour is refused, and its task is dropped, so that such mails cannot fill the
// archive.
func TestLimits_AllowARecipientOneMailOfAKindAMinute(t *testing.T) {
	h := newFixture(t)
	h.stop()
	h.mailLimits = tasks.DefaultLimits()
	h.start()
	// Without a key ring the client does not check the limits, and the worker must.
	sender, err := securemail.NewClient(h.redis.As(testserver.Producer))
	if err != nil {
		t.Fatal(err)
	}
	send := func(kind tasks.Kind) string {
		t.Helper()
		receipt, err := sender.Send(h.ctx, tasks.Mail{Kind: kind, To: "alice@example.com"})
		if err != nil {
			t.Fatal(err)
		}
		return receipt.ID
	}
	h.until(send(tasks.Key), tasks.Accepted)
	second := send(tasks.Key)
	if s := h.until(second, tasks.Deferred); s.Reason != "limited" || s.Tries != 0 || time.Until(s.NextTry) > time.Minute {
		t.Errorf("the second key: got %+v, want deferred for a minute at most, and no attempt used", s)
	}
	h.until(send(tasks.Code), tasks.Accepted) // another kind
	for range 7 {
		h.until(send(tasks.Key), tasks.Deferred)
	}
	late := send(tasks.Key)
	if s := h.until(late, tasks.Refused); s.Reason != "limited" {
		t.Errorf("the eleventh mail: got %+v, want refused as limited", s)
	}
	waitUntil(t, h.ctx, "its task is dropped", func() bool {
		_, err := asynq.NewInspectorFromRedisClient(h.redis.Client).GetTaskInfo(tasks.Queue, late)
		return errors.Is(err, asynq.ErrTaskNotFound)
	})
	if _, err := h.client.Send(h.ctx, tasks.Mail{Kind: tasks.Key, To: "alice@example.com"}); !errors.Is(err, tasks.ErrLimited) {
		t.Errorf("a client with the key ring: got %v, want ErrLimited", err)
	}
	if n := len(h.env.Messages()); n != 2 {
		t.Errorf("%d mails arrived, want 2", n)
	}
}

func TestRevoke_StopsAQueuedMail(t *testing.T) {
	h := newFixture(t)
	id := h.send(tasks.Mail{Kind: tasks.Key, To: "alice+450@example.com"})
	h.until(id, tasks.Deferred)
	h.task(id, asynq.TaskStateRetry)
	if err := h.client.Revoke(h.ctx, id); err != nil {
		t.Fatal(err)
	}
	if s := h.until(id, tasks.Revoked); s.Credential != tasks.CredentialRevoked {
		t.Errorf("got %+v, want revoked", s)
	}
	if err := asynq.NewInspectorFromRedisClient(h.redis.Client).RunTask(tasks.Queue, id); err != nil && !errors.Is(err, asynq.ErrTaskNotFound) {
		t.Fatal(err)
	}
	waitUntil(t, h.ctx, "the task is gone", func() bool {
		info, err := asynq.NewInspectorFromRedisClient(h.redis.Client).GetTaskInfo(tasks.Queue, id)
		return errors.Is(err, asynq.ErrTaskNotFound) || err == nil && info.State == asynq.TaskStateCompleted
	})
	if s, err := h.client.Status(h.ctx, id); err != nil || s.Tries != 1 {
		t.Errorf("got %s; want only the attempt from before", fmt.Sprint(s, err))
	}
}
