package credential

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

// unlp reads back what lp wrote: that it can is what makes lp injective.
func unlp(b string) (parts []string) {
	for len(b) > 0 {
		n := binary.BigEndian.Uint32([]byte(b[:4]))
		parts = append(parts, b[4:4+n])
		b = b[4+n:]
	}
	return parts
}

// Two lists of parts give the same bytes only if they are the same list.
func FuzzLP(f *testing.F) {
	f.Add("a,b", "ab")
	f.Add("a,,b", "a,b,")
	f.Add("a\x00\x00\x00\x01b,c", "a,b,c")
	f.Add("", ",")
	f.Fuzz(func(t *testing.T, s1, s2 string) {
		a, b := strings.Split(s1, ","), strings.Split(s2, ",")
		if got := unlp(lp(a...)); !slices.Equal(got, a) {
			t.Errorf("got %q back, want %q", got, a)
		}
		if (lp(a...) == lp(b...)) != slices.Equal(a, b) {
			t.Errorf("%q and %q give the same bytes", a, b)
		}
	})
}

func TestCodeTextRejects(t *testing.T) {
	stream := []byte{250, 9, 255, 249, 10, 251, 0, 252, 253, 254, 101, 33}
	if got, err := codeText(stream, 6); err != nil || got != "990013" {
		t.Errorf("got %q, %v, want 990013: bytes from 250 are left out", got, err)
	}
	if got, err := codeText(bytes.Repeat([]byte{250}, 64), 8); err == nil {
		t.Errorf("got %q of a stream without a usable byte, want an error", got)
	}
}
