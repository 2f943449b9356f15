package worker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// limitedFixture is a fixture whose worker has limits, and a client that has no key ring: only the worker counts.
func limitedFixture(t *testing.T, change func(*tasks.Limits)) (*fixture, *securemail.Client) {
	t.Helper()
	h := newFixture(t)
	h.stop()
	h.mailLimits = tasks.DefaultLimits()
	change(&h.mailLimits)
	h.start()
	sender, err := securemail.NewClient(h.redis.As(testserver.Sender))
	if err != nil {
		t.Fatal(err)
	}
	return h, sender
}

// sendTo sends a key to each of n recipients for one asker, and returns how the mails stand when each has ended or waits.
func (h *fixture) sendTo(sender *securemail.Client, n int, name, ip string) map[string]int {
	h.t.Helper()
	var ids []string
	for i := range n {
		receipt, err := sender.Send(h.ctx, tasks.Mail{Kind: tasks.Key, To: fmt.Sprintf("%s%d@example.com", name, i), Origin: tasks.Origin{IP: ip}})
		if err != nil {
			h.t.Fatal(err)
		}
		ids = append(ids, receipt.ID)
	}
	stand := map[string]int{}
	for _, id := range ids {
		for s, err := range h.client.Watch(h.ctx, id) {
			if err != nil {
				h.t.Fatal(err)
			}
			if s.State.Ended() || s.State == tasks.Deferred {
				stand[fmt.Sprint(s.State, " ", s.Reason)]++
				break
			}
		}
	}
	return stand
}

// TestLimits_OneAskerDoesNotMailManyStrangers: the worker refuses what one IP address causes beyond its hour.
func TestLimits_OneAskerDoesNotMailManyStrangers(t *testing.T) {
	h, sender := limitedFixture(t, func(l *tasks.Limits) { l.PerOrigin = 5 })
	if got := h.sendTo(sender, 20, "stranger", "2001:db8::7"); got["accepted "] != 5 || got["refused limited"] != 15 {
		t.Errorf("got %v, want 5 accepted and 15 refused", got)
	}
	if got := h.sendTo(sender, 1, "stranger1", "2001:db8:0:1::7"); got["accepted "] != 1 {
		t.Errorf("for another asker: got %v", got)
	}
	if n := h.logs.FilterFieldKey("error").FilterMessage("mail refused").Len(); n != 15 {
		t.Errorf("%d lines of the log name the limit, want 15", n)
	}
	for _, key := range h.redis.Client.Keys(t.Context(), "*2001*").Val() {
		t.Errorf("the key %s holds the address", key)
	}
}

// TestLimits_WhatIsOverTheLimitInAllIsSentLater, and is not lost.
func TestLimits_WhatIsOverTheLimitInAllIsSentLater(t *testing.T) {
	h, sender := limitedFixture(t, func(l *tasks.Limits) { l.TotalPerMinute = 3 })
	if got := h.sendTo(sender, 5, "somebody", ""); got["accepted "] != 3 || got["deferred limited"] != 2 {
		t.Errorf("got %v, want 3 accepted and 2 that wait", got)
	}
	for _, id := range h.redis.Client.ZRange(h.ctx, "securemail:{total}", 0, -1).Val() {
		h.redis.Client.ZIncrBy(h.ctx, "securemail:{total}", -float64(time.Minute.Milliseconds()), id)
	}
	for _, task := range h.redis.Client.ZRange(h.ctx, "asynq:{secure-mail}:retry", 0, -1).Val() { // their time has come
		h.redis.Client.ZAdd(h.ctx, "asynq:{secure-mail}:retry", redis.Z{Score: float64(time.Now().Unix()), Member: task})
	}
	waitUntil(t, h.ctx, "all mails have arrived", func() bool { return len(h.env.Messages()) == 5 })
}

// TestLimits_TooSoonIsRefusedWhereTheSettingsSaySo: nobody wants a second code a minute later.
func TestLimits_TooSoonIsRefusedWhereTheSettingsSaySo(t *testing.T) {
	h, sender := limitedFixture(t, func(l *tasks.Limits) { l.TooSoon = tasks.TooSoonRefuse })
	if got := h.sendTo(sender, 1, "alice", ""); got["accepted "] != 1 {
		t.Errorf("the first: got %v", got)
	}
	if got := h.sendTo(sender, 1, "alice", ""); got["refused limited"] != 1 {
		t.Errorf("the second: got %v, want it refused", got)
	}
}

// TestLimits_ARetryDoesNotCountAgain: the relay puts the mail off, and the second attempt is no second mail.
func TestLimits_ARetryDoesNotCountAgain(t *testing.T) {
	h, sender := limitedFixture(t, func(l *tasks.Limits) { l.TotalPerMinute = 2 })
	receipt, err := sender.Send(h.ctx, tasks.Mail{Kind: tasks.Key, To: "alice+450@example.com", Origin: tasks.Origin{IP: "192.0.2.7"}})
	if err != nil {
		t.Fatal(err)
	}
	h.until(receipt.ID, tasks.Deferred)
	waitUntil(t, h.ctx, "the second attempt", func() bool {
		h.redis.Client.ZAddXX(h.ctx, "asynq:{secure-mail}:retry", redis.Z{Score: float64(time.Now().Unix()), Member: receipt.ID})
		s, err := h.client.Status(h.ctx, receipt.ID)
		return err == nil && s.Tries == 2
	})
	keys := append(h.redis.Client.Keys(h.ctx, "securemail:{o:*").Val(), "securemail:{total}")
	if len(keys) != 2 {
		t.Fatalf("got %q, want the keys of the asker and of all", keys)
	}
	for _, key := range keys {
		if n := h.redis.Client.ZCard(h.ctx, key).Val(); n != 1 {
			t.Errorf("%s has %d sendings, want 1", key, n)
		}
	}
}
