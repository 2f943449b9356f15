package tasks

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// The vectors are those of docs/derivation.md. deploy/examples/derivation.py computes them without this package.
func TestIDs_MatchTheVectors(t *testing.T) {
	data, err := os.ReadFile("../docs/derivation.json")
	if err != nil {
		t.Fatal(err)
	}
	type mail struct {
		Secret    string `json:"idempotency_secret"`
		Key       string `json:"idempotency_key"`
		ID        string `json:"idempotent_id"`
		Kind      Kind
		To        string
		Purpose   string
		Digits    int
		Session   string
		Account   string
		Locale    string
		ExpiresIn int    `json:"expires_in"`
		ClientRef string `json:"client_ref"`
		Vars      map[string]string
		Print     string `json:"fingerprint"`
	}
	var vectors struct {
		IDs       []mail `json:"idempotent_id"`
		Prints    []mail `json:"fingerprint"`
		Reference []struct{ ID, Reference string }
	}
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors.IDs) < 2 || len(vectors.Prints) < 3 || len(vectors.Reference) < 2 {
		t.Fatalf("vectors are missing: %+v", vectors)
	}
	for _, v := range vectors.IDs {
		if got := keyedID([]byte(v.Secret), v.Key); got != v.ID {
			t.Errorf("key %q with secret %q: got id %s, want %s", v.Key, v.Secret, got, v.ID)
		}
	}
	for _, v := range vectors.Prints {
		m := Mail{Kind: v.Kind, To: v.To, Purpose: v.Purpose, Digits: v.Digits, Session: v.Session, Account: v.Account, Locale: v.Locale,
			ExpiresIn: time.Duration(v.ExpiresIn) * time.Second, ClientRef: v.ClientRef, Vars: v.Vars, IdempotencyKey: v.Key}
		task, err := m.Task(Making{Lives: DefaultLives(), Now: time.Now(), Secret: []byte(v.Secret)})
		if got := hex.EncodeToString(task.Fingerprint); err != nil || got != v.Print {
			t.Errorf("%+v: got fingerprint %s, %v, want %s", v, got, err, v.Print)
		}
	}
	for _, v := range vectors.Reference {
		if got := Reference(v.ID); got != v.Reference {
			t.Errorf("%s: got %s, want %s", v.ID, got, v.Reference)
		}
	}
}

// TestTask_FingerprintTellsMailsApart, and calls two spellings of one mail the same. Where the request came from does not count:
// a repeated request comes from another address, and at another time.
func TestTask_FingerprintTellsMailsApart(t *testing.T) {
	make := func(m Mail) Task {
		t.Helper()
		task, err := m.Task(Making{Lives: DefaultLives(), Now: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		return task
	}
	base := Mail{Kind: Code, To: "Alice@example.com", Purpose: "a", IdempotencyKey: "order-1", Vars: map[string]string{"name": "A"}}
	want := make(base)
	for name, change := range map[string]func(*Mail){
		"nothing":              func(*Mail) {},
		"capitals of a domain": func(m *Mail) { m.To = "Alice@EXAMPLE.com" },
		"defaults":             func(m *Mail) { m.Digits, m.ExpiresIn = 8, 10*time.Minute },
		"a fraction":           func(m *Mail) { m.ExpiresIn = 10*time.Minute + time.Millisecond },
		"origin":               func(m *Mail) { m.Origin = Origin{IP: "192.0.2.1", Agent: "x", At: time.Now()} },
	} {
		m := base
		change(&m)
		if got := make(m); got.ID != want.ID || string(got.Fingerprint) != string(want.Fingerprint) {
			t.Errorf("%s: another mail", name)
		}
	}
	for name, change := range map[string]func(*Mail){
		"kind":            func(m *Mail) { m.Kind = Key },
		"to":              func(m *Mail) { m.To = "bob@example.com" },
		"capitals before": func(m *Mail) { m.To = "alice@example.com" },
		"purpose":         func(m *Mail) { m.Purpose = "b" },
		"digits":          func(m *Mail) { m.Digits = 6 },
		"session":         func(m *Mail) { m.Session = "0123456789abcdef" },
		"life":            func(m *Mail) { m.ExpiresIn = time.Minute },
		"locale":          func(m *Mail) { m.Locale = "de" },
		"client_ref":      func(m *Mail) { m.ClientRef = "7" },
		"a value":         func(m *Mail) { m.Vars = map[string]string{"name": "B"} },
		"a name":          func(m *Mail) { m.Vars = map[string]string{"nam": "A"} },
		"one more":        func(m *Mail) { m.Vars = map[string]string{"name": "A", "plan": "x"} },
		"none":            func(m *Mail) { m.Vars = nil },
	} {
		m := base
		change(&m)
		if got := make(m); got.ID != want.ID || string(got.Fingerprint) == string(want.Fingerprint) {
			t.Errorf("another %s: the same mail, or another id", name)
		}
	}
	other := base
	other.IdempotencyKey = "order-2"
	if make(other).ID == want.ID {
		t.Error("two keys gave one id")
	}
	plain := Mail{Kind: Key, To: "alice@example.com"}
	if first := make(plain); make(plain).Fingerprint != nil || make(plain).ID == first.ID {
		t.Error("a mail without an idempotency key has a fingerprint, or no id of its own")
	}
}

// TestMail_HidesTheSession: a session's value is what protects the person, and is stored and printed nowhere.
func TestMail_HidesTheSession(t *testing.T) {
	const session = "canary-session-0123456789"
	m := Mail{Kind: Key, To: "canary-alice@example.com", Session: session, IdempotencyKey: "k"}
	task, err := m.Task(Making{Lives: DefaultLives(), Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := task.Encode()
	if err != nil {
		t.Fatal(err)
	}
	read, err := ParseTask(Type, encoded.Payload())
	if err != nil || string(read.Session) != string(SessionHash(session)) || read.Mail.Session != "" {
		t.Errorf("read %q, %v; want the hash alone", read.Session, err)
	}
	_, err = Ref{ID: "0123456789abcdef", To: m.To, Session: "canary"}.Canonical()
	if !errors.Is(err, ErrInvalid) {
		t.Errorf("a session of 6 bytes: got %v, want ErrInvalid", err)
	}
	ref := Ref{ID: "0123456789abcdef", To: m.To, Session: session, Attempt: "canary-attempt"}
	for _, text := range []string{string(encoded.Payload()), m.String(), m.GoString(), ref.String(), ref.GoString(), err.Error()} {
		if strings.Contains(strings.ReplaceAll(text, "canary-alice@example.com", ""), "canary") {
			t.Errorf("the session shows in %s", text)
		}
	}
}
