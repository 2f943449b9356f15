//go:build !unix

package keyring

import (
	"io/fs"
	"os"
)

// keepOwner does nothing here: the system has no owner to keep. Applications that only send compile
// everywhere.
func keepOwner(*os.File, fs.FileInfo) error { return nil }
