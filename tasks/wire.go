package tasks

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/hibiken/asynq"
)

const (
	// Type is the type of every task of this package, matched exactly.
	Type = "send-secure-mail"
	// Queue holds keys and TOTP secrets.
	Queue = "secure-mail"
	// QueueCodes holds codes, for which a person waits with a form open. Workers empty it before [Queue].
	QueueCodes = "secure-mail-codes"

	// SeedSize is how many bytes a seed has.
	SeedSize = 32

	// Version is the version of the tasks and records that this package writes. A field that changes the secret, or who can
	// verify it, raises it. One that an older worker may leave out does not.
	Version = 2
	// oldestVersion is the oldest that it reads.
	oldestVersion = 2

	maxPayload = 16 << 10
	// maxResends bounds the number of a resend.
	maxResends = 1_000_000
)

// How asynq treats a task.
const (
	// A mail's life ends its retries, and its record counts its attempts. asynq's own limit only has to stay out of
	// the way: a mail that ran into it would be archived without an outcome.
	maxRetry = 1_000_000
	// handlerTimeout is longer than any wait for a relay and any attempt. The worker's own deadlines are well inside it.
	handlerTimeout = time.Hour
	// retention is how long asynqmon shows a finished task. The record lives longer.
	retention = time.Hour
)

// Task is what a worker reads from the queue: a [Mail] with its id and dates. A task that sends a mail again has an ID,
// Resends and Version alone: the rest is in the mail's record.
type Task struct {
	ID      string
	Resends int  // how often the mail was sent before: 0 for the first sending
	Version int  // of the task, and of the mail's record; 0 is [Version]
	Mail    Mail // its Session and IdempotencyKey are empty
	// Session is [SessionHash] of the mail's session, or empty.
	Session []byte
	// Fingerprint tells two mails with the same idempotency key apart: 16 bytes, or empty for a mail without such a key.
	Fingerprint []byte
	// CreatedAt and ExpiresAt bound the secret's life, UTC.
	CreatedAt time.Time
	ExpiresAt time.Time
	// Seed is 32 random bytes. The secret is derived from it and a key of the key ring.
	Seed []byte
}

// payload is a task's JSON. Its field names are the wire format, which testdata/*.json pins.
type payload struct {
	Version   int               `json:"v"`
	ID        string            `json:"id"`
	Resends   int               `json:"resend,omitempty"`
	Kind      Kind              `json:"kind,omitempty"`
	To        string            `json:"to,omitempty"`
	Purpose   string            `json:"purpose,omitempty"`
	Digits    int               `json:"digits,omitempty"`  // of a code; absent is 8
	Session   []byte            `json:"session,omitempty"` // base64, as are the other bytes
	Account   string            `json:"account,omitempty"`
	Locale    string            `json:"locale,omitempty"`
	Link      string            `json:"link,omitempty"`
	Brand     string            `json:"brand,omitempty"`
	ClientRef string            `json:"client_ref,omitempty"`
	Print     []byte            `json:"fingerprint,omitempty"`
	CreatedAt time.Time         `json:"created_at,omitzero"`
	ExpiresAt time.Time         `json:"expires_at,omitzero"`
	Seed      []byte            `json:"seed,omitempty"`
	Origin    Origin            `json:"context,omitzero"`
	Vars      map[string]string `json:"vars,omitempty"`
}

// NewTask returns m as a task for your own asynq client, and the mail's id. The task carries its options (task id, queue,
// timeout, retention); enqueue it without adding any. The only error is [ErrInvalid]. Where your Enqueue fails and Redis
// may have taken the task, enqueue the same task again: asynq.ErrTaskIDConflict then means that it was there already.
// With an IdempotencyKey it can also mean that another mail has the key; securemail.Client.Send tells them apart.
func NewTask(m Mail) (task *asynq.Task, id string, err error) {
	t, err := m.Task(Making{Lives: DefaultLives(), Now: time.Now()})
	if err != nil {
		return nil, "", err
	}
	task, err = t.Encode()
	return task, t.ID, err
}

// Making is what a task is made with besides its mail.
type Making struct {
	Lives  Lives
	Now    time.Time // when the secret's life starts
	Secret []byte    // the application's idempotency secret; empty for none
}

// Task returns m as a task, with an id (random, or made of IdempotencyKey) and a new seed. The error is [ErrInvalid].
func (m Mail) Task(with Making) (Task, error) {
	m, err := m.canonical(with.Lives)
	if err != nil {
		return Task{}, err
	}
	now := with.Now.UTC().Truncate(time.Millisecond)
	if m.Origin.At.IsZero() || m.Origin.At.After(now) {
		m.Origin.At = now
	}
	m.Origin.At = m.Origin.At.UTC().Truncate(time.Second)
	t := Task{ID: randomID(), Version: Version, CreatedAt: now, ExpiresAt: now.Add(m.ExpiresIn), Seed: make([]byte, SeedSize)}
	rand.Read(t.Seed) // never fails (crypto/rand)
	if m.Session != "" {
		t.Session = SessionHash(m.Session)
	}
	if m.IdempotencyKey != "" {
		t.ID, t.Fingerprint = keyedID(with.Secret, m.IdempotencyKey), m.fingerprint(with.Secret, t.Session)
	}
	m.Session, m.IdempotencyKey = "", ""
	t.Mail = m
	return t, nil
}

var errResends = fmt.Errorf("%w: resend: it is 1 to %d", ErrInvalid, maxResends)

// AsynqID returns the id under which asynq knows the task: <id>, or <id>.<resends> for a mail that is sent again.
func (t Task) AsynqID() string {
	if t.Resends == 0 {
		return t.ID
	}
	return fmt.Sprintf("%s.%d", t.ID, t.Resends)
}

// LateAt returns when the mail has become too old to be of use: a secret that arrives with less than a fifth of its life
// left is dead before a person has typed it. Workers do not send it any more.
func (t Task) LateAt() time.Time {
	return t.ExpiresAt.Add(-t.ExpiresAt.Sub(t.CreatedAt) / 5)
}

// Queue returns the queue of the task's kind.
func (t Task) Queue() string {
	if info, known := t.Mail.Kind.Info(); known {
		return info.Queue
	}
	return Queue
}

// Encode returns t as asynq carries it. The error is [ErrInvalid].
func (t Task) Encode() (*asynq.Task, error) {
	if t.Resends < 0 || t.Resends > maxResends {
		return nil, errResends
	}
	p := payload{Version: cmp.Or(t.Version, Version), ID: t.ID, Resends: t.Resends}
	if t.Resends == 0 {
		m := t.Mail
		p.Kind, p.To, p.Purpose, p.Digits, p.Session, p.Account, p.Locale = m.Kind, m.To, m.Purpose, m.Digits, t.Session, m.Account, m.Locale
		p.ClientRef, p.Print, p.Origin, p.Vars = m.ClientRef, t.Fingerprint, m.Origin, m.Vars
		p.CreatedAt, p.ExpiresAt, p.Seed = t.CreatedAt, t.ExpiresAt, t.Seed
	}
	body, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if len(body) > maxPayload {
		return nil, fmt.Errorf("%w: the task would be larger than %d bytes", ErrInvalid, maxPayload)
	}
	return asynq.NewTask(Type, body, asynq.TaskID(t.AsynqID()), asynq.Queue(t.Queue()), asynq.MaxRetry(maxRetry),
		asynq.Timeout(handlerTimeout), asynq.Retention(retention)), nil
}

// ParseTask reads the type and the payload of a task that [NewTask] made. The error is [ErrInvalid] or [ErrNewer], and
// holds nothing of the payload's values.
func ParseTask(taskType string, body []byte) (Task, error) {
	if taskType != Type {
		return Task{}, fmt.Errorf("%w: its type is not %s", ErrNewer, Type)
	}
	p, err := decode(body)
	if err != nil {
		return Task{}, err
	}
	if !ValidID(p.ID) {
		return Task{}, fmt.Errorf("%w: id: use 16 to 64 of a-z, A-Z, 0-9, underscore and hyphen", ErrInvalid)
	}
	if p.Resends < 0 || p.Resends > maxResends {
		return Task{}, errResends
	}
	if p.Resends > 0 {
		return Task{ID: p.ID, Resends: p.Resends, Version: p.Version}, nil
	}
	return p.firstSending()
}

// firstSending reads a task that is not a resend.
func (p payload) firstSending() (Task, error) {
	switch {
	case p.Brand != "" || p.Link != "":
		// A mail without them would be another one than what was asked for.
		return Task{}, fmt.Errorf("%w: this program knows no brands and links", ErrNewer)
	case len(p.Seed) != SeedSize:
		return Task{}, fmt.Errorf("%w: seed: it needs exactly %d bytes", ErrInvalid, SeedSize)
	case len(p.Session) != 0 && len(p.Session) != sha256.Size:
		return Task{}, fmt.Errorf("%w: session: it needs exactly %d bytes", ErrInvalid, sha256.Size)
	case len(p.Session) != 0 && p.Kind == TOTP:
		return Task{}, fmt.Errorf("%w: session: a totp mail takes none", ErrInvalid)
	case len(p.Print) != 0 && len(p.Print) != fingerprintSize:
		return Task{}, fmt.Errorf("%w: fingerprint: it needs exactly %d bytes", ErrInvalid, fingerprintSize)
	}
	// The longest life is a setting of the worker, which applies it to what is returned here. So any life passes.
	life := p.ExpiresAt.Sub(p.CreatedAt)
	m, err := Mail{Kind: p.Kind, To: p.To, Purpose: p.Purpose, Digits: p.Digits, Account: p.Account, Locale: p.Locale, ExpiresIn: life,
		Origin: p.Origin, Vars: p.Vars, ClientRef: p.ClientRef}.canonical(anyLife(life))
	if err != nil {
		return Task{}, err
	}
	return Task{ID: p.ID, Version: p.Version, Mail: m, Session: p.Session, Fingerprint: p.Print, CreatedAt: p.CreatedAt.UTC(), ExpiresAt: p.ExpiresAt.UTC(), Seed: p.Seed}, nil
}

func anyLife(life time.Duration) Lives {
	lives := Lives{}
	for _, info := range kinds {
		lives[info.Kind] = life
	}
	return lives
}

// decode looks at the version first, because only a known version tells what the fields mean.
func decode(body []byte) (payload, error) {
	if len(body) > maxPayload {
		return payload{}, fmt.Errorf("%w: the payload is larger than %d bytes", ErrInvalid, maxPayload)
	}
	var p payload
	err := json.Unmarshal(body, &p)
	v := struct {
		Version int `json:"v"`
	}{p.Version}
	if err != nil && json.Unmarshal(body, &v) != nil || !utf8.Valid(body) || v.Version < 1 {
		return payload{}, fmt.Errorf("%w: the payload is not a JSON object with a version v", ErrInvalid)
	}
	if v.Version > Version {
		return payload{}, fmt.Errorf("%w: v is %d, this program knows %d", ErrNewer, v.Version, Version)
	}
	if v.Version < oldestVersion {
		return payload{}, fmt.Errorf("%w: v is %d, and this program reads %d and newer", ErrInvalid, v.Version, oldestVersion)
	}
	if err != nil {
		return payload{}, fmt.Errorf("%w: the payload %s", ErrInvalid, jsonFault(err))
	}
	return p, nil
}

// jsonFault names the field that does not fit. The library's own texts can quote a value.
func jsonFault(err error) string {
	var typeErr *json.UnmarshalTypeError
	if errors.As(err, &typeErr) && typeErr.Field != "" {
		return fmt.Sprintf("has the wrong type of value in the field %.40q", typeErr.Field)
	}
	return "has a value that does not fit its field"
}
