package worker_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"example.com/securemail/internal/dev"
	"example.com/securemail/internal/otpauth"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// rolled is a mail of the test below.
type rolled struct {
	tasks.Mail
	id     string
	resent bool
}

// secret returns what a person would type for one copy of the mail.
func (m rolled) secret(t *testing.T, copy dev.Message) string {
	t.Helper()
	half := fmt.Sprintf(`\d{%d}`, m.Digits/2)
	secret := map[tasks.Kind]*regexp.Regexp{tasks.Key: keyPattern, tasks.Code: regexp.MustCompile(`\b` + half + " " + half + `\b`),
		tasks.TOTP: regexp.MustCompile(`otpauth://\S+`)}[m.Kind].FindString(copy.Text)
	if secret == "" {
		t.Fatalf("a %s mail has no secret: %s", m.Kind, copy.Text)
	}
	return secret
}

// answer returns what is right for the secret.
func (m rolled) answer(t *testing.T, secret string) string {
	t.Helper()
	if m.Kind != tasks.TOTP {
		return secret
	}
	key, err := otpauth.ParseURI(secret)
	if err != nil {
		t.Fatal(err)
	}
	return otpauth.Code([]byte(key.Secret.Reveal()), time.Now())
}

// TestWorkers_OfTwoBuildsMailNoSecondSecret: while workers are replaced one by one, both builds work on the same
// mails. If they did not agree on the secret, a person would have two mails, and the code of one of them would be
// wrong.
func TestWorkers_OfTwoBuildsMailNoSecondSecret(t *testing.T) {
	h := newFixture(t)
	var all []*rolled
	// Every mail has a mailbox of its own: what is sent to one shares its limits.
	send := func(n int, tag string, v int) (sent []*rolled) {
		t.Helper()
		for range n {
			for _, m := range []tasks.Mail{{Kind: tasks.Key}, {Kind: tasks.Key, Session: "a session"}, {Kind: tasks.Code, Digits: 6},
				{Kind: tasks.Code, Digits: 8, Session: "a session"}, {Kind: tasks.TOTP}} {
				name := fmt.Sprintf("m%d", len(all))
				m.To, m.Purpose, m.IdempotencyKey = name+tag+"@example.com", "rolling", ""
				if m.Session != "" {
					m.Session += " of " + name + " and more"
				}
				if len(all)%2 == 0 {
					m.IdempotencyKey = name
				}
				one := &rolled{Mail: m}
				if one.id = h.enqueueAs(m, v); m.IdempotencyKey != "" && v == tasks.Version && h.send(m) != one.id {
					t.Errorf("a replay of %s has another id", name)
				}
				all, sent = append(all, one), append(sent, one)
			}
		}
		return sent
	}
	resend := func(mails []*rolled) {
		t.Helper()
		h.hurry(h.accepted, mails)
		for _, m := range mails {
			if err := h.client.Resend(h.ctx, m.id); err != nil {
				t.Errorf("resend of a %s: %v", m.Kind, err)
			}
			m.resent = true
		}
	}
	next := newProcess(t, h.redis.URL, h.env, testserver.Overlay(t, "../../tasks/wire.go", "\tVersion = 2", "\tVersion = 3"))
	next.Environ = append(next.Environ, "SECUREMAIL_KEYRING_FILE="+h.ring, "SECUREMAIL_LIMITS_RECIPIENT_INTERVAL=0s")
	begin := time.Now()
	const newer = tasks.Version + 1

	// The old build is alone.
	before := send(2, "", tasks.Version)
	deferred := send(1, "+451", tasks.Version)
	h.hurry(h.accepted, before)
	// Both builds work. The new one dies when a relay has taken a mail, and nobody has written that down.
	next.Start("accepted")
	fresh := send(1, "", newer)
	h.hurry(func(*rolled) bool {
		return slices.ContainsFunc(fresh, func(m *rolled) bool { return len(h.arrived(m.To)) > 0 })
	}, fresh)
	next.Died()
	restart := func() {
		next.Start("")
		for _, m := range all { // instead of waiting for the leases and locks of the dead worker
			timePasses(t, h.redis, m.id)
			timePasses(t, h.redis, m.id+".1")
		}
	}
	restart()
	defer next.Kill()
	unsure := send(1, "+drop", tasks.Version) // a copy arrives at each attempt
	resend(before)
	both := send(2, "", tasks.Version)
	slow := send(1, "+slow", newer)
	for _, m := range deferred {
		h.until(m.id, tasks.Deferred)
	}
	h.hurry(func(m *rolled) bool { return len(h.arrived(m.To)) > 0 }, slow)
	next.Kill() // while the relay has not replied
	restart()
	// The old build goes, in the middle of it all.
	resend(both)
	h.stop()
	resend(fresh)
	h.hurry(h.accepted, before, fresh, both, slow)
	h.hurry(func(m *rolled) bool { return len(h.arrived(m.To)) > 1 }, unsure)
	t.Logf("%d mails in %v", len(all), time.Since(begin).Round(time.Millisecond))

	repeated := 0
	for _, m := range all {
		copies := h.arrived(m.To)
		want := 1
		switch {
		case slices.Contains(deferred, m):
			want = 0
		case m.resent || slices.Contains(unsure, m):
			want = 2
		}
		if len(copies) < want || want == 0 && len(copies) > 0 {
			t.Errorf("%s: %d copies arrived, want %d", m.To, len(copies), want)
		}
		if len(copies) == 0 {
			continue
		}
		secret := m.secret(t, copies[0])
		for _, c := range copies[1:] {
			repeated++
			if m.secret(t, c) != secret {
				t.Errorf("%s: a copy of the %s has a second secret", m.To, m.Kind)
			}
		}
		ref := tasks.Ref{ID: m.id, Purpose: m.Purpose, To: m.To, Session: m.Session}
		typed := m.answer(t, secret)
		if m.Session != "" {
			stranger := ref
			stranger.Session = ""
			if err := h.client.Verify(h.ctx, stranger, typed); !errors.Is(err, tasks.ErrRejected) {
				t.Errorf("%s: the %s without its session: got %v, want rejected", m.To, m.Kind, err)
			}
		}
		if err := h.client.Verify(h.ctx, ref, typed); err != nil {
			t.Errorf("%s: the secret of the %s: %v", m.To, m.Kind, err)
		}
		if err := h.client.Verify(h.ctx, ref, typed); !errors.Is(err, tasks.ErrRejected) {
			t.Errorf("%s: the secret of the %s once more: got %v, want rejected", m.To, m.Kind, err)
		}
	}
	if repeated < 20 {
		t.Errorf("%d mails arrived once more, want 20 and more", repeated)
	}
}

// enqueueAs queues m as a producer of a build with this version does, and returns its id.
func (h *fixture) enqueueAs(m tasks.Mail, version int) string {
	h.t.Helper()
	if version == tasks.Version {
		return h.send(m)
	}
	task, err := m.Task(tasks.Making{Lives: tasks.DefaultLives(), Now: time.Now()})
	if err != nil {
		h.t.Fatal(err)
	}
	task.Version = version
	encoded, err := task.Encode()
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := asynq.NewClientFromRedisClient(h.redis.Client).EnqueueContext(h.ctx, encoded); err != nil {
		h.t.Fatal(err)
	}
	return task.ID
}

// hurry lets these mails, where they are deferred, go out at once, until all are done. Others are not hurried: their
// failures would open the relay's circuit.
func (h *fixture) hurry(done func(*rolled) bool, groups ...[]*rolled) {
	h.t.Helper()
	open := slices.Concat(groups...)
	waitUntil(h.t, h.ctx, "the mails are done", func() bool {
		open = slices.DeleteFunc(open, done)
		for _, m := range open {
			queue := (tasks.Task{Mail: m.Mail}).Queue()
			h.redis.Client.ZAddXX(h.ctx, "asynq:{"+queue+"}:retry", redis.Z{Score: 1, Member: m.id}, redis.Z{Score: 1, Member: m.id + ".1"})
		}
		return len(open) == 0
	})
}

// accepted reports whether the relay has the last sending of the mail.
func (h *fixture) accepted(m *rolled) bool {
	h.t.Helper()
	s, err := h.client.Status(h.ctx, m.id)
	if err != nil {
		h.t.Fatal(err)
	}
	if s.State.Ended() && s.State != tasks.Accepted {
		h.t.Fatalf("%s: the %s mail ended: %+v", m.To, m.Kind, s)
	}
	return s.State == tasks.Accepted && (!m.resent || s.Resends == 1)
}

func (h *fixture) arrived(to string) (mails []dev.Message) {
	for _, m := range h.env.Messages() {
		if m.To == to {
			mails = append(mails, m)
		}
	}
	return mails
}
