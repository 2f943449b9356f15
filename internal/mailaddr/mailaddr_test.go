package mailaddr

import (
	"net/mail"
	"os"
	"strings"
	"testing"
)

// lines returns the lines of a table of addresses: one Go string literal's inside a line, # starts a comment.
func lines(t testing.TB, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	unescape := strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\0`, "\x00", `\t`, "\t", `\x7f`, "\x7f", `\xff`, "\xff", `\\`, `\`)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if line != "" && !strings.HasPrefix(line, "# ") {
			all = append(all, unescape.Replace(line))
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s holds no addresses", path)
	}
	return all
}

func TestParse_AcceptsGoodAddresses(t *testing.T) {
	for _, line := range lines(t, "testdata/addresses_good.txt") {
		given, want, differs := strings.Cut(line, " -> ")
		if !differs {
			want = given
		}
		got, err := Parse(given)
		if err != nil || got.String() != want {
			t.Errorf("%q: got %q, %v; want %q", given, got, err, want)
		}
	}
}

func TestParse_RefusesBadAddressesWithoutRepeatingThem(t *testing.T) {
	for _, address := range lines(t, "testdata/addresses_bad.txt") {
		_, err := Parse(address)
		if err == nil {
			t.Errorf("%q was accepted", address)
			continue
		}
		if len(address) > 5 && strings.Contains(err.Error(), address) {
			t.Errorf("%q: the error repeats it: %q", address, err)
		}
	}
}

func TestParse_BoundsLengths(t *testing.T) {
	label := strings.Repeat("d", 61) + "."
	for _, test := range []struct {
		name, address string
		good          bool
	}{
		{"local part of 64", strings.Repeat("a", 64) + "@example.com", true},
		{"local part of 65", strings.Repeat("a", 65) + "@example.com", false},
		{"label of 63", "a@" + strings.Repeat("d", 63) + ".com", true},
		{"label of 64", "a@" + strings.Repeat("d", 64) + ".com", false},
		{"254 in all", strings.Repeat("a", 64) + "@" + strings.Repeat(label, 3) + "com", true},
		{"255 in all", strings.Repeat("a", 3) + "@" + strings.Repeat(label, 4) + "com", false},
		{"a megabyte", strings.Repeat("a", 1<<20) + "@example.com", false},
	} {
		if _, err := Parse(test.address); (err == nil) != test.good {
			t.Errorf("%s (%d): got %v, want good %v", test.name, len(test.address), err, test.good)
		}
	}
}

// FuzzParse holds three properties: what is accepted is accepted again unchanged; the standard library's parser reads
// it as the same single address; and it holds nothing that could end a path or a line in an SMTP conversation.
func FuzzParse(f *testing.F) {
	for _, path := range []string{"testdata/addresses_good.txt", "testdata/addresses_bad.txt"} {
		for _, line := range lines(f, path) {
			f.Add(line)
		}
	}
	f.Fuzz(func(t *testing.T, given string) {
		address, err := Parse(given)
		if err != nil {
			return
		}
		got := address.String()
		if again, err := Parse(got); err != nil || again != address {
			t.Errorf("%q became %q, which became %q, %v", given, got, again, err)
		}
		parsed, err := mail.ParseAddress(got)
		if err != nil || parsed.Address != got || parsed.Name != "" {
			t.Errorf("%q: net/mail reads %q as %+v, %v", given, got, parsed, err)
		}
		if strings.ContainsAny(got, " <>()[]\\\",;:\r\n\x00\t") || strings.Count(got, "@") != 1 || len(got) > maxAddress {
			t.Errorf("%q became %q", given, got)
		}
	})
}

func TestAddress_Parts(t *testing.T) {
	a, err := Parse("Alice@Bücher.example")
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]string{
		a.Domain():         "xn--bcher-kva.example",
		a.Fold():           "alice@xn--bcher-kva.example",
		a.Masked():         "A***@xn--bcher-kva.example",
		Address{}.Masked(): "",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestParse_DoesNotConvertLongDomains: punycode of 35 KB took seconds of CPU, for anybody who could name an address.
func TestParse_DoesNotConvertLongDomains(t *testing.T) {
	address := "a@" + strings.Repeat("ü", 500_000) + ".example"
	if allocs := testing.AllocsPerRun(10, func() {
		if _, err := Parse(address); err == nil || !strings.Contains(err.Error(), "longer than 254") {
			t.Errorf("got %v, want that it is too long", err)
		}
	}); allocs > 5 {
		t.Errorf("%v allocations, want none that grow with the address", allocs)
	}
}

// TestFold_VariantsOfOneMailboxDoNotEscapeItsLimit: and addresses of two people stay two.
func TestFold_VariantsOfOneMailboxDoNotEscapeItsLimit(t *testing.T) {
	for given, want := range map[string]string{
		"aLICE@Example.com":           "alice@example.com",
		"alice+news@example.com":      "alice@example.com",
		"alice+a+b@example.com":       "alice@example.com",
		"alice+@example.com":          "alice@example.com",
		"+tag@example.com":            "+tag@example.com",
		"+@example.com":               "+@example.com",
		"a.b@example.com":             "a.b@example.com",
		"alice-news@example.com":      "alice-news@example.com",
		"a.b+c@googlemail.com":        "ab@gmail.com",
		"A.l.i.c.e@GMAIL.com":         "alice@gmail.com",
		"alice+x.y@gmail.com":         "alice@gmail.com",
		"+x.y@gmail.com":              "+xy@gmail.com",
		"a.b@mail.gmail.com":          "a.b@mail.gmail.com",
		"a.b+c@gmail.com.example.com": "a.b@gmail.com.example.com",
	} {
		a, err := Parse(given)
		if err != nil {
			t.Errorf("%s: %v", given, err)
		}
		if got := a.Fold(); got != want {
			t.Errorf("%s: got %s, want %s", given, got, want)
		}
		if a.String() == want && given != want {
			t.Errorf("%s: the address itself was folded", given)
		}
	}
	if got := (Address{}).Fold(); got != "" {
		t.Errorf("no address: got %q", got)
	}
}
