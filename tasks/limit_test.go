package tasks_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"example.com/securemail/internal/keyring"
	"example.com/securemail/internal/record"
	"example.com/securemail/tasks"
)

// TestSendSaysWhereTheRecipientsLimitIsReached, where the client has the key ring. Without it the worker alone says so.
func TestSendSaysWhereTheRecipientsLimitIsReached(t *testing.T) {
	h := newHouse(t)
	sender, err := tasks.NewClient(h.rdb)
	h.must(err)
	ring, err := keyring.Load(h.ring)
	h.must(err)
	for n := range record.MailsPerHour {
		_, err := h.records.Admit(t.Context(), record.RecipientHash(ring.Recipients(), alice), "key", fmt.Sprintf("mail%d", n), 0, time.Now().Add(time.Hour))
		h.must(err)
	}
	mail := tasks.Mail{Kind: tasks.Code, To: "alice@EXAMPLE.com"}
	if _, err := h.client.Send(t.Context(), mail); !errors.Is(err, tasks.ErrLimited) {
		t.Errorf("got %v, want ErrLimited", err)
	}
	// Who repeats a Send whose answer was lost learns that the mail was queued, though it filled the hour itself.
	repeated := mail
	repeated.IdempotencyKey = "1"
	id, err := sender.Send(t.Context(), repeated)
	h.must(err)
	h.must(h.client.Unlock(t.Context(), alice))
	for n := range record.MailsPerHour - 1 {
		_, err := h.records.Admit(t.Context(), record.RecipientHash(ring.Recipients(), alice), "key", fmt.Sprintf("mail%d", n), 0, time.Now().Add(time.Hour))
		h.must(err)
	}
	_, err = h.records.Admit(t.Context(), record.RecipientHash(ring.Recipients(), alice), "code", id, 0, time.Now().Add(time.Hour))
	h.must(err)
	if again, err := h.client.Send(t.Context(), repeated); err != nil || again != id {
		t.Errorf("a mail that was sent: got %s, %v, want %s", again, err, id)
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
