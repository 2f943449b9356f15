package keyring

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const header = `# securemail key ring: the only secret file of the system.
# Who has it and Redis has every live credential. Keep it at mode 0600, give it to workers and to whoever checks answers
# only, and back it up together with Redis: without it no mailed key or code can be checked, and no TOTP secret that is
# kept can be opened.
# Change it with: worker keyring add|activate|remove -o FILE
#
# recipients KEY        for keyed hashes of addresses; stays as long as the ring
# active ID             the key that new mails use
# key ID CREATED KEY    KEY is 32 random bytes in base64
`

// New makes a ring with a recipients key and one credential key, active, and writes it to path at mode 0600. It never
// overwrites: a path that exists is [fs.ErrExist]. The file appears whole or not at all, and is on the disk when New
// returns.
func New(path string) error {
	kid, line := newKey()
	text := header + "recipients " + randomKey() + "\nactive " + kid + "\n" + line
	f, err := lock(path)
	if err != nil {
		return err
	}
	err = fill(f, text, 0o600)
	if err == nil {
		// Link, unlike rename, refuses to replace.
		err = os.Link(f.Name(), path)
	}
	if errors.Is(err, fs.ErrExist) {
		err = fmt.Errorf("%s: %w; it is never overwritten", path, fs.ErrExist)
	}
	if err = errors.Join(err, os.Remove(f.Name())); err != nil {
		return fmt.Errorf("key ring: %w", err)
	}
	return syncFolder(path)
}

// Add puts a new key into the ring at path and returns its id. New mails do not use it before [Activate], which must
// wait until every process has read it.
func Add(path string) (kid string, err error) {
	kid, line := newKey()
	err = change(path, func(_ *Ring, text string) (string, error) {
		return text + line, nil
	})
	if err != nil {
		return "", err
	}
	return kid, nil
}

// Activate makes kid the key that new mails use.
func Activate(path, kid string) error {
	return change(path, func(r *Ring, text string) (string, error) {
		if err := r.known(kid); err != nil {
			return "", err
		}
		return editLines(text, func(fields []string) (string, bool) {
			return "active " + kid + "\n", fields[0] == "active"
		}), nil
	})
}

// Remove takes kid out of the ring. What was made with that key and still lives can no longer be checked. The active
// key is never removed.
func Remove(path, kid string) error {
	return change(path, func(r *Ring, text string) (string, error) {
		if err := r.known(kid); err != nil {
			return "", err
		}
		if kid == r.active {
			return "", fmt.Errorf("%s is the active key; activate another one first", kid)
		}
		return editLines(text, func(fields []string) (string, bool) {
			return "", fields[0] == "key" && fields[1] == kid
		}), nil
	})
}

// known refuses a kid that the ring lacks. It repeats only what can be a key id: a slip may put a key in its place.
func (r *Ring) known(kid string) error {
	if !validKID.MatchString(kid) {
		return errors.New("a key id is 1 to 32 of a-z, 0-9 and hyphen; see: worker keyring list")
	}
	if _, ok := r.Key(kid); !ok {
		return fmt.Errorf("has no key %s; see: worker keyring list", kid)
	}
	return nil
}

// editLines replaces every line that edit says yes to, and keeps the others, comments too, byte for byte.
func editLines(text string, edit func(fields []string) (line string, yes bool)) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 0 {
			if edited, yes := edit(fields); yes {
				line = edited
			}
		}
		b.WriteString(line)
	}
	return b.String()
}

// change replaces the file by its edited text, so that a reader at any moment, and after any crash, finds one or the
// other whole.
func change(path string, edit func(*Ring, string) (string, error)) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // rename would replace the link and leave the file it points to as it was
	}
	f, err := lock(path)
	if err != nil {
		return err
	}
	if err := rewrite(f, path, edit); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncFolder(path)
}

func rewrite(f *os.File, path string, edit func(*Ring, string) (string, error)) error {
	defer f.Close()
	text, info, err := read(path)
	if err != nil {
		return err
	}
	r, err := parse(text)
	if err != nil {
		return fmt.Errorf("key ring %s: %w", path, err)
	}
	text, err = edit(r, text)
	if err != nil {
		return fmt.Errorf("key ring %s: %w", path, err)
	}
	// Whatever edit did, a good file is not replaced by one that Load refuses.
	if _, err := parse(text); err != nil {
		return fmt.Errorf("key ring %s: not changed, it would become unusable: %w", path, err)
	}
	if err := keepOwner(f, info); err != nil {
		return fmt.Errorf("key ring %s: not changed, run this as the owner of the file or as root: %w", path, err)
	}
	if err := fill(f, text, info.Mode().Perm()); err != nil {
		return fmt.Errorf("key ring: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("key ring: %w", err)
	}
	return nil
}

// lock makes the file that will take the place of path. That it must not exist yet is also what keeps two changes
// apart.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("key ring: %w: another change is under way, or was cut short; if none is, remove that file", err)
	}
	if err != nil {
		return nil, fmt.Errorf("key ring: %w", err)
	}
	return f, nil
}

// fill writes text through to the disk and closes f.
func fill(f *os.File, text string, perm fs.FileMode) error {
	_, err := f.WriteString(text)
	return errors.Join(err, f.Chmod(perm), f.Sync(), f.Close())
}

// syncFolder makes the name of path as lasting as the file's content.
func syncFolder(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("key ring: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("key ring: %w", err)
	}
	return nil
}

// newKey returns the line of a new key and its id: the day, for people, and 30 random bits, since ids never repeat.
func newKey() (kid, line string) {
	now := time.Now().UTC()
	kid = now.Format("20060102") + "-" + strings.ToLower(rand.Text()[:6])
	return kid, "key " + kid + " " + now.Format(time.RFC3339) + " " + randomKey() + "\n"
}

func randomKey() string {
	b := make([]byte, keyLen)
	rand.Read(b) // never fails: crypto/rand ends the process instead
	return base64.StdEncoding.EncodeToString(b)
}
