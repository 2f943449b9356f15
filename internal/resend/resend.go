// Package resend seals what a record keeps of a mail so that the mail can be sent again, and opens it: the payload of its
// task, under a key of the key ring.
package resend

import (
	"errors"
	"fmt"

	"example.com/securemail/internal/credential"
	"example.com/securemail/tasks"
)

// Seal seals the payload of a mail's task. It is bound to the mail's id and purpose, and to the id of the key.
func Seal(key []byte, id, purpose, keyID string, payload []byte) ([]byte, error) {
	return credential.Seal(key, binding(id, purpose, keyID), payload)
}

// Open returns the task of a mail's first sending, and its payload. The error holds nothing of them.
func Open(key []byte, id, purpose, keyID string, sealed []byte) (tasks.Task, []byte, error) {
	payload, err := credential.Unseal(key, binding(id, purpose, keyID), sealed)
	if err != nil {
		return tasks.Task{}, nil, fmt.Errorf("open the sealed mail: %w", err)
	}
	t, err := tasks.ParseTask(tasks.Type, payload)
	if err == nil && t.ID != id {
		err = errors.New("the sealed mail is another one")
	}
	if err != nil {
		return tasks.Task{}, nil, err
	}
	return t, payload, nil
}

func binding(id, purpose, keyID string) credential.Binding {
	return credential.Binding{Use: credential.UseMail, ID: id, Purpose: purpose, KeyID: keyID}
}
