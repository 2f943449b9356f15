package keyring_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/securemail/internal/keyring"
)

// b64 returns the key of these tests that is 32 times the letter c, in base64.
func b64(c byte) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{c}, 32)) }

func keyLine(kid string, c byte) string {
	return "key " + kid + " 2026-01-31T12:00:00Z " + b64(c) + "\n"
}

func ringText(active string, keys ...string) string {
	return "# a comment\n\nrecipients " + b64('R') + "\nactive " + active + "\n" + strings.Join(keys, "")
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func tempRing(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "keyring")
	write(t, path, text)
	return path
}

func load(t *testing.T, path string) *keyring.Ring {
	t.Helper()
	r, err := keyring.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestNew_CreatesARingThatLoads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring")
	if err := keyring.New(path); err != nil {
		t.Fatal(err)
	}
	r := load(t, path)
	kid, key := r.Active()
	if !regexp.MustCompile(`^[0-9]{8}-[a-z0-9]{6}$`).MatchString(kid) {
		t.Errorf("kid %q is not a date and a suffix", kid)
	}
	if len(key) != 32 || len(r.Recipients()) != 32 || bytes.Equal(key, r.Recipients()) {
		t.Error("want two different keys of 32 bytes")
	}
	list := r.List()
	if len(list) != 1 || list[0].KID != kid || !list[0].Active || time.Since(list[0].Created).Abs() > time.Minute {
		t.Errorf("got list %+v, want %s, active, made now", list, kid)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode(); got != 0o600 {
		t.Errorf("got mode %v, want 0600", got)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(text), "# securemail key ring") || !strings.Contains(string(text), "back it up together with Redis") {
		t.Error("the file does not say what it is, or not that it needs a backup")
	}
	onlyFile(t, path)
}

// onlyFile checks that no change left its lock file behind, which holds keys.
func onlyFile(t *testing.T, path string) {
	t.Helper()
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 1 || files[0].Name() != filepath.Base(path) {
		t.Errorf("got files %v, want only %s", files, filepath.Base(path))
	}
}

func TestNew_NeverOverwrites(t *testing.T) {
	path := tempRing(t, "precious")
	if err := keyring.New(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want fs.ErrExist", err)
	}
	if text, _ := os.ReadFile(path); string(text) != "precious" {
		t.Errorf("got %q, want the file as it was", text)
	}
	onlyFile(t, path)

	dangling := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("nowhere", dangling); err != nil {
		t.Fatal(err)
	}
	if err := keyring.New(dangling); !errors.Is(err, fs.ErrExist) {
		t.Errorf("through a dangling link: got %v, want fs.ErrExist", err)
	}
}

func TestLoad_ReadsARing(t *testing.T) {
	r := load(t, tempRing(t, ringText("b", keyLine("a", 'A'), keyLine("b", 'B'))))
	if kid, key := r.Active(); kid != "b" || string(key) != strings.Repeat("B", 32) {
		t.Errorf("got active %q %q", kid, key)
	}
	if key, ok := r.Key("a"); !ok || string(key) != strings.Repeat("A", 32) {
		t.Errorf("got key a %q, %v", key, ok)
	}
	if key, ok := r.Key("c"); ok || key != nil {
		t.Errorf("got key c %q, want none", key)
	}
	if got := r.Recipients(); string(got) != strings.Repeat("R", 32) {
		t.Errorf("got recipients %q", got)
	}
	made := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	if got, want := fmt.Sprint(r.List()), fmt.Sprint([]keyring.KeyInfo{{"a", made, false}, {"b", made, true}}); got != want {
		t.Errorf("got list %s, want %s", got, want)
	}
	key, _ := r.Key("a")
	clear(key)
	if again, _ := r.Key("a"); bytes.Equal(key, again) {
		t.Error("a caller changed the ring through the key it was given")
	}
}

func TestLoad_RefusesAMalformedRing(t *testing.T) {
	a := keyLine("a", 'A')
	good := ringText("a", a)
	short := base64.StdEncoding.EncodeToString(make([]byte, 31))
	long := base64.StdEncoding.EncodeToString(make([]byte, 33))
	for name, c := range map[string]struct{ text, want string }{
		"empty":                   {"", "empty"},
		"last line cut off":       {strings.TrimSuffix(good, "\n"), "cut off"},
		"no recipients":           {"active a\n" + a, "no recipients key"},
		"two recipients":          {good + "recipients " + b64('S') + "\n", "line 6: a second recipients key"},
		"no active":               {"recipients " + b64('R') + "\n" + a, "no active key"},
		"two active":              {good + "active a\n", "line 6: a second active"},
		"active not there":        {ringText("b", a), "active key is not in it"},
		"no keys":                 {ringText("a"), "active key is not in it"},
		"same id twice":           {ringText("a", a, keyLine("a", 'B')), "line 6: a second key of the same id"},
		"31 bytes":                {ringText("a", strings.Replace(a, b64('A'), short, 1)), "line 5: the key is not 32 bytes"},
		"33 bytes":                {ringText("a", strings.Replace(a, b64('A'), long, 1)), "line 5: the key is not 32 bytes"},
		"not base64":              {ringText("a", strings.Replace(a, b64('A'), "!"+b64('A')[1:], 1)), "line 5: the key is not 32 bytes"},
		"base64 with stray bits":  {ringText("a", strings.Replace(a, "QUE=", "QUF=", 1)), "line 5: the key is not 32 bytes"},
		"recipients short":        {strings.Replace(good, b64('R'), short, 1), "line 3: the key is not 32 bytes"},
		"no date":                 {ringText("a", "key a "+b64('A')+"\n"), "line 5: want one of"},
		"wrong date":              {ringText("a", strings.Replace(a, "2026-01-31T", "2026-02-31T", 1)), "line 5: the date"},
		"upper case id":           {ringText("A", keyLine("A", 'A')), "line 5: the key id"},
		"33 characters of id":     {ringText("a", keyLine(strings.Repeat("a", 33), 'A')), "line 5: the key id"},
		"a word after the key":    {ringText("a", strings.TrimSuffix(a, "\n")+" x\n"), "line 5: want one of"},
		"a word after active":     {strings.Replace(good, "active a", "active a b", 1), "line 4: want one of"},
		"garbage after the ring":  {good + b64('G') + "\n", "line 6: want one of"},
		"NUL after the ring":      {good + "\x00\n", "line 6: want one of"},
		"a key that is its own":   {good + "key " + b64('G') + " 2026-01-31T12:00:00Z x\n", "line 6: the key id"},
		"a key in the date":       {good + "key b " + b64('G') + " x\n", "line 6: the date"},
		"a key as active":         {strings.Replace(good, "active a", "active "+b64('G'), 1), "active key is not in it"},
		"65 KiB":                  {good + strings.Repeat("# comment\n", 6_600), "over 64 KiB"},
		"private key of age, say": {"AGE-SECRET-KEY-" + b64('G') + "\n", "line 1: want one of"},
	} {
		path := tempRing(t, c.text)
		_, err := keyring.Load(path)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want %q and the path", name, err, c.want)
			continue
		}
		for _, field := range strings.Fields(c.text) {
			if len(field) > 16 && strings.Contains(err.Error(), field) {
				t.Errorf("%s: the error repeats the file: %v", name, err)
			}
		}
	}
}

func TestLoad_AcceptsChangesThatEditorsMake(t *testing.T) {
	text := ringText("a", keyLine("a", 'A'))
	for _, s := range []string{
		strings.ReplaceAll(text, "\n", "\r\n"),
		strings.ReplaceAll(text, " ", "  \t"),
		strings.ReplaceAll(text, "\n", "\n\n"),
		"  # indented\n" + text,
	} {
		load(t, tempRing(t, s))
	}
}

func TestLoad_ChecksTheFile(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing")
	if _, err := keyring.Load(missing); !errors.Is(err, fs.ErrNotExist) ||
		!strings.Contains(err.Error(), "worker keyring new -o "+missing) {
		t.Errorf("missing: got %v, want fs.ErrNotExist and the command that creates one", err)
	}
	if _, err := keyring.Load(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("folder: got %v", err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.Load(fifo); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("FIFO: got %v", err)
	}
	path := tempRing(t, ringText("a", keyLine("a", 'A')))
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	load(t, link)
}

func TestKeyRing_RefusesAFileOthersCanRead(t *testing.T) {
	path := tempRing(t, ringText("a", keyLine("a", 'A')))
	for mode, ok := range map[fs.FileMode]bool{
		0o600: true, 0o400: true, 0o640: true, 0o440: true,
		0o644: false, 0o604: false, 0o602: false, 0o601: false, 0o660: false, 0o620: false, 0o666: false, 0o777: false,
	} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := keyring.Load(path)
		if ok && err != nil {
			t.Errorf("mode %04o: %v", mode, err)
		}
		if !ok && (err == nil || !strings.Contains(err.Error(), "chmod 600 "+path)) {
			t.Errorf("mode %04o: got %v, want chmod 600 and the path", mode, err)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(ringText("a", keyLine("a", 'A')))
	f.Add("key a b c\n")
	f.Add("recipients\nactive\n")
	path := filepath.Join(f.TempDir(), "keyring")
	// A ring that loads has an active key and a recipients key of 32 bytes; other input does not
	// panic.
	f.Fuzz(func(t *testing.T, text string) {
		write(t, path, text)
		r, err := keyring.Load(path)
		if err != nil {
			return
		}
		if _, key := r.Active(); len(key) != 32 || len(r.Recipients()) != 32 {
			t.Errorf("loaded without its keys: %q", text)
		}
	})
}
