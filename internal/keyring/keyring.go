// Package keyring reads and changes the key ring, the only secret file of the system.
//
// Every mailed key, code and TOTP secret is derived from a seed in Redis and a key in this file.
// Neither is of any use without the other. Workers and processes that verify answers need the file;
// processes that only send do not.
//
// The file is text with one entry a line:
//
//   - one "recipients" key, for keyed hashes of addresses; it never changes
//   - one "active" line: the id of the credential key that new mails use
//   - one or more credential keys, each with a key id (kid); the record of a mail names the kid it
//     was made with
//
// To rotate: [Add] a key, wait until every process has read the file again (a [File] does so within
// a second), [Activate] the key, and [Remove] the old one when the last credential made with it has
// expired.
//
// A program that reads the ring once uses [Load]. One that keeps running uses [Open], which follows
// changes of the file.
package keyring

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"syscall"
	"time"

	"example.com/securemail/internal/secret"
)

const (
	keyLen  = 32       // bytes of every key: the output size of SHA-256; more would add nothing
	maxSize = 64 << 10 // bytes of the file, some 600 keys
)

var validKID = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

// Ring is the content of the file at one time. It never changes, and its keys do not print.
type Ring struct {
	recipients secret.String
	active     string
	keys       []ringKey // in the order of the file
}

type ringKey struct {
	kid     string
	created time.Time
	key     secret.String
}

// KeyInfo describes a credential key without the key itself.
type KeyInfo struct {
	KID     string
	Created time.Time // UTC
	Active  bool
}

// Active returns the key for new credentials, 32 bytes, and its id.
func (r *Ring) Active() (kid string, key []byte) {
	key, _ = r.Key(r.active)
	return r.active, key
}

// Key returns the key with the id kid, 32 bytes, or false if the ring has no such key.
func (r *Ring) Key(kid string) ([]byte, bool) {
	for _, k := range r.keys {
		if k.kid == kid {
			return []byte(k.key.Reveal()), true
		}
	}
	return nil, false
}

// Recipients returns the key for keyed hashes of addresses, 32 bytes. It never changes.
func (r *Ring) Recipients() []byte { return []byte(r.recipients.Reveal()) }

// List describes the credential keys in the order of the file.
func (r *Ring) List() []KeyInfo {
	var list []KeyInfo
	for _, k := range r.keys {
		list = append(list, KeyInfo{KID: k.kid, Created: k.created, Active: k.kid == r.active})
	}
	return list
}

// Load reads the ring from path, which may be a symbolic link.
//
// Errors: [fs.ErrNotExist] for a missing file; another error for a file that is not regular, larger
// than 64 KiB, readable by others, writable by anyone but its owner, or malformed. An error names
// the line but never repeats it.
func Load(path string) (*Ring, error) {
	r, _, err := load(path)
	return r, err
}

func load(path string) (*Ring, fs.FileInfo, error) {
	text, info, err := read(path)
	if err != nil {
		return nil, nil, err
	}
	r, err := parse(text)
	if err != nil {
		return nil, nil, fmt.Errorf("key ring %s: %w", path, err)
	}
	return r, info, nil
}

func read(path string) (string, fs.FileInfo, error) {
	// Without O_NONBLOCK, opening a FIFO would block until somebody writes to it.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, fmt.Errorf("key ring: %w; make one with: worker keyring new -o %s", err, path)
	}
	if err != nil {
		return "", nil, fmt.Errorf("key ring: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", nil, fmt.Errorf("key ring: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", nil, fmt.Errorf("key ring %s: not a regular file", path)
	}
	// The group may read: a mounted secret reaches a process that is not root in this way.
	if perm := info.Mode().Perm(); perm&0o027 != 0 {
		return "", nil, fmt.Errorf("key ring %s: mode %04o makes it readable by others; run chmod 600 %s", path, perm, path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return "", nil, fmt.Errorf("key ring: %w", err)
	}
	return string(data), info, nil
}

// parse reads the text of a ring. Its errors hold nothing of the text, because a misplaced line may
// be a key.
func parse(text string) (*Ring, error) {
	if len(text) > maxSize {
		return nil, fmt.Errorf("over %d KiB", maxSize>>10)
	}
	if !strings.HasSuffix(text, "\n") {
		return nil, errors.New("empty, or its last line is cut off; restore it from a backup")
	}
	r := new(Ring)
	n := 0
	for line := range strings.Lines(text) {
		n++
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if err := r.parseLine(fields); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if r.recipients.IsZero() {
		return nil, errors.New("has no recipients key; restore it from a backup")
	}
	if r.active == "" {
		return nil, errors.New("names no active key; add a line: active ID")
	}
	if _, ok := r.Key(r.active); !ok {
		return nil, errors.New("the active key is not in it; restore it from a backup, or name another in the line: active ID")
	}
	return r, nil
}

func (r *Ring) parseLine(fields []string) (err error) {
	switch word, n := fields[0], len(fields); {
	case word == "recipients" && n == 2:
		if !r.recipients.IsZero() {
			return errors.New("a second recipients key")
		}
		r.recipients, err = decodeKey(fields[1])
		return err
	case word == "active" && n == 2:
		if r.active != "" {
			return errors.New("a second active line")
		}
		r.active = fields[1]
		return nil
	case word == "key" && n == 4:
		return r.parseKey(fields[1], fields[2], fields[3])
	}
	return errors.New("want one of: recipients KEY; active ID; key ID CREATED KEY")
}

func (r *Ring) parseKey(kid, created, key string) error {
	if !validKID.MatchString(kid) {
		return errors.New("the key id is not 1 to 32 of a-z, 0-9 and hyphen")
	}
	if _, ok := r.Key(kid); ok {
		return errors.New("a second key of the same id")
	}
	t, err := time.Parse(time.RFC3339, created)
	if err != nil {
		return errors.New("the date is not RFC 3339, such as 2006-01-02T15:04:05Z")
	}
	k, err := decodeKey(key)
	if err != nil {
		return err
	}
	r.keys = append(r.keys, ringKey{kid: kid, created: t.UTC(), key: k})
	return nil
}

func decodeKey(s string) (secret.String, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != keyLen {
		return secret.String{}, fmt.Errorf("the key is not %d bytes in base64", keyLen)
	}
	return secret.New(string(b)), nil
}
