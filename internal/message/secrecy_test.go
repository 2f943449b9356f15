package message_test

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"example.com/securemail/internal/message"
	"example.com/securemail/internal/secret"
	"example.com/securemail/tasks"
)

// bare is the secret without its groups.
func bare(m message.Content) string {
	return strings.NewReplacer(" ", "", "-", "").Replace(m.Secret.Reveal())
}

func TestCompose_PutsTheSecretInTheBodiesOnly(t *testing.T) {
	for _, k := range kinds {
		m := sample(t, k)
		header, parts := walk(t, compose(t, m))
		elsewhere := fmt.Sprint(header)
		for _, p := range parts {
			elsewhere += fmt.Sprint(p.header, p.file)
		}
		words, err := message.Render(m)
		if err != nil {
			t.Fatal(err)
		}
		elsewhere += words.Subject
		for _, attr := range attributes(t, words.HTML) {
			if attr.Key != "href" { // the key URI
				elsewhere += attr.Val
			}
		}
		for _, s := range []string{m.Secret.Reveal(), bare(m)} {
			if strings.Contains(elsewhere, s) {
				t.Errorf("%s: the secret is in a header, a file name or an attribute", k)
			}
		}
		// It is one run of text in each part, so that a person can copy it.
		if n := strings.Count(words.Text, m.Secret.Reveal()); n != 1 {
			t.Errorf("%s: the secret is %d times in the text, want 1", k, n)
		}
		if n := strings.Count(words.HTML, ">"+m.Secret.Reveal()+"<"); n != 1 {
			t.Errorf("%s: the secret is %d times in the HTML, want 1", k, n)
		}
	}
}

// A list of mails and a lock screen show the first words. The longest known preview has under 200
// characters.
func TestRender_BeginsWithoutTheSecret(t *testing.T) {
	for _, k := range kinds {
		m := sample(t, k)
		m.Name, m.Product, m.Purpose, m.IP, m.Agent = "", "X", "", "", ""
		words, err := message.Render(m)
		if err != nil {
			t.Fatal(err)
		}
		_, body, _ := strings.Cut(words.HTML, "<body")
		visible := html.UnescapeString(regexp.MustCompile(`<[^>]*>`).ReplaceAllString("<body"+body, ""))
		for part, shown := range map[string]string{"HTML": visible, "text": words.Text} {
			before, _, _ := strings.Cut(shown, m.Secret.Reveal())
			want := 300
			if part == "text" {
				want = 150 // the text has no padding, and programs that show it have no lock screen
			}
			if n := len([]rune(strings.Join(strings.Fields(before), " "))); n < want {
				t.Errorf("%s: got %d characters before the secret in the %s, want %d", k, n, part, want)
			}
			if at := strings.Index(shown, uri); at >= 0 && at < want {
				t.Errorf("%s: the key URI begins within %d characters of the %s", k, want, part)
			}
		}
	}
}

func TestRender_LoadsNothingFromTheNetwork(t *testing.T) {
	for _, k := range kinds {
		words, err := message.Render(sample(t, k))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{"http:", "https:", "url(", "@import", "<script", "<link", "<form", "ZgotmplZ"} {
			if strings.Contains(words.HTML, s) {
				t.Errorf("%s: the HTML holds %s", k, s)
			}
		}
	}
}

var vectors = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</title><svg onload=alert(1)>`, `javascript:alert(1)`,
	`' onmouseover='alert(1)`, `{{ .Secret }}`, `{{template "body" .}}`, `<!--`, `-->`, `]]>`, `</style><b>`, `<![endif]-->`,
	`&lt;b&gt;`, `&#60;b&#62;`, `<a href="otpauth:x">`, "\u00a0<b>", `${7*7}`, `%0d%0aBcc:x`, `\u003cb\u003e`, `＜b＞`,
}

func TestRender_EscapesHostileText(t *testing.T) {
	for _, k := range kinds {
		want := skeleton(t, sample(t, k))
		for _, v := range vectors {
			m := sample(t, k)
			m.Name, m.Agent, m.Product, m.From.Name = v, v, v, v
			if k == tasks.TOTP {
				m.Account = v
			}
			if got := skeleton(t, m); got != want {
				t.Errorf("%s: %q changes the elements: got %s, want %s", k, v, got, want)
			}
			compose(t, m)
			m.Purpose = v
			if _, err := message.Render(m); err == nil {
				t.Errorf("%s: Purpose %q is accepted", k, v)
			}
		}
	}
}

func TestRender_OmitsNamesThatMakeALink(t *testing.T) {
	for name, shown := range map[string]bool{
		"Alice": true, "Dr. Alice": true, "J.R.R. Tolkien": true, "O'Brien-Smith": true, "Alice 2.0": true, "Søren Å.": true,
		"you won at evil.example": false, "http://[::1]/": false, "write to bob@evil.example": false, "www.例え.jp": false,
	} {
		m := sample(t, tasks.Key)
		m.Name, m.Agent = name, name
		words, err := message.Render(m)
		if err != nil {
			t.Fatal(err)
		}
		want := 0
		if shown {
			want = 2
		}
		if n := strings.Count(words.Text, name); n != want {
			t.Errorf("%q: got %d times in the text, want %d", name, n, want)
		}
	}
}

func TestCompose_ErrorsHoldNoValue(t *testing.T) {
	m := sample(t, tasks.TOTP)
	m.Secret = secret.New("canary<")
	_, err := message.Compose(m)
	mustNotHold(t, err, "canary")
	m = sample(t, tasks.TOTP)
	m.URI = secret.New("otpauth://hotp/x?secret=canary")
	_, err = message.Compose(m)
	mustNotHold(t, err, "canary")
}

func mustNotHold(t *testing.T, err error, s string) {
	t.Helper()
	if err == nil || strings.Contains(err.Error(), s) {
		t.Errorf("got error %v, want one without the value", err)
	}
}

// skeleton returns the elements of the mail's HTML and the names of their attributes, without the
// texts.
func skeleton(t *testing.T, m message.Content) string {
	t.Helper()
	words, err := message.Render(m)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for n := range parseHTML(t, words.HTML).Descendants() {
		switch n.Type {
		case html.ElementNode:
			fmt.Fprintf(&b, "<%s", n.Data)
			for _, a := range n.Attr {
				fmt.Fprintf(&b, " %s", a.Key)
			}
			b.WriteString(">")
		case html.CommentNode:
			b.WriteString("<!-->")
		}
	}
	return b.String()
}

func attributes(t *testing.T, s string) []html.Attribute {
	t.Helper()
	var all []html.Attribute
	for n := range parseHTML(t, s).Descendants() {
		all = append(all, n.Attr...)
	}
	return all
}

func parseHTML(t *testing.T, s string) *html.Node {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(s))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}
