package securemail_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"example.com/securemail"
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
