//go:build !unix

package keyring

import (
	"io/fs"
	"os"
)

// keepOwner has nothing to keep here. It exists so that applications which only send compile everywhere.
func keepOwner(*os.File, fs.FileInfo) error { return nil }
