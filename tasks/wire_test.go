package tasks

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden payloads anew; what is in Redis outlives a deployment, so think twice")

// goldenTasks are the payloads under testdata, by file name.
func goldenTasks() map[string]Task {
	created := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	seed := bytes.Repeat([]byte{0xab}, SeedSize)
	task := func(m Mail, life time.Duration) Task {
		m.ExpiresIn = life
		return Task{ID: "0123456789abcdefghjkmnpqrs", Version: 2, Mail: m, CreatedAt: created, ExpiresAt: created.Add(life), Seed: seed}
	}
	keyed := func(t Task) Task {
		t.Session, t.Fingerprint = bytes.Repeat([]byte{0xcd}, 32), bytes.Repeat([]byte{0xef}, 16)
		return t
	}
	return map[string]Task{
		"code.json": task(Mail{Kind: Code, To: "alice@example.com", Purpose: "sign-in", Digits: 8}, 10*time.Minute),
		"session.json": keyed(task(Mail{Kind: Code, To: "alice@example.com", Purpose: "sign-in", Digits: 6, ClientRef: "user 4711",
			Origin: Origin{IP: "2001:db8::1", Place: "Berlin", TimeZone: "Europe/Berlin", At: created}}, 10*time.Minute)),
		"key.json": task(Mail{Kind: Key, To: "alice@xn--bcher-kva.example", Purpose: "default", Locale: "pt-BR",
			Origin: Origin{IP: "203.0.113.7", Agent: "Firefox on Linux", At: created}, Vars: map[string]string{"name": "Alice <&> Bob", "plan": "Größe"}}, 24*time.Hour),
		"totp.json":   task(Mail{Kind: TOTP, To: "alice@example.com", Purpose: "enrol", Account: "alice"}, time.Hour),
		"resend.json": {ID: "0123456789abcdefghjkmnpqrs", Resends: 2, Version: 2},
	}
}

func TestEncode_WritesGoldenPayloads(t *testing.T) {
	for name, want := range goldenTasks() {
		path := filepath.Join("testdata", name)
		task, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		body := task.Payload()
		if *update {
			if err := os.WriteFile(path, append(body, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		golden, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(bytes.TrimSpace(golden), body) {
			t.Errorf("%s\n wrote %s\n want  %s", name, body, golden)
		}
		got, err := ParseTask(Type, golden)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: read %+v, %v\nwant %+v", name, got, err, want)
		}
	}
}

func TestParseTask_ReadsWhatNewTaskMakes(t *testing.T) {
	for _, m := range []Mail{
		{Kind: Code, To: "Alice@EXAMPLE.com"},
		{Kind: Key, To: "alice@bücher.example", Purpose: "recovery", ExpiresIn: time.Hour, Locale: "de", Origin: Origin{IP: "2001:db8::1", Agent: "App"}},
		{Kind: TOTP, To: "alice@example.com", Account: "Alice", Vars: map[string]string{"name": "Alice"}},
	} {
		before := time.Now()
		task, id, err := NewTask(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseTask(task.Type(), task.Payload())
		if err != nil {
			t.Fatal(err)
		}
		if got.ID != id || !ValidID(id) || len(got.Seed) != SeedSize {
			t.Errorf("got id %q (returned %q), seed of %d bytes", got.ID, id, len(got.Seed))
		}
		if got.CreatedAt.Before(before.Add(-time.Second)) || got.CreatedAt.After(time.Now()) || got.ExpiresAt.Sub(got.CreatedAt) != got.Mail.ExpiresIn {
			t.Errorf("got created %v, expires %v, life %v", got.CreatedAt, got.ExpiresAt, got.Mail.ExpiresIn)
		}
		want, err := m.canonical(DefaultLives())
		if err != nil {
			t.Fatal(err)
		}
		want.Origin.At = got.CreatedAt.Truncate(time.Second)
		if !reflect.DeepEqual(got.Mail, want) {
			t.Errorf("got %+v\nwant %+v", got.Mail, want)
		}
	}
}

func TestNewTask_HasOwnIDAndSeed(t *testing.T) {
	first, id1, _ := NewTask(Mail{Kind: Key, To: "alice@example.com"})
	second, id2, _ := NewTask(Mail{Kind: Key, To: "alice@example.com"})
	a, _ := ParseTask(Type, first.Payload())
	b, _ := ParseTask(Type, second.Payload())
	if id1 == id2 || bytes.Equal(a.Seed, b.Seed) {
		t.Error("two mails have the same id or seed")
	}
}

func TestValidate_ReportsEverythingAtOnce(t *testing.T) {
	err := Mail{Kind: "fax", To: "alice", Purpose: "Sign In", Account: "a:b", Locale: "!", IdempotencyKey: "a b",
		Digits: 6, Session: "short", ClientRef: "a\nb", Brand: "shop", Link: "sign-in",
		Origin: Origin{IP: "1.2.3", Agent: "a\r\nb", Place: "a\x00", TimeZone: "Berlin!"}, Vars: map[string]string{"Name": "x", "ok": "a\nb"}}.Validate()
	if !errors.Is(err, ErrInvalid) {
		t.Fatalf("got %v, want ErrInvalid", err)
	}
	for _, field := range []string{"kind", "to", "purpose", "account", "locale", "idempotency_key", "digits", "session", "client_ref", "brand",
		"link", "origin.ip", "origin.agent", "origin.place", "origin.time_zone", "vars", "vars.ok"} {
		if !strings.Contains(err.Error(), field+": ") && !strings.Contains(err.Error(), field+" ") {
			t.Errorf("%q does not name %s", err, field)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("the error has a line break: %q", err)
	}
}

func TestValidate_BoundsLife(t *testing.T) {
	for _, test := range []struct {
		kind Kind
		life time.Duration
		want string // what the error says; "" for none
	}{
		{Code, 0, ""}, {Code, 10 * time.Minute, ""}, {Code, 10 * time.Second, ""}, {Key, 24 * time.Hour, ""}, {TOTP, 24*time.Hour + 500*time.Millisecond, ""},
		{Code, 10*time.Minute + time.Second, "over the ceiling of 10m0s for a code"},
		{Key, 25 * time.Hour, "over the ceiling of 24h0m0s for a key"},
		{Code, 9 * time.Second, "too short"}, {Key, -time.Hour, "in the past"}, {Key, time.Millisecond, "too short"},
	} {
		err := Mail{Kind: test.kind, To: "alice@example.com", ExpiresIn: test.life}.Validate()
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s of %v: %v", test.kind, test.life, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s of %v: got %v, want %q", test.kind, test.life, err, test.want)
		}
	}
}

func TestParseTask_RefusesMalformedPayloads(t *testing.T) {
	key, err := goldenTasks()["key.json"].Encode()
	if err != nil {
		t.Fatal(err)
	}
	golden := key.Payload()
	with := func(field string, value any) []byte {
		var p map[string]any
		if err := json.Unmarshal(golden, &p); err != nil {
			t.Fatal(err)
		}
		if p[field] = value; value == nil {
			delete(p, field)
		}
		body, _ := json.Marshal(p)
		return body
	}
	const canary = "canary-in-the-payload"
	for name, test := range map[string]struct {
		body []byte
		want error
	}{
		"empty":                        {nil, ErrInvalid},
		"not JSON":                     {[]byte(canary), ErrInvalid},
		"a list":                       {[]byte(`[1]`), ErrInvalid},
		"null":                         {[]byte(`null`), ErrInvalid},
		"two objects":                  {append(bytes.Clone(golden), golden...), ErrInvalid},
		"not UTF-8":                    {bytes.Replace(golden, []byte("Firefox"), []byte("\xff\xfe"), 1), ErrInvalid},
		"no version":                   {with("v", nil), ErrInvalid},
		"version 0":                    {with("v", 0), ErrInvalid},
		"older version":                {with("v", 1), ErrInvalid},
		"a brand":                      {with("brand", "shop"), ErrNewer},
		"a link":                       {with("link", "sign-in"), ErrNewer},
		"digits of a key":              {with("digits", 8), ErrInvalid},
		"session of 31":                {with("session", base64.StdEncoding.EncodeToString(make([]byte, 31))), ErrInvalid},
		"fingerprint of 15":            {with("fingerprint", base64.StdEncoding.EncodeToString(make([]byte, 15))), ErrInvalid},
		"resend too often":             {[]byte(`{"v":2,"id":"0123456789abcdef","resend":9223372036854775807}`), ErrInvalid},
		"newer version":                {with("v", 3), ErrNewer},
		"newer version, nothing known": {[]byte(`{"v":3,"envelope":{"x":[]}}`), ErrNewer},
		"no id":                        {with("id", nil), ErrInvalid},
		"id with a brace":              {with("id", "0123456789abcdef}"), ErrInvalid},
		"id too short":                 {with("id", "0123456789abcde"), ErrInvalid},
		"no seed":                      {with("seed", nil), ErrInvalid},
		"seed of 31":                   {with("seed", base64.StdEncoding.EncodeToString(make([]byte, 31))), ErrInvalid},
		"seed of 33":                   {with("seed", base64.StdEncoding.EncodeToString(make([]byte, 33))), ErrInvalid},
		"seed not base64":              {with("seed", canary+"!"), ErrInvalid},
		"unknown kind":                 {with("kind", "fax"), ErrInvalid},
		"kind a number":                {with("kind", 7), ErrInvalid},
		"to a list":                    {with("to", []string{"alice@example.com"}), ErrInvalid},
		"bad address":                  {with("to", canary), ErrInvalid},
		"no expiry":                    {with("expires_at", nil), ErrInvalid},
		"expiry not a date":            {with("expires_at", canary), ErrInvalid},
		"expires at birth":             {with("expires_at", "2026-11-23T12:00:00Z"), ErrInvalid},
		"expires before":               {with("expires_at", "2026-11-22T12:00:00Z"), ErrInvalid},
		"resend -1":                    {[]byte(`{"v":2,"id":"0123456789abcdef","resend":-1}`), ErrInvalid},
		"too large":                    {with("more", strings.Repeat("x", maxPayload)), ErrInvalid},
		"new field":                    {with("brand_new", map[string]any{"x": 1}), nil},
	} {
		_, err := ParseTask(Type, test.body)
		if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the error repeats a value: %v", name, err)
		}
	}
	if _, err := ParseTask(Type+"-v2", golden); !errors.Is(err, ErrNewer) {
		t.Errorf("a longer type: got %v, want ErrNewer", err)
	}
}

// FuzzParseTask turns the circle: what is read can be written, and reads the same again.
func FuzzParseTask(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.json")
	if len(files) == 0 {
		f.Fatal("testdata holds no payloads")
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		first, err := ParseTask(Type, body)
		if err != nil {
			return
		}
		written, err := first.Encode()
		if err != nil {
			t.Fatalf("read but not written: %v", err)
		}
		second, err := ParseTask(Type, written.Payload())
		if err != nil {
			t.Fatalf("written but not read: %v", err)
		}
		third, err := second.Encode()
		if err != nil || !bytes.Equal(third.Payload(), written.Payload()) {
			t.Errorf("wrote %s\nthen  %s, %v", written.Payload(), third.Payload(), err)
		}
	})
}
