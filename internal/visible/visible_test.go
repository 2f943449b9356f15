package visible_test

import (
	"testing"

	"example.com/securemail/internal/visible"
)

// TestFaults_LeaveNamesOfAllScriptsAlone, and find what nobody sees (O17, O18).
func TestFaults_LeaveNamesOfAllScriptsAlone(t *testing.T) {
	for _, c := range []struct {
		text           string
		inText, inName int
	}{
		{"alice@example.com", -1, -1},
		{"محمد", -1, -1},
		{"דוד כהן", -1, -1},
		{"می\u200cخواهم", -1, -1}, // Persian: ZWNJ between letters
		{"ක්\u200dෂ", -1, -1},     // Sinhala: ZWJ after a mark
		{"日本語 🔑", -1, -1},
		{"❤\ufe0f", -1, -1}, // a variation selector is a mark
		{"", -1, -1},
		{"alice\u200f", -1, 5},
		{"alice\u200e", -1, 5},
		{"alice\u061c", -1, 5},
		{"Bank\u200bX", -1, 4},
		{"alice@example.com\u2060", -1, 17},
		{"\ufeffalice", -1, 0},
		{"so\u00adft", -1, 2},
		{"alice\u200d", -1, 5},
		{"\u200calice", -1, 0},
		{"a \u200db", -1, 2},
		{"a\u200d\u200db", -1, 1},
		{"a\u200d1", -1, 1},
		{"a\nb", 1, 1},
		{"a\tb", 1, 1},
		{"a\x7f", 1, 1},
		{"a\u0085", 1, 1},
		{"a\u2028", 1, 1},
		{"a\u2029", 1, 1},
		{"a\u202eb", 1, 1},
		{"a\u2066b", 1, 1},
		{"a\u2069", 1, 1},
	} {
		if got := visible.FaultInText(c.text); got != c.inText {
			t.Errorf("%+q as text: got %d, want %d", c.text, got, c.inText)
		}
		if got := visible.FaultInName(c.text); got != c.inName {
			t.Errorf("%+q as a name: got %d, want %d", c.text, got, c.inName)
		}
	}
}
