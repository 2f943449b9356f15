package tasks

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"
	"unicode/utf8"

	"github.com/hibiken/asynq"
)

const (
	// Type is the type of every task of this package, matched exactly.
	Type = "send-secure-mail"
	// Queue holds keys and TOTP secrets.
	Queue = "secure-mail"
	// QueueCodes holds codes, which somebody waits for with a form open: workers empty it before [Queue].
	QueueCodes = "secure-mail-codes"

	version    = 1
	seedSize   = 32
	maxPayload = 16 << 10
)

// How asynq is told to treat a task.
const (
	// A mail's life ends its retries, and its record counts its tries. asynq's own limit only has to stay out of the
	// way: a mail that ran into it would be archived without an outcome.
	maxRetry = 1_000_000
	// handlerTimeout is longer than any wait for a relay and any try; the worker's own deadlines are well inside it.
	handlerTimeout = time.Hour
	// retention is how long a finished task is shown by asynqmon. The record lives longer.
	retention = time.Hour
)

// ErrNewer is what [ParseTask] says of a task that a newer version of this package wrote. It is to be left for a newer worker.
var ErrNewer = errors.New("the task is of a newer version")

// Task is what a worker reads out of the queue: a [Mail] with its id and dates. Where Resend is not 0, only ID and Resend are set.
type Task struct {
	ID        string
	Resend    int // 0 for the first sending
	Mail      Mail
	CreatedAt time.Time
	ExpiresAt time.Time
	// Seed is one of the two things a secret is made from; the other is the key ring.
	Seed []byte
}

// payload is a task's JSON. Its field names are the wire format: testdata/*.json holds them still.
type payload struct {
	Version   int               `json:"v"`
	ID        string            `json:"id"`
	Resend    int               `json:"resend,omitempty"`
	Kind      Kind              `json:"kind,omitempty"`
	To        string            `json:"to,omitempty"`
	Purpose   string            `json:"purpose,omitempty"`
	Account   string            `json:"account,omitempty"`
	Locale    string            `json:"locale,omitempty"`
	CreatedAt time.Time         `json:"created_at,omitzero"`
	ExpiresAt time.Time         `json:"expires_at,omitzero"`
	Seed      []byte            `json:"seed,omitempty"` // base64
	Context   Context           `json:"context,omitzero"`
	Vars      map[string]string `json:"vars,omitempty"`
}

// NewTask returns m as a task for an asynq client of one's own, and the mail's id. The task carries its options (task
// id, queue, time-out, retention); enqueue it without adding any. An enqueue whose error leaves open whether Redis took
// the task is to be repeated with the same task, and asynq.ErrTaskIDConflict then means that it did. The error is [ErrInvalid].
func NewTask(m Mail) (task *asynq.Task, id string, err error) {
	return newTask(m, maxLife, time.Now())
}

func newTask(m Mail, ceiling map[Kind]time.Duration, now time.Time) (*asynq.Task, string, error) {
	m, err := m.canonical(ceiling)
	if err != nil {
		return nil, "", err
	}
	seed := make([]byte, seedSize)
	rand.Read(seed) // never fails (crypto/rand)
	now = now.UTC().Truncate(time.Millisecond)
	if m.Context.At.IsZero() || m.Context.At.After(now) {
		m.Context.At = now
	}
	m.Context.At = m.Context.At.UTC().Truncate(time.Second)
	t := Task{ID: newID(m), Mail: m, CreatedAt: now, ExpiresAt: now.Add(m.ExpiresIn), Seed: seed}
	body, err := t.encode()
	if err != nil {
		return nil, "", err
	}
	return newAsynqTask(body, t.ID, m.Kind), t.ID, nil
}

func newAsynqTask(body []byte, taskID string, kind Kind) *asynq.Task {
	return asynq.NewTask(Type, body, asynq.TaskID(taskID), asynq.Queue(queueOf(kind)), asynq.MaxRetry(maxRetry),
		asynq.Timeout(handlerTimeout), asynq.Retention(retention))
}

func (t Task) encode() ([]byte, error) {
	p := payload{Version: version, ID: t.ID, Resend: t.Resend}
	if t.Resend == 0 {
		m := t.Mail
		p = payload{version, t.ID, 0, m.Kind, m.To, m.Purpose, m.Account, m.Locale, t.CreatedAt, t.ExpiresAt, t.Seed, m.Context, m.Vars}
	}
	body, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if len(body) > maxPayload {
		return nil, fmt.Errorf("%w: the task would be larger than %d bytes", ErrInvalid, maxPayload)
	}
	return body, nil
}

// ParseTask is the mirror of [NewTask]. Its errors are [ErrInvalid] or [ErrNewer], and hold nothing of the payload's values.
func ParseTask(task *asynq.Task) (Task, error) {
	if task.Type() != Type {
		return Task{}, fmt.Errorf("%w: its type is not %s", ErrNewer, Type)
	}
	p, err := decode(task.Payload())
	if err != nil {
		return Task{}, err
	}
	if !idPattern.MatchString(p.ID) {
		return Task{}, fmt.Errorf("%w: id: use 16 to 64 of a-z, A-Z, 0-9, underscore and hyphen", ErrInvalid)
	}
	if p.Resend < 0 {
		return Task{}, fmt.Errorf("%w: resend: it starts at 1", ErrInvalid)
	}
	if p.Resend > 0 {
		return Task{ID: p.ID, Resend: p.Resend}, nil
	}
	if len(p.Seed) != seedSize {
		return Task{}, fmt.Errorf("%w: seed: it needs exactly %d bytes", ErrInvalid, seedSize)
	}
	// How long a life may be is the worker's setting, which it applies to what is returned here; so any life passes.
	life := p.ExpiresAt.Sub(p.CreatedAt)
	anyLife := map[Kind]time.Duration{Key: life, Code: life, TOTP: life}
	m, err := Mail{Kind: p.Kind, To: p.To, Purpose: p.Purpose, Account: p.Account, Locale: p.Locale, ExpiresIn: life,
		Context: p.Context, Vars: p.Vars}.canonical(anyLife)
	if err != nil {
		return Task{}, err
	}
	return Task{ID: p.ID, Mail: m, CreatedAt: p.CreatedAt.UTC(), ExpiresAt: p.ExpiresAt.UTC(), Seed: p.Seed}, nil
}

// decode judges the version before anything else, because only a payload of a known version promises what its fields mean.
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

func queueOf(k Kind) string {
	if k == Code {
		return QueueCodes
	}
	return Queue
}

var (
	idPattern  = regexp.MustCompile(`^[A-Za-z0-9_-]{16,64}$`)
	idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)
)

// newID returns 128 random bits: who does not have the id can neither check nor burn a credential. With an idempotency
// key the id is a hash of it and of everything that makes two mails different mails.
func newID(m Mail) string {
	id := make([]byte, 16)
	rand.Read(id)
	if m.IdempotencyKey != "" {
		h := sha256.New()
		for _, part := range []string{"securemail/id/v1", string(m.Kind), m.To, m.Purpose, m.IdempotencyKey} {
			binary.Write(h, binary.BigEndian, uint32(len(part))) // the length before every part, so that no two lists run together
			io.WriteString(h, part)
		}
		copy(id, h.Sum(nil))
	}
	return idEncoding.EncodeToString(id)
}
