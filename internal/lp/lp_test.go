package lp

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

// split reads back what Join wrote. That it can makes Join injective.
func split(b string) (parts []string) {
	for len(b) > 0 {
		n := binary.BigEndian.Uint32([]byte(b[:4]))
		parts = append(parts, b[4:4+n])
		b = b[4+n:]
	}
	return parts
}

// FuzzJoin: two lists of parts give the same bytes only if they are the same list.
func FuzzJoin(f *testing.F) {
	f.Add("a,b", "ab")
	f.Add("a,,b", "a,b,")
	f.Add("a\x00\x00\x00\x01b,c", "a,b,c")
	f.Add("", ",")
	f.Fuzz(func(t *testing.T, s1, s2 string) {
		a, b := strings.Split(s1, ","), strings.Split(s2, ",")
		if got := split(string(Join(a...))); !slices.Equal(got, a) {
			t.Errorf("got %q back, want %q", got, a)
		}
		if (string(Join(a...)) == string(Join(b...))) != slices.Equal(a, b) {
			t.Errorf("%q and %q give the same bytes", a, b)
		}
	})
}
