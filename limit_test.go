package securemail_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.com/securemail"
	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/limits"
	"example.com/securemail/tasks"
)

// Send checks the recipient's limits if the client has the key ring. Without it only the worker
// checks them.
func TestSend_ReportsTheRecipientsLimit(t *testing.T) {
	h := newFixture(t)
	sender, err := securemail.NewClient(h.rdb)
	h.must(err)
	mails := limits.NewMails(h.redis, tasks.DefaultLimits())
	count := func(id string, kind tasks.Kind) {
		t.Helper()
		_, err := mails.Admit(t.Context(), limits.Sending{ID: id, Kind: kind, Recipient: h.counters(alice), Until: time.Now().Add(time.Hour)})
		h.must(err)
	}
	for n := range 10 {
		count(fmt.Sprintf("mail%d", n), tasks.Key)
	}
	mail := tasks.Mail{Kind: tasks.Code, To: "alice@EXAMPLE.com"}
	if _, err := h.client.Send(t.Context(), mail); !errors.Is(err, tasks.ErrLimited) {
		t.Errorf("got %v, want ErrLimited", err)
	}
	// A repeated Send, whose first reply was lost, succeeds, although the mail itself has reached
	// the limit of the hour.
	repeated := mail
	repeated.IdempotencyKey = "1"
	receipt, err := sender.Send(t.Context(), repeated)
	h.must(err)
	id := receipt.ID
	h.must(h.client.Unlock(t.Context(), alice))
	for n := range 9 {
		count(fmt.Sprintf("mail%d", n), tasks.Key)
	}
	count(id, tasks.Code)
	if again, err := h.client.Send(t.Context(), repeated); err != nil || again.ID != id {
		t.Errorf("a mail that was sent: got %s, %v, want %s", again.ID, err, id)
	}
	if _, err := sender.Send(t.Context(), mail); err != nil {
		t.Errorf("without the key ring: got %v", err)
	}
	if _, err := h.client.Send(t.Context(), tasks.Mail{Kind: tasks.Code, To: "bob@example.com"}); err != nil {
		t.Errorf("another recipient: got %v", err)
	}
	h.must(h.client.Unlock(t.Context(), alice))
	if _, err := h.client.Send(t.Context(), mail); err != nil {
		t.Errorf("after Unlock: got %v", err)
	}
}

// admit counts mails to alice as a worker does.
func (h *fixture) admit(l tasks.Limits, kind tasks.Kind, n int) {
	h.Helper()
	mails := limits.NewMails(h.redis, l)
	for range n {
		_, err := mails.Admit(h.Context(), limits.Sending{ID: rand.Text(), Kind: kind, Recipient: h.counters(alice), Until: time.Now().Add(24 * time.Hour)})
		h.must(err)
	}
}

// limited returns the error of a mail that is over the limit.
func (h *fixture) limited(err error, limit tasks.LimitName) *tasks.LimitError {
	h.Helper()
	var limited *tasks.LimitError
	if !errors.As(err, &limited) || !errors.Is(err, tasks.ErrLimited) || limited.Limit != limit {
		h.Fatalf("got %v, want limited (%s)", err, limit)
	}
	if strings.Contains(err.Error(), "alice") || strings.Contains(err.Error(), "192") {
		h.Errorf("the error says who: %v", err)
	}
	return limited
}

// TestSend_DoesNotLeavePeopleGuessingWhenToTryAgain: after RetryAfter it works, and not before.
func TestSend_DoesNotLeavePeopleGuessingWhenToTryAgain(t *testing.T) {
	standard, refuse := tasks.DefaultLimits(), tasks.DefaultLimits()
	refuse.TooSoon = tasks.TooSoonRefuse
	var soon tasks.Limits
	soon.RecipientInterval = time.Minute
	for name, test := range map[string]struct {
		limits tasks.Limits
		fill   func(*fixture)
		want   time.Duration // about
	}{
		"the hour": {standard, func(h *fixture) { h.admit(standard, tasks.Key, 10) }, time.Hour},
		"the day": {standard, func(h *fixture) {
			for range 3 {
				h.admit(standard, tasks.Key, 10)
				h.age(alice, 2*time.Hour)
			}
		}, 18 * time.Hour},
		"too soon":                 {refuse, func(h *fixture) { h.admit(refuse, tasks.Code, 1) }, time.Minute},
		"a turn that is too late":  {soon, func(h *fixture) { h.admit(soon, tasks.Code, 12) }, 4 * time.Minute}, // 12 min away, of use for 8
		"two kinds share the hour": {standard, func(h *fixture) { h.admit(standard, tasks.Code, 5); h.admit(standard, tasks.Key, 5) }, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			h := newFixture(t)
			client, err := securemail.NewClient(h.rdb, securemail.WithKeyRingFile(h.ring), securemail.WithLimits(test.limits))
			h.must(err)
			test.fill(h)
			mail := tasks.Mail{Kind: tasks.Code, To: alice}
			_, err = client.Send(t.Context(), mail)
			limited := h.limited(err, tasks.LimitRecipient)
			if off := test.want - limited.RetryAfter; off < 0 || off > 10*time.Second {
				t.Errorf("got RetryAfter %v, want %v", limited.RetryAfter, test.want)
			}
			const before = 5 * time.Second
			h.age(alice, limited.RetryAfter-before)
			if _, err := client.Send(t.Context(), mail); !errors.Is(err, tasks.ErrLimited) {
				t.Errorf("%v before: got %v, want limited", before, err)
			}
			h.age(alice, before)
			_, err = client.Send(t.Context(), mail)
			h.must(err)
		})
	}
}

// TestSend_LooksAtTheLimitsOfAskersAndInAll, and queues nothing that is over one.
func TestSend_LooksAtTheLimitsOfAskersAndInAll(t *testing.T) {
	h := newFixture(t)
	l := tasks.DefaultLimits()
	l.PerOrigin, l.TotalPerMinute, l.TooSoon = 1, 2, tasks.TooSoonRefuse
	client, err := securemail.NewClient(h.rdb, securemail.WithKeyRingFile(h.ring), securemail.WithLimits(l))
	h.must(err)
	worker := limits.NewMails(h.redis, l)
	ring, err := keyring.Load(h.ring)
	h.must(err)
	send := func(to, ip string) error {
		m := tasks.Mail{Kind: tasks.Key, To: to, Origin: tasks.Origin{IP: ip}}
		if _, err := client.Send(t.Context(), m); err != nil {
			return err
		}
		task, err := m.Task(tasks.Making{Lives: tasks.DefaultLives(), Now: time.Now()})
		h.must(err)
		sending, err := limits.NewSending(ring.Recipients(), task)
		h.must(err)
		_, err = worker.Admit(t.Context(), sending)
		return err
	}
	h.must(send("bob@example.com", "192.0.2.7"))
	if after := h.limited(send(alice, "192.0.2.7"), tasks.LimitOrigin).RetryAfter; after < 59*time.Minute || after > time.Hour {
		t.Errorf("over its asker's limit: got RetryAfter %v", after)
	}
	h.must(send("carol@example.com", ""))
	if after := h.limited(send(alice, "192.0.2.8"), tasks.LimitTotal).RetryAfter; after < 50*time.Second || after > time.Minute {
		t.Errorf("over the limit in all: got RetryAfter %v", after)
	}
	if n := h.redis.LLen(t.Context(), "asynq:{"+tasks.Queue+"}:pending").Val(); n != 2 {
		t.Errorf("%d mails are queued, want 2", n)
	}
}

// TestSend_TellsWhenTheNextMailMayGo: with the key ring from what was counted, without it from the clock.
func TestSend_TellsWhenTheNextMailMayGo(t *testing.T) {
	h := newFixture(t)
	plain, err := securemail.NewClient(h.rdb)
	h.must(err)
	check := func(name string, client *securemail.Client, want time.Duration) {
		t.Helper()
		receipt, err := client.Send(t.Context(), tasks.Mail{Kind: tasks.Key, To: alice})
		h.must(err)
		if off := time.Until(receipt.ResendAfter) - want; off < -5*time.Second || off > time.Second || receipt.ResendAfter.Location() != time.UTC {
			t.Errorf("%s: got %v, want in %v, UTC", name, receipt.ResendAfter, want)
		}
	}
	check("nothing was counted", h.client, time.Minute)
	check("without a key ring", plain, time.Minute)
	h.admit(tasks.DefaultLimits(), tasks.Key, 3) // now, in one and in two minutes
	check("three mails are on their way", h.client, 4*time.Minute)
	h.admit(tasks.DefaultLimits(), tasks.Code, 6)
	check("this one fills the hour", h.client, time.Hour)
	unlimited, err := securemail.NewClient(h.rdb, securemail.WithKeyRingFile(h.ring), securemail.WithLimits(tasks.Limits{}))
	h.must(err)
	check("no limits", unlimited, 0)
}

// TestResend_DoesNotPassTheLimits: a client with the key ring knows whom a mail counts for, and one without leaves it to the
// workers.
func TestResend_DoesNotPassTheLimits(t *testing.T) {
	h := newFixture(t)
	refuse := tasks.DefaultLimits()
	refuse.TooSoon = tasks.TooSoonRefuse
	client, err := securemail.NewClient(h.rdb, securemail.WithKeyRingFile(h.ring), securemail.WithLimits(refuse))
	h.must(err)
	mail := h.send()
	h.admit(refuse, tasks.Key, 1)
	if after := h.limited(client.Resend(t.Context(), mail.ID), tasks.LimitRecipient).RetryAfter; after < 50*time.Second || after > time.Minute {
		t.Errorf("got RetryAfter %v", after)
	}
	if s, err := client.Status(t.Context(), mail.ID); err != nil || s.State != tasks.Accepted || s.Resends != 0 {
		t.Errorf("after a refused resend: got %+v, %v", s, err)
	}
	h.age(alice, time.Minute)
	h.must(client.Resend(t.Context(), mail.ID))
	h.admit(refuse, tasks.Key, 1)
	h.must(client.Resend(t.Context(), mail.ID)) // it is queued
	other := h.send()
	sender, err := securemail.NewClient(h.rdb)
	h.must(err)
	h.must(sender.Resend(t.Context(), other.ID))
}

func TestWithLimits_RefusesWhatMakesNoSense(t *testing.T) {
	_, err := securemail.NewClient(nil, securemail.WithLimits(tasks.Limits{RecipientInterval: 2 * time.Hour, RecipientPerHour: 10, RecipientPerDay: 5, TooSoon: "later"}))
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{"recipient_interval: 2h", "recipient_per_hour: 10 is more than", `too_soon: "later"`} {
		if !strings.Contains(err.Error(), "WithLimits: "+want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
