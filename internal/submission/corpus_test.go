package submission_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/securemail/internal/submission"
)

var (
	corpus = flag.String("corpus", "testdata/replies.tsv", "the table of replies to play")
	update = flag.Bool("update", false, "write docs/providers.md anew")
)

// answer is one line of testdata/replies.tsv: a reply that a real server gave, and the verdict of a
// postmaster.
type answer struct {
	id, server, phase string
	reply             string // with \n between its lines
	whose             string // recipient, recipient-later, message, sender, login, relay, relay-later, too-much, ambiguous
	why               string
}

func answers(t *testing.T) []answer {
	t.Helper()
	table, err := os.ReadFile(*corpus)
	if err != nil {
		t.Fatal(err)
	}
	var all []answer
	for line := range strings.Lines(string(table)) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if f[0] == "id" {
			continue
		}
		if len(f) != 9 {
			t.Fatalf("not nine columns: %s", line)
		}
		all = append(all, answer{f[0], f[1], f[2], f[3], f[4], f[6]})
	}
	if len(all) < 50 {
		t.Fatalf("only %d replies in %s", len(all), *corpus)
	}
	return all
}

func (a answer) raw() string { return strings.ReplaceAll(a.reply, `\n`, "\r\n") }

// script has a server give the answer in its phase.
func (a answer) script() map[string]string {
	quoted := strconv.Quote(a.raw())
	return map[string]string{a.phase: strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)}
}

// play has a server give the answer in its phase, and returns what a mail to it failed with. An answer
// while a session is idle costs the next mail nothing.
func (a answer) play(t *testing.T, mode submission.TLSMode) *submission.Error {
	t.Helper()
	s := newServer(t, mode, a.script()).start()
	c := s.client()
	if a.phase == "idle" {
		mustSubmit(t, c)
		s.hangUp(a.raw()+"\r\n", false)
		c.Age(10 * time.Second)
		mustSubmit(t, c)
		return nil
	}
	_, err := submit(c)
	return failure(t, err)
}

// outcome says in the words of the table's test what the error leads to.
func outcome(e *submission.Error) string {
	switch {
	case e == nil:
		return "sent over another session"
	case e.Permanent && (e.Scope == submission.ScopeRecipient || e.Scope == submission.ScopeMessage):
		return "refused: " + string(e.Scope)
	case e.Limited:
		return "waits: too much for now"
	}
	return "waits: " + string(e.Scope)
}

// TestCorpus_WhoseRefusalIsIt plays what real servers said, on both ports: nothing of ours loses a mail
// for good, and 95 % of the recipients' refusals do.
func TestCorpus_WhoseRefusalIsIt(t *testing.T) {
	var mu sync.Mutex
	total, right, lost, misses := map[string]int{}, map[string]int{}, 0, []string{}
	t.Run("all", func(t *testing.T) {
		for _, a := range answers(t) {
			for _, mode := range modes {
				if a.phase == "starttls" && mode == submission.ImplicitTLS {
					continue
				}
				t.Run(a.id+"/"+mode.String(), func(t *testing.T) {
					t.Parallel()
					got := outcome(a.play(t, mode))
					mu.Lock()
					defer mu.Unlock()
					total[a.whose]++
					refused, ours := strings.HasPrefix(got, "refused"), slices.Contains([]string{"relay", "relay-later", "sender", "login", "too-much"}, a.whose)
					if good := a.good(got); good {
						right[a.whose]++
					} else {
						misses = append(misses, fmt.Sprintf("%s %s %s: %s: %s is %s (%s)", a.id, a.server, a.phase, got, a.reply, a.whose, a.why))
					}
					if ours && refused {
						lost++
					}
				})
			}
		}
	})
	var figures []string
	for _, whose := range slices.Sorted(keys(total)) {
		figures = append(figures, fmt.Sprintf("%s %d/%d", whose, right[whose], total[whose]))
	}
	t.Logf("ours refused for good: %d; as a postmaster would: %s", lost, strings.Join(figures, ", "))
	if n := total["recipient"]; lost > 0 || right["recipient"]*100 < n*95 {
		t.Errorf("%d mails were lost for what is ours; %d of %d recipients were refused", lost, right["recipient"], n)
	}
	if *corpus == "testdata/replies.tsv" {
		slices.Sort(misses)
		t.Log("\n" + strings.Join(misses, "\n"))
	}
}

// good reports whether the outcome is one that the verdict allows.
func (a answer) good(got string) bool {
	switch a.whose {
	case "recipient":
		return got == "refused: recipient"
	case "recipient-later":
		return got == "waits: recipient"
	case "message":
		return got == "refused: message"
	case "too-much":
		return got == "waits: too much for now" || got == "sent over another session"
	case "login":
		return got == "waits: credentials"
	case "ambiguous":
		return !strings.HasPrefix(got, "refused")
	}
	return !strings.HasPrefix(got, "refused") && got != "waits: recipient"
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// TestCorpus_ASenderSideRefusalCostsNoMail: whatever of ours the first relay says, the second one has
// the mails: 5 of them, 100 where HOSTILE is set.
func TestCorpus_ASenderSideRefusalCostsNoMail(t *testing.T) {
	mails := 5
	if os.Getenv("HOSTILE") != "" {
		mails = 100
	}
	for _, a := range answers(t) {
		if !slices.Contains([]string{"relay", "relay-later", "sender", "login", "too-much"}, a.whose) || a.phase == "idle" || a.phase == "starttls" {
			continue
		}
		t.Run(a.id, func(t *testing.T) {
			t.Parallel()
			first := newServer(t, submission.ImplicitTLS, a.script()).start()
			second := newServer(t, submission.ImplicitTLS, nil).start()
			r := relaysOf(t, submission.Options{}, first, second)
			for i := range mails {
				turn, err := r.Acquire(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				to := fmt.Sprintf("code%d@d%d.example.net", i, i%4)
				receipt, err := turn.Submit(context.Background(), "", submission.Envelope{From: envelope.From, To: to}, mail, nil)
				if err != nil || receipt.Relay != "b" {
					t.Fatalf("mail %d: got %v, want that the second relay took it: %s", i, err, a.reply)
				}
			}
		})
	}
}

// TestProviders_DocIsTheTable holds docs/providers.md: go test ./internal/submission -run Providers
// -args -update writes it.
func TestProviders_DocIsTheTable(t *testing.T) {
	const path = "../../docs/providers.md"
	want := providersDoc(answers(t))
	if *update {
		if err := os.MkdirAll("../../docs", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s is not what testdata/replies.tsv gives (%v); run this test with -args -update", path, err)
	}
}

func providersDoc(all []answer) string {
	var b strings.Builder
	b.WriteString(`# What providers and servers say

This page is generated from [internal/submission/testdata/replies.tsv](../internal/submission/testdata/replies.tsv),
which a test plays. A row is a reply that a real server gave, what it means, and what the worker does:

- **refused**: the mail ends at once; the application may tell the person.
- **waits**: the mail is tried again within its life, at once through the next relay where there is one. ` + "`recipient`" + `
  waits for the mailbox, without another relay. ` + "`relay`, `credentials` and `too much for now`" + ` are the relay's, and cost
  the mail nothing. ` + "`unclear`" + ` means that the server does not say what is wrong; the log has its own words.

The reader looks for words of each kind, not for these texts. Codes alone mislead.
`)
	sorted := slices.Clone(all)
	slices.SortStableFunc(sorted, func(x, y answer) int {
		return strings.Compare(strings.ToLower(x.server), strings.ToLower(y.server))
	})
	last := ""
	for _, a := range sorted {
		if a.server != last {
			fmt.Fprintf(&b, "\n## %s\n\n| when | it says | it means | the mail |\n|---|---|---|---|\n", a.server)
			last = a.server
		}
		says := strings.ReplaceAll(strings.ReplaceAll(a.reply, `\n`, " / "), "|", "&#124;")
		fmt.Fprintf(&b, "| %s | %s | %s: %s | %s |\n", a.phase, code(says), a.whose, strings.ReplaceAll(a.why, "|", "&#124;"), a.does())
	}
	return b.String()
}

// code puts s between as many backticks as it needs.
func code(s string) string {
	if strings.Contains(s, "`") {
		return "`` " + s + " ``"
	}
	return "`" + s + "`"
}

// does says what a worker makes of the answer.
func (a answer) does() string {
	if a.phase == "idle" {
		return outcome(nil)
	}
	lines := strings.Split(a.reply, `\n`)
	n, _ := strconv.Atoi(lines[0][:3])
	for i := range lines {
		separator := "-"
		if i == len(lines)-1 {
			separator = " "
		}
		lines[i] = lines[i][:3] + separator + strings.TrimPrefix(strings.TrimPrefix(lines[i][3:], "-"), " ") + "\r\n"
	}
	r, _, _ := submission.ParseReply([]byte(strings.Join(lines, "")))
	return outcome(submission.Refused(submission.Phase(a.phase), n, r.Enhanced, r.Lines...))
}
