package keyring

import (
	"io/fs"
	"os"
	"sync"
	"time"
)

// recheck is the shortest time between two checks of the file. A rotation waits this long for every
// process, which people do not notice, and one stat a second costs nothing.
const recheck = time.Second

// File is a ring that follows its file. It has no background goroutine: the calls that ask for keys
// read the file. They check it for changes at most once a second. They read it at once for an
// unknown key id, at most once a second too. A File is safe for concurrent use.
//
// If the file becomes invalid or disappears, the last valid keys stay in use. The next call returns
// the error together with the ring, so that the caller can log it. Later calls return no error
// until it changes.
type File struct {
	path string

	mu       sync.Mutex
	ring     *Ring
	info     fs.FileInfo // of the file that ring came from; nil while the file is invalid
	checked  time.Time   // when the file was last checked
	missed   time.Time   // when an unknown key id last caused a read
	reported string      // the text of the last error that was returned
}

// Open reads the ring at path and returns a File that follows it. It keeps no file open. The errors
// are those of [Load].
func Open(path string) (*File, error) {
	ring, info, err := load(path)
	if err != nil {
		return nil, err
	}
	return &File{path: path, ring: ring, info: info, checked: time.Now()}, nil
}

// Ring returns the last valid ring. The ring is never nil, even together with an error. A caller
// logs the error and continues.
func (f *File) Ring() (*Ring, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.check()
	return f.ring, err
}

// Key returns the key with the id kid, 32 bytes, or false if neither the ring nor the file as it is
// now has it. So it also finds a key that was added within this second. The error is that of
// [File.Ring] and says nothing about kid.
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

// check reads the file again if it has changed and the last check is a second ago.
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

// reread replaces the ring by that of the file. If the file is invalid, reread returns the error,
// once.
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
