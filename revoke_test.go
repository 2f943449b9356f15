package securemail_test

import (
	"errors"
	"strings"
	"testing"

	"example.com/securemail/tasks"
)

func TestRevoke_LetsVerifyReject(t *testing.T) {
	h := newFixture(t)
	a := h.mailed(tasks.Key, alice, "sign-in")
	for range 2 {
		h.must(h.client.Revoke(t.Context(), a.ID))
	}
	if got := resultOf(check(h.client, t.Context(), a)); got != "rejected" {
		t.Errorf("got %s, want rejected", got)
	}
	if got := h.credential(a.ID); got != tasks.CredentialRevoked {
		t.Errorf("got %s, want revoked", got)
	}
	used := h.mailed(tasks.Key, alice, "sign-in")
	h.must(check(h.client, t.Context(), used))
	h.must(h.client.Revoke(t.Context(), used.ID))
	if got := h.credential(used.ID); got != tasks.CredentialVerified {
		t.Errorf("a used secret: got %s, want used", got)
	}
	for _, id := range []string{"", "no id", strings.Repeat("0", 26)} {
		if err := h.client.Revoke(t.Context(), id); !errors.Is(err, tasks.ErrNotFound) {
			t.Errorf("%q: got %v, want ErrNotFound", id, err)
		}
	}
}

func TestRevoke_EndsAQueuedMail(t *testing.T) {
	h := newFixture(t)
	for _, kind := range []tasks.Kind{tasks.Code, tasks.Key} {
		id := h.queue(tasks.Mail{Kind: kind, To: alice, Purpose: "sign-in"})
		h.must(h.client.Revoke(t.Context(), id))
		s, err := h.client.Wait(t.Context(), id)
		if err != nil || s.State != tasks.Revoked || s.Credential != tasks.CredentialRevoked || s.Kind != kind || s.Purpose != "sign-in" {
			t.Errorf("got %+v, %v; want revoked", s, err)
		}
		if left := h.redis.TTL(t.Context(), "securemail:{"+id+"}").Val(); left.Hours() < 7*24 || left.Hours() > 9*24 {
			t.Errorf("the record lives for %v, want seven days after the expiry", left)
		}
	}
}

func TestUnlock_ClearsTheWrongAnswersOfAllPurposes(t *testing.T) {
	h := newFixture(t)
	for _, purpose := range []string{"sign-in", "recovery"} {
		for range 4 {
			a := h.mailed(tasks.Code, alice, purpose)
			for range 5 {
				check(h.client, t.Context(), wrong(a))
			}
		}
		if got := resultOf(check(h.client, t.Context(), h.mailed(tasks.Code, alice, purpose))); got != "rejected" {
			t.Errorf("%s: got %s, want rejected", purpose, got)
		}
	}
	h.must(h.client.Unlock(t.Context(), "alice@EXAMPLE.com"))
	for _, purpose := range []string{"sign-in", "recovery"} {
		if got := resultOf(check(h.client, t.Context(), h.mailed(tasks.Code, alice, purpose))); got != "right" {
			t.Errorf("%s: got %s after Unlock, want right", purpose, got)
		}
	}
	if err := h.client.Unlock(t.Context(), "alice"); !errors.Is(err, tasks.ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", err)
	}
}
