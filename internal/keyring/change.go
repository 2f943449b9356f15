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
# This file and Redis together reveal every live credential. Keep it at mode 0600, give it only to workers and to
# processes that verify answers, and back it up together with Redis: without it no mailed key or code can be verified,
# and no stored TOTP secret can be decrypted.
# Change it with: worker keyring add|activate|remove -o FILE
#
# recipients KEY        for keyed hashes of addresses; never changes
# active ID             the key that new mails use
# key ID CREATED KEY    KEY is 32 random bytes in base64
`

// New creates a ring with a recipients key and one credential key, which is active, and writes it
// to path at mode 0600. The file appears whole or not at all, and is on the disk when New returns.
//
// Errors: [fs.ErrExist] if path exists, because New never overwrites, or if another change is under
// way.
func New(path string) error {
	kid, line := newKey()
	text := header + "recipients " + randomKey() + "\nactive " + kid + "\n" + line
	f, err := lock(path)
	if err != nil {
		return err
	}
	err = fill(f, text, 0o600)
	if err == nil {
		// Unlike rename, link does not replace an existing file.
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

// Add puts a new key into the ring at path and returns its id. New mails do not use the key before
// [Activate]. Call that only when every process has read the key. The error is [fs.ErrExist] if
// another change is under way.
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

// Activate makes kid the key that new mails use. The ring must have it. The error is [fs.ErrExist]
// if another change is under way.
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

// Remove takes kid out of the ring. Live credentials that were made with that key can no longer be
// verified. Remove refuses a kid that the ring lacks, and the active key. The error is
// [fs.ErrExist] if another change is under way.
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

// known refuses a kid that the ring lacks. The error repeats kid only if it has the form of a key
// id, because a user may paste a key by mistake.
func (r *Ring) known(kid string) error {
	if !validKID.MatchString(kid) {
		return errors.New("a key id is 1 to 32 of a-z, 0-9 and hyphen; see: worker keyring list")
	}
	if _, ok := r.Key(kid); !ok {
		return fmt.Errorf("has no key %s; see: worker keyring list", kid)
	}
	return nil
}

// editLines replaces every line for which edit reports true. The others, comments too, stay byte
// for byte.
func editLines(text string, edit func(fields []string) (line string, ok bool)) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 0 {
			if edited, ok := edit(fields); ok {
				line = edited
			}
		}
		b.WriteString(line)
	}
	return b.String()
}

// change replaces the file by its edited text. At any moment, and after any crash, a reader finds
// the old or the new file whole.
func change(path string, edit func(*Ring, string) (string, error)) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // rename would replace the link and not change the file that it points to
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
	// A valid file is never replaced by one that Load refuses.
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

// lock creates the file that will replace path. It must not exist yet, so only one change runs at a
// time.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("key ring: %w: another change is under way, or was interrupted; if none is running, remove that file", err)
	}
	if err != nil {
		return nil, fmt.Errorf("key ring: %w", err)
	}
	return f, nil
}

// fill writes text to f, syncs it to the disk, and closes f.
func fill(f *os.File, text string, perm fs.FileMode) error {
	_, err := f.WriteString(text)
	return errors.Join(err, f.Chmod(perm), f.Sync(), f.Close())
}

// syncFolder syncs the folder of path, so that the file's name survives a crash as its content
// does.
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

// newKey returns the line of a new key and its id: the date, for people, and 30 random bits,
// because ids must not repeat.
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
