package worker_test

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"example.com/securemail"
	"example.com/securemail/internal/credential"
	"example.com/securemail/internal/otpauth"
	"example.com/securemail/internal/submission"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

const canaryMails = 500

// 500 mails of every kind and with every outcome go through both ports. Then no secret of theirs,
// and none of the system's own, may be in Redis, a log, an error text, a metric or a page, in any
// form. No recipient may be outside Redis. The search must also find secrets that the test plants
// in every place.
func TestCanary_NoSecretLeaves(t *testing.T) {
	r := newCanaryRun(t)
	sent := r.send(0, canaryMails/5) // so that there is a backlog to look at
	r.start(nil, r.relay("implicit", submission.ImplicitTLS))
	r.start(nil, r.relay("starttls", submission.StartTLS))
	sent = append(sent, r.send(canaryMails/5, canaryMails)...)
	r.settle(sent)

	secrets := map[string]credential.Credential{} // by recipient
	for _, m := range sent {
		if m.seed == nil {
			var err error
			if m.seed, err = r.rdb.HGet(t.Context(), "securemail:{"+m.id+"}", "seed").Bytes(); err != nil {
				t.Fatalf("the seed of %s: %v", m.To, err)
			}
		}
		secrets[m.To] = r.expect(m.id, m.Mail, m.seed)
	}
	r.compare(secrets)
	r.answer(sent, secrets)
	planted := r.plant()

	for place, hits := range r.find(r.places()) {
		r.refuse(place, hits)
		if len(planted[place]) == 0 {
			t.Errorf("%s: nothing was planted", place)
		}
		for _, name := range planted[place] {
			for _, form := range canaryPlanted {
				if !slices.ContainsFunc(hits, func(h canaryHit) bool { return h.name == name && h.form == form }) {
					t.Errorf("%s: %s was not found %s", place, name, form)
				}
			}
		}
	}
}

// answer verifies a right and a wrong answer and resends a mail, as an application does.
func (r *canaryRun) answer(sent []canaryMail, secrets map[string]credential.Credential) {
	r.t.Helper()
	client, err := securemail.NewClient(r.redis.As(testserver.Producer), securemail.WithKeyRingFile(r.ring))
	if err != nil {
		r.t.Fatal(err)
	}
	right, resent := 0, []string{}
	for i, m := range sent {
		if m.state != tasks.Accepted {
			continue
		}
		secret := secrets[m.To]
		ref, typed := tasks.Ref{ID: m.id, Purpose: m.Purpose, To: m.To, Session: m.Session, Attempt: "attempt-of-" + m.To}, secret.Display().Reveal()
		r.secrets.add("the attempt to answer the mail to "+m.To, ref.Attempt)
		if m.Kind == tasks.TOTP {
			typed = otpauth.Code([]byte(secret.SharedSecret().Reveal()), time.Now())
		}
		switch i % 5 {
		case 0:
			typed = string('0'+(typed[0]+1)%10) + typed[1:] // as readable as the right one
			if err := client.Verify(r.t.Context(), ref, typed); err == nil {
				r.t.Errorf("%s: a wrong answer was accepted", m.id)
			}
		case 1:
			if err := client.Resend(r.t.Context(), m.id); err != nil {
				r.t.Errorf("resend: %v", err)
			}
			resent = append(resent, m.id)
		default:
			if err := client.Verify(r.t.Context(), ref, typed); err != nil {
				r.t.Errorf("%s: %v", m.id, err)
			}
			right++
		}
	}
	// Wait for all resends together, because a failing relay is suspended for ten seconds at a
	// time.
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	for _, id := range resent {
		if _, err := client.Wait(ctx, id); err != nil {
			r.t.Errorf("wait for a resend: %v", err)
		}
	}
	if right < 50 {
		r.t.Errorf("only %d right answers were checked", right)
	}
}

// refuse fails the test for every match that the test has not planted.
func (r *canaryRun) refuse(place string, hits []canaryHit) {
	r.t.Helper()
	leaks := slices.DeleteFunc(slices.Clone(hits), func(h canaryHit) bool { return strings.HasPrefix(h.name, "planted") })
	for _, leak := range leaks[:min(len(leaks), 10)] {
		r.t.Errorf("%s: %v", place, leak)
	}
	if len(leaks) > 10 {
		r.t.Errorf("%s: and %d more", place, len(leaks)-10)
	}
}

var (
	canaryKey  = regexp.MustCompile(`(?m)^    ([0-9A-Z]{5}(?:-[0-9A-Z]{5}){4})$`)
	canaryCode = regexp.MustCompile(`(?m)^    (\d{4} \d{4})$`)
	canaryURI  = regexp.MustCompile(`(?m)^(otpauth://\S+)$`)
)

// compare checks that the secrets of the search are those in the mails. A search for other secrets
// would find nothing either.
func (r *canaryRun) compare(secrets map[string]credential.Credential) {
	r.t.Helper()
	arrived := map[string]int{}
	for _, m := range r.env.Messages() {
		text := strings.ReplaceAll(m.Text, "\r\n", "\n")
		want := secrets[m.To].Display().Reveal()
		kind, got := "none", ""
		if match := canaryKey.FindStringSubmatch(text); match != nil {
			kind, got = "key", match[1]
		} else if match := canaryCode.FindStringSubmatch(text); match != nil {
			kind, got = "code", match[1]
		} else if match := canaryURI.FindStringSubmatch(text); match != nil {
			key, err := otpauth.ParseURI(match[1])
			if err != nil {
				r.t.Errorf("%s: %v", m.To, err)
			}
			kind, got, want = "totp", key.Secret.Reveal(), secrets[m.To].SharedSecret().Reveal()
		}
		if got == "" || got != want {
			r.t.Errorf("%s: the mail has %q, and the search is for %q", m.To, got, want)
		}
		arrived[kind+" through "+m.Port]++
	}
	for _, kind := range []tasks.Kind{tasks.Key, tasks.Code, tasks.TOTP} {
		for _, port := range []string{"smtps", "submission"} {
			if arrived[string(kind)+" through "+port] == 0 {
				r.t.Errorf("no %s arrived through %s", kind, port)
			}
		}
	}
	r.t.Logf("arrived: %v", arrived)
}

// canaryPlanted are the forms that canaryDisguise writes.
var canaryPlanted = []string{"as it is", "in base32 at 2", "in base64 at 1", "in hex"}

func canaryDisguise(s string) string {
	return strings.Join([]string{s, base32.StdEncoding.EncodeToString([]byte("ab" + s)), base64.StdEncoding.EncodeToString([]byte("{" + s + "}")),
		hex.EncodeToString([]byte(s))}, " ")
}

// plant puts a key, a code and an address into every place, and returns what the search must find
// in each.
func (r *canaryRun) plant() (found map[string][]string) {
	r.t.Helper()
	found = map[string][]string{}
	text := func(where string, places ...string) string {
		key, address := "planted key in "+where, "planted address in "+where
		code, err := rand.Int(rand.Reader, big.NewInt(1e8))
		if err != nil {
			r.t.Fatal(err)
		}
		secret, digits, to := rand.Text(), fmt.Sprintf("%08d", code), "planted-"+rand.Text()+"@private.example.org"
		r.secrets.add(key, secret)
		r.secrets.add("planted code in "+where, digits)
		r.private.add(address, to)
		for _, place := range places {
			found[place] = append(found[place], key, "planted code in "+where)
			if !strings.HasPrefix(place, "Redis") {
				found[place] = append(found[place], address)
			}
		}
		return canaryDisguise(secret) + " " + canaryDisguise(digits) + " " + canaryDisguise(to)
	}

	if err := r.rdb.Set(r.t.Context(), "planted", text("a key of Redis", placeMonitor, placeAOF, placeDump, placeKeys), 0).Err(); err != nil {
		r.t.Fatal(err)
	}
	r.log.Debug("planted", zap.Error(errors.New(text("a log line", placeLogs))))
	for _, w := range r.workers {
		w.metrics.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "planted_total",
			ConstLabels: prometheus.Labels{"reason": text("a label", placeMetrics)}}))
	}
	r.fail(text("an error", placeErrors, placePages, placeMonitor, placeAOF, placeDump, placeKeys))
	return found
}

// fail lets a task fail permanently with this error.
func (r *canaryRun) fail(text string) {
	r.t.Helper()
	info, err := asynq.NewClientFromRedisClient(r.rdb).EnqueueContext(r.t.Context(), asynq.NewTask("planted", nil), asynq.Queue("planted"))
	if err != nil {
		r.t.Fatal(err)
	}
	server := asynq.NewServerFromRedisClient(r.rdb, asynq.Config{Queues: map[string]int{"planted": 1}, LogLevel: asynq.FatalLevel})
	failing := asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return fmt.Errorf("%s: %w", text, asynq.SkipRetry) })
	if err := server.Start(failing); err != nil {
		r.t.Fatal(err)
	}
	defer server.Shutdown()
	waitUntil(r.t, r.t.Context(), "the task has failed", func() bool {
		failed, err := asynq.NewInspectorFromRedisClient(r.rdb).GetTaskInfo("planted", info.ID)
		return err == nil && failed.State == asynq.TaskStateArchived
	})
}
