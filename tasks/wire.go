package tasks

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/hibiken/asynq"

	"example.com/securemail/internal/lp"
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

	version    = 1
	maxPayload = 16 << 10
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

// Task is what a worker reads from the queue: a [Mail] with its id and dates. A task that sends a mail again has an ID
// and Resends alone: the rest is in the mail's record.
type Task struct {
	ID      string
	Resends int // how often the mail was sent before: 0 for the first sending
	Mail    Mail
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
	Account   string            `json:"account,omitempty"`
	Locale    string            `json:"locale,omitempty"`
	CreatedAt time.Time         `json:"created_at,omitzero"`
	ExpiresAt time.Time         `json:"expires_at,omitzero"`
	Seed      []byte            `json:"seed,omitempty"` // base64
	Origin    Origin            `json:"context,omitzero"`
	Vars      map[string]string `json:"vars,omitempty"`
}

// NewTask returns m as a task for your own asynq client, and the mail's id. The task carries its options (task id, queue,
// timeout, retention); enqueue it without adding any. The only error is [ErrInvalid]. Where your Enqueue fails and Redis
// may have taken the task, enqueue the same task again: asynq.ErrTaskIDConflict then means that it was there already.
func NewTask(m Mail) (task *asynq.Task, id string, err error) {
	t, err := m.Task(DefaultLives(), time.Now())
	if err != nil {
		return nil, "", err
	}
	task, err = t.Encode()
	return task, t.ID, err
}

// Task returns m as a task, with an id (random, or made of IdempotencyKey) and a new seed. The secret's life starts at now,
// and is no longer than lives allows for the kind. The error is [ErrInvalid].
func (m Mail) Task(lives Lives, now time.Time) (Task, error) {
	m, err := m.canonical(lives)
	if err != nil {
		return Task{}, err
	}
	seed := make([]byte, SeedSize)
	rand.Read(seed) // never fails (crypto/rand)
	now = now.UTC().Truncate(time.Millisecond)
	if m.Origin.At.IsZero() || m.Origin.At.After(now) {
		m.Origin.At = now
	}
	m.Origin.At = m.Origin.At.UTC().Truncate(time.Second)
	return Task{ID: newID(m), Mail: m, CreatedAt: now, ExpiresAt: now.Add(m.ExpiresIn), Seed: seed}, nil
}

// AsynqID returns the id under which asynq knows the task: <id>, or <id>.<resends> for a mail that is sent again.
func (t Task) AsynqID() string {
	if t.Resends == 0 {
		return t.ID
	}
	return fmt.Sprintf("%s.%d", t.ID, t.Resends)
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
	p := payload{Version: version, ID: t.ID, Resends: t.Resends}
	if t.Resends == 0 {
		m := t.Mail
		p.Kind, p.To, p.Purpose, p.Account, p.Locale = m.Kind, m.To, m.Purpose, m.Account, m.Locale
		p.CreatedAt, p.ExpiresAt, p.Seed, p.Origin, p.Vars = t.CreatedAt, t.ExpiresAt, t.Seed, m.Origin, m.Vars
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
	if p.Resends < 0 {
		return Task{}, fmt.Errorf("%w: resend: it starts at 1", ErrInvalid)
	}
	if p.Resends > 0 {
		return Task{ID: p.ID, Resends: p.Resends}, nil
	}
	if len(p.Seed) != SeedSize {
		return Task{}, fmt.Errorf("%w: seed: it needs exactly %d bytes", ErrInvalid, SeedSize)
	}
	// The longest life is a setting of the worker, which applies it to what is returned here. So any life passes.
	life := p.ExpiresAt.Sub(p.CreatedAt)
	m, err := Mail{Kind: p.Kind, To: p.To, Purpose: p.Purpose, Account: p.Account, Locale: p.Locale, ExpiresIn: life,
		Origin: p.Origin, Vars: p.Vars}.canonical(anyLife(life))
	if err != nil {
		return Task{}, err
	}
	return Task{ID: p.ID, Mail: m, CreatedAt: p.CreatedAt.UTC(), ExpiresAt: p.ExpiresAt.UTC(), Seed: p.Seed}, nil
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
	if v.Version > version {
		return payload{}, fmt.Errorf("%w: v is %d, this program knows %d", ErrNewer, v.Version, version)
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

var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// newID returns 128 random bits: without the id, nobody can verify or exhaust a secret. With an idempotency key the id
// is a hash of it and of everything that makes two mails different mails.
func newID(m Mail) string {
	id := make([]byte, 16)
	rand.Read(id)
	if m.IdempotencyKey != "" {
		sum := sha256.Sum256(lp.Join("securemail/id/v1", string(m.Kind), m.To, m.Purpose, m.IdempotencyKey))
		copy(id, sum[:])
	}
	return idEncoding.EncodeToString(id)
}
