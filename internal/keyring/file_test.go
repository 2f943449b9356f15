package keyring_test

import (
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/securemail/internal/keyring"
)

func open(t *testing.T, path string) *keyring.File {
	t.Helper()
	f, err := keyring.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// active returns the active key id, and fails if Ring returns an error.
func active(t *testing.T, f *keyring.File) string {
	t.Helper()
	r, err := f.Ring()
	if err != nil {
		t.Fatal(err)
	}
	kid, _ := r.Active()
	return kid
}

func TestFile_FollowsChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // sleeping takes no real time here
		path := tempRing(t, ringText("a", keyLine("a", 'A'), keyLine("b", 'B')))
		f := open(t, path)
		if err := keyring.Activate(path, "b"); err != nil {
			t.Fatal(err)
		}
		if got := active(t, f); got != "a" {
			t.Errorf("got %s within the second, want still a", got)
		}
		time.Sleep(time.Second)
		if got := active(t, f); got != "b" {
			t.Errorf("got %s after a second, want b", got)
		}
		if err := keyring.Remove(path, "a"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if _, ok, err := f.Key("a"); ok || err != nil {
			t.Errorf("got %v, %v for a removed key, want none", ok, err)
		}
	})
}

func TestFile_FollowsAChangeInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := tempRing(t, ringText("a", keyLine("a", 'A'), keyLine("b", 'B')))
		f := open(t, path)
		// The inode and the size stay the same; only the time of change differs.
		write(t, path, ringText("b", keyLine("a", 'A'), keyLine("b", 'B')))
		if err := os.Chtimes(path, time.Time{}, time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := active(t, f); got != "b" {
			t.Errorf("got %s, want b", got)
		}
	})
}

func TestFile_ReadsAtOnceForAnUnknownKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := tempRing(t, ringText("a", keyLine("a", 'A')))
		f := open(t, path)
		kid, err := keyring.Add(path)
		if err != nil {
			t.Fatal(err)
		}
		if key, ok, err := f.Key(kid); !ok || err != nil || len(key) != 32 {
			t.Errorf("got %v, %v for a key added just now, want it", ok, err)
		}
		// The next unknown key within the second does not cause a read.
		kid, err = keyring.Add(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok, err := f.Key(kid); ok || err != nil {
			t.Errorf("got %v, %v, want no second reading within the second", ok, err)
		}
		time.Sleep(time.Second)
		if _, ok, err := f.Key(kid); !ok || err != nil {
			t.Errorf("got %v, %v after a second, want the key", ok, err)
		}
	})
}

func TestFile_KeepsTheLastValidRing(t *testing.T) {
	good := ringText("a", keyLine("a", 'A'))
	for name, c := range map[string]struct {
		spoil func(path string) error
		want  string
	}{
		"malformed": {func(path string) error { return os.WriteFile(path, []byte(good+"garbage\n"), 0o600) }, "line 6"},
		"cut off":   {func(path string) error { return os.Truncate(path, int64(len(good)-5)) }, "cut off"},
		"gone":      {os.Remove, "worker keyring new"},
		"open mode": {func(path string) error { return os.Chmod(path, 0o644) }, "chmod 600"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := tempRing(t, good)
				f := open(t, path)
				if err := c.spoil(path); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				r, err := f.Ring()
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %q", err, c.want)
				}
				if kid, key := r.Active(); kid != "a" || len(key) != 32 {
					t.Error("lost the last good ring")
				}
				// Neither later calls nor unknown keys repeat the error.
				for range 3 {
					time.Sleep(time.Second)
					if got := active(t, f); got != "a" {
						t.Errorf("got %s, want a", got)
					}
					if _, ok, err := f.Key("b"); ok || err != nil {
						t.Errorf("got %v, %v for an unknown key, want neither", ok, err)
					}
				}
				if err := os.RemoveAll(path); err != nil {
					t.Fatal(err)
				}
				write(t, path, ringText("b", keyLine("a", 'A'), keyLine("b", 'B')))
				time.Sleep(time.Second)
				if got := active(t, f); got != "b" {
					t.Errorf("got %s from the valid file, want b", got)
				}
			})
		})
	}
}

func TestFile_ReportsThroughKeyToo(t *testing.T) {
	path := tempRing(t, ringText("a", keyLine("a", 'A')))
	f := open(t, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := f.Key("b"); ok || err == nil {
		t.Errorf("got %v, %v for an unknown key, want the error of the file", ok, err)
	}
	if key, ok, err := f.Key("a"); !ok || err != nil || len(key) != 32 {
		t.Errorf("got %v, %v for a known key, want it", ok, err)
	}
}

func TestOpen_RefusesWhatLoadRefuses(t *testing.T) {
	if _, err := keyring.Open(tempRing(t, "garbage\n")); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("got %v, want line 1", err)
	}
}

// T21 of the threat model: keys change while other goroutines ask for them, and each of those gets
// its key.
func TestFile_AnswersDuringARotation(t *testing.T) {
	path := tempRing(t, ringText("a", keyLine("a", 'A')))
	f := open(t, path)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20 {
			kid, err := keyring.Add(path)
			if err != nil {
				t.Error(err)
				return
			}
			if err := keyring.Activate(path, kid); err != nil {
				t.Error(err)
			}
		}
	}()
	parallel(4, func() {
		for running := true; running; {
			select {
			case <-done:
				running = false
			default:
			}
			r, err := f.Ring()
			if err != nil {
				t.Error(err)
			}
			kid, want := r.Active()
			if key, ok, err := f.Key(kid); !ok || err != nil || string(key) != string(want) {
				t.Errorf("got %v, %v for the active key", ok, err)
			}
			f.Key("unknown")
		}
	})
}
