package keyring

import (
	"io/fs"
	"os"
	"sync"
	"time"
)

// recheck is how often a File looks at the file at most. Rotation waits for every process by this much, people do not
// notice, and one stat a second costs nothing.
const recheck = time.Second

// File is a ring that follows its file. It reads on the calls that ask for keys, never in the background: it looks for
// a change at most once a second, and reads at once for an unknown key id, at most once a second too. Safe for
// concurrent use.
//
// A file that turns bad, or is gone, does not take the keys away: the last good ring stays. The trouble is returned
// beside the ring by one call, to be logged, and not again until it changes.
type File struct {
	path string

	mu       sync.Mutex
	ring     *Ring
	info     fs.FileInfo // of the file that ring came from; nil while the file is bad
	checked  time.Time   // when the file was last looked at
	missed   time.Time   // when an unknown key id last made us read it
	reported string      // the trouble that was returned
}

// Open reads the ring at path as [Load] does, and returns a File that follows it. Nothing stays open.
func Open(path string) (*File, error) {
	ring, info, err := load(path)
	if err != nil {
		return nil, err
	}
	return &File{path: path, ring: ring, info: info, checked: time.Now()}, nil
}

// Ring returns the newest good ring, never nil, even beside an error: log that and go on.
func (f *File) Ring() (*Ring, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.check()
	return f.ring, err
}

// Key returns the key with the id kid, or false if neither the ring nor the file as it is now has it: a key that was
// added and activated within this second is found. An error, as of [File.Ring], says nothing about kid.
func (f *File) Key(kid string) (key []byte, ok bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err = f.check()
	key, ok = f.ring.Key(kid)
	if ok || time.Since(f.missed) < recheck {
		return key, ok, err
	}
	f.missed = time.Now()
	if again := f.reread(); again != nil {
		err = again
	}
	key, ok = f.ring.Key(kid)
	return key, ok, err
}

// check reads the file again if it has changed, a second after the last look at it.
func (f *File) check() error {
	if time.Since(f.checked) < recheck {
		return nil
	}
	f.checked = time.Now()
	if f.unchanged() {
		return nil
	}
	return f.reread()
}

func (f *File) unchanged() bool {
	if f.info == nil {
		return false
	}
	info, err := os.Stat(f.path)
	return err == nil && os.SameFile(info, f.info) &&
		info.Size() == f.info.Size() && info.ModTime().Equal(f.info.ModTime()) && info.Mode() == f.info.Mode()
}

// reread takes the file's ring if it is good, and otherwise returns the trouble, once.
func (f *File) reread() error {
	ring, info, err := load(f.path)
	if err == nil {
		f.ring, f.info, f.reported = ring, info, ""
		return nil
	}
	f.info = nil
	if err.Error() == f.reported {
		return nil
	}
	f.reported = err.Error()
	return err
}
