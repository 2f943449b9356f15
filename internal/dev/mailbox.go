package dev

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// maxMessages is how many mails the mailbox keeps; older ones go.
const maxMessages = 1000

// mailbox keeps the newest mails in memory and wakes whoever waits for one.
type mailbox struct {
	mu       sync.Mutex
	messages []*Message    // oldest first; a Message in here never changes
	arrived  chan struct{} // closed, and replaced, at every arrival
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

// snapshot returns what is there, and a channel that closes when there is more.
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

// newestFirst returns what is there in the order in which people and Mailpit's API look at it.
func (b *mailbox) newestFirst() []*Message {
	messages, _ := b.snapshot()
	slices.Reverse(messages)
	return messages
}

// find returns the mail with that ID, or the newest for the ID "latest" (Mailpit's word), or nil.
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
			return Message{}, fmt.Errorf("dev: none of the %d mails in the inbox is the one waited for: %w", len(messages), ctx.Err())
		}
	}
}
