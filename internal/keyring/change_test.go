package keyring_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"example.com/securemail/internal/keyring"
)

func TestKeyRing_Rotates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring")
	if err := keyring.New(path); err != nil {
		t.Fatal(err)
	}
	before := load(t, path)
	old, oldKey := before.Active()

	kid, err := keyring.Add(path)
	if err != nil {
		t.Fatal(err)
	}
	r := load(t, path)
	if active, _ := r.Active(); active != old {
		t.Errorf("got active %s after Add, want still %s", active, old)
	}
	newKey, ok := r.Key(kid)
	if !ok || string(newKey) == string(oldKey) {
		t.Error("Add made no new key")
	}

	if err := keyring.Activate(path, kid); err != nil {
		t.Fatal(err)
	}
	r = load(t, path)
	if active, key := r.Active(); active != kid || string(key) != string(newKey) {
		t.Errorf("got active %s after Activate, want %s with its key", active, kid)
	}
	if key, ok := r.Key(old); !ok || string(key) != string(oldKey) {
		t.Error("Activate lost the old key")
	}

	if err := keyring.Remove(path, old); err != nil {
		t.Fatal(err)
	}
	r = load(t, path)
	if _, ok := r.Key(old); ok || len(r.List()) != 1 {
		t.Errorf("got %v after Remove, want only %s", r.List(), kid)
	}
	if string(r.Recipients()) != string(before.Recipients()) {
		t.Error("the recipients key changed")
	}
	onlyFile(t, path)
}

func TestKeyRing_RefusesAChangeWithoutTouchingTheFile(t *testing.T) {
	text := ringText("a", keyLine("a", 'A'), keyLine("b", 'B'))
	path := tempRing(t, text)
	for name, c := range map[string]struct {
		change func() error
		want   string
	}{
		"remove the active":   {func() error { return keyring.Remove(path, "a") }, "activate another one first"},
		"remove the unknown":  {func() error { return keyring.Remove(path, "c") }, "has no key c"},
		"activate an unknown": {func() error { return keyring.Activate(path, "c") }, "has no key c"},
		"activate a key":      {func() error { return keyring.Activate(path, b64('B')) }, "a key id is"},
		"activate two lines":  {func() error { return keyring.Activate(path, "b\nactive a") }, "a key id is"},
	} {
		err := c.change()
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), b64('B')) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
		if got, _ := os.ReadFile(path); string(got) != text {
			t.Errorf("%s: changed the file", name)
		}
		onlyFile(t, path)
	}
}

func TestAdd_RefusesAnInvalidRing(t *testing.T) {
	bad := ringText("a", keyLine("a", 'A')) + "garbage\n"
	path := tempRing(t, bad)
	if _, err := keyring.Add(path); err == nil || !strings.Contains(err.Error(), "line 6") {
		t.Errorf("malformed: got %v", err)
	}
	if got, _ := os.ReadFile(path); string(got) != bad {
		t.Error("malformed: changed the file")
	}
	onlyFile(t, path)

	missing := filepath.Join(t.TempDir(), "keyring")
	_, err := keyring.Add(missing)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "worker keyring new") {
		t.Errorf("missing: got %v", err)
	}
	if files, _ := os.ReadDir(filepath.Dir(missing)); len(files) != 0 {
		t.Errorf("missing: left %v", files)
	}

	full := ringText("a", keyLine("a", 'A'))
	full += strings.Repeat("# comment\n", (64<<10-len(full))/10)
	path = tempRing(t, full)
	if _, err := keyring.Add(path); err == nil || !strings.Contains(err.Error(), "not changed") {
		t.Errorf("full: got %v", err)
	}
	load(t, path)
}

func TestKeyRing_KeepsCommentsAndOtherLines(t *testing.T) {
	text := "# by hand\n" + ringText("a", keyLine("a", 'A'), "# b is of the old site\n", keyLine("b", 'B')) + "# end\n"
	path := tempRing(t, text)
	if err := keyring.Activate(path, "b"); err != nil {
		t.Fatal(err)
	}
	if err := keyring.Remove(path, "a"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(strings.Replace(text, "active a", "active b", 1), keyLine("a", 'A'), "", 1)
	if string(got) != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestAdd_KeepsModeOwnerAndLink(t *testing.T) {
	path := tempRing(t, ringText("a", keyLine("a", 'A')))
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		// Only root can change a file's owner, and change a file of another owner.
		uid, gid = 12345, 54321
		if err := os.Chown(path, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.Add(link); err != nil {
		t.Fatal(err)
	}
	if target, err := os.Readlink(link); err != nil || target != path {
		t.Errorf("the link became %q, %v", target, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	if info.Mode() != 0o640 || int(stat.Uid) != uid || int(stat.Gid) != gid {
		t.Errorf("got mode %v of %d:%d, want 0640 of %d:%d", info.Mode(), stat.Uid, stat.Gid, uid, gid)
	}
	if n := len(load(t, path).List()); n != 2 {
		t.Errorf("got %d keys, want 2", n)
	}
}

// Each of several concurrent changes succeeds or is refused because of the lock. A reader always
// finds a valid ring.
func TestKeyRing_AllowsOneChangeAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring")
	var made, added atomic.Int32
	parallel(8, func() {
		switch err := keyring.New(path); {
		case err == nil:
			made.Add(1)
		case !errors.Is(err, fs.ErrExist):
			t.Errorf("New: %v", err)
		}
	})
	if made.Load() != 1 {
		t.Fatalf("%d of 8 made the ring, want 1", made.Load())
	}
	parallel(8, func() {
		for range 20 {
			switch _, err := keyring.Add(path); {
			case err == nil:
				added.Add(1)
			case !errors.Is(err, fs.ErrExist):
				t.Errorf("Add: %v", err)
			}
			if _, err := keyring.Load(path); err != nil {
				t.Errorf("Load: %v", err)
			}
		}
	})
	if got := len(load(t, path).List()); got != 1+int(added.Load()) || got == 1 {
		t.Errorf("got %d keys after %d additions, want one more than those", got, added.Load())
	}
	onlyFile(t, path)
}

func TestAdd_NamesALockThatWasLeftBehind(t *testing.T) {
	path := tempRing(t, ringText("a", keyLine("a", 'A')))
	write(t, path+".lock", "")
	_, err := keyring.Add(path)
	if err == nil || !strings.Contains(err.Error(), path+".lock") || !strings.Contains(err.Error(), "remove that file") {
		t.Errorf("got %v, want the lock and what to do", err)
	}
	if _, err := os.Stat(path + ".lock"); err != nil {
		t.Errorf("removed the lock of another process: %v", err)
	}
}

func parallel(n int, f func()) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(f)
	}
	wg.Wait()
}
