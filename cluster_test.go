package securemail_test

import (
	"testing"

	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// The test calls the client's methods on a Cluster of three nodes. A record, its recipient's
// counters and its task are in different slots.
func TestClient_WorksOnACluster(t *testing.T) {
	cluster := testserver.StartCluster(t)
	h := fixtureOver(t, cluster, cluster)
	for range 20 {
		a := h.mailed(tasks.Code, "carol@example.com", "sign-in")
		if got := all(t, h.client, 100, func(int) answer { return a }); got["right"] != 1 || got["rejected"] != 99 {
			t.Fatalf("right answers: got %v, want 1 right and 99 rejected", got)
		}
	}
	var answers []answer
	// Four wrong answers lock no secret. An answer that finds its secret locked releases its
	// reservation, but other answers may find the counter full before.
	for range 25 {
		answers = append(answers, h.mailed(tasks.Code, alice, "sign-in"))
	}
	if got := all(t, h.client, 100, func(i int) answer { return wrong(answers[i%25]) }); got["rejected"] != 80 {
		t.Errorf("wrong answers: got %v, want 20 evaluated", got)
	}
	h.must(h.client.Unlock(t.Context(), alice))

	sent := h.send()
	h.must(h.client.Resend(t.Context(), sent.ID))
	if _, a, err := h.open(sent.ID + ".1"); err != nil || a.Resends != 1 {
		t.Errorf("a resend: got %+v, %v", a, err)
	}
	if got := resultOf(check(h.client, t.Context(), sent)); got != "right" {
		t.Errorf("after a resend: got %s, want right", got)
	}

	queued := h.queue(tasks.Mail{Kind: tasks.Key, To: alice})
	h.must(h.client.Revoke(t.Context(), queued))
	if s, err := h.client.Status(t.Context(), queued); err != nil || s.State != tasks.Revoked {
		t.Errorf("a queued mail that was revoked: got %+v, %v", s, err)
	}

	totp := h.mailed(tasks.TOTP, alice, "sign-in")
	if got := h.verify(totp, authenticator{t, totp.Typed}.code(0)); got != "right" {
		t.Errorf("a TOTP code: got %s, want right", got)
	}
	if e, err := h.client.Export(t.Context(), totp.Ref); err != nil || e.Secret == "" {
		t.Errorf("export: got %v", err)
	}
}
