package dev

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// maxMessages is how many mails the mailbox keeps. It drops older ones.
const maxMessages = 1000

// mailbox keeps the newest mails in memory, and wakes the callers of wait.
type mailbox struct {
	mu       sync.Mutex
	messages []*Message    // oldest first; they never change
	arrived  chan struct{} // closed and replaced when a mail arrives
}

func newMailbox() *mailbox { return &mailbox{arrived: make(chan struct{})} }

func (b *mailbox) add(m *Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.messages) == maxMessages {
		b.messages = slices.Delete(b.messages, 0, 1)
	}
	b.messages = append(b.messages, m)
	close(b.arrived)
	b.arrived = make(chan struct{})
}

// snapshot returns the mails, and a channel that closes when another arrives.
func (b *mailbox) snapshot() ([]*Message, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.messages), b.arrived
}

func (b *mailbox) all() []Message {
	messages, _ := b.snapshot()
	all := make([]Message, len(messages))
	for i, m := range messages {
		all[i] = *m
	}
	return all
}

// newestFirst returns the mails in the order of the page and of Mailpit's API.
func (b *mailbox) newestFirst() []*Message {
	messages, _ := b.snapshot()
	slices.Reverse(messages)
	return messages
}

// find returns the mail with the given ID, or nil. The ID "latest" is the newest mail, as in
// Mailpit.
func (b *mailbox) find(id string) *Message {
	messages := b.newestFirst()
	i := slices.IndexFunc(messages, func(m *Message) bool { return id == "latest" || m.ID == id })
	if i < 0 {
		return nil
	}
	return messages[i]
}

func (b *mailbox) wait(ctx context.Context, match func(Message) bool) (Message, error) {
	for {
		messages, arrived := b.snapshot()
		for _, m := range messages {
			if match(*m) {
				return *m, nil
			}
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return Message{}, fmt.Errorf("dev: none of the %d mails in the inbox matches: %w", len(messages), ctx.Err())
		}
	}
}
