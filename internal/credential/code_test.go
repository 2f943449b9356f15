package credential

import (
	"bytes"
	"testing"
)

func TestCodeText_LeavesOutBytesFrom250(t *testing.T) {
	stream := []byte{250, 9, 255, 249, 10, 251, 0, 252, 253, 254, 101, 33}
	if got, err := codeText(stream, 6); err != nil || got != "990013" {
		t.Errorf("got %q, %v, want 990013: bytes from 250 are left out", got, err)
	}
	if got, err := codeText(bytes.Repeat([]byte{250}, 64), 8); err == nil {
		t.Errorf("got %q of a stream without a usable byte, want an error", got)
	}
}
