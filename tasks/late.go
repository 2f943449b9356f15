package tasks

import "time"

// LateAt returns when the mail has become too old to be of use: a secret that arrives with less than a fifth of its life
// left is dead before a person has typed it. Workers do not send it any more.
func (t Task) LateAt() time.Time {
	return t.ExpiresAt.Add(-t.ExpiresAt.Sub(t.CreatedAt) / 5)
}
