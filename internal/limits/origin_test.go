package limits_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/internal/limits"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

var ringKey = []byte("a key of the ring")

// asked is the first sending of a mail to the address that the IP address asked for.
func asked(t testing.TB, to, ip string) limits.Sending {
	t.Helper()
	task, err := tasks.Mail{Kind: tasks.Key, To: to, Origin: tasks.Origin{IP: ip}}.Task(tasks.Making{Lives: tasks.DefaultLives(), Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	s, err := limits.NewSending(ringKey, task)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// refusal returns the limit that refused the sending, or "".
func refusal(t testing.TB, m *limits.Mails, s limits.Sending) tasks.LimitName {
	t.Helper()
	_, err := m.Admit(context.Background(), s)
	var limited *tasks.LimitError
	if err != nil && !errors.As(err, &limited) {
		t.Fatal(err)
	}
	if limited == nil {
		return ""
	}
	return limited.Limit
}

// age makes the members of a window older.
func age(t testing.TB, rdb redis.UniversalClient, key string, by time.Duration) {
	t.Helper()
	for _, member := range rdb.ZRange(t.Context(), key, 0, -1).Val() {
		if err := rdb.ZIncrBy(t.Context(), key, -float64(by.Milliseconds()), member).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAdmit_ALeakyFormDoesNotMailAThousandStrangers, nor do workers that ask at once let it. What is refused counts for
// no recipient.
func TestAdmit_ALeakyFormDoesNotMailAThousandStrangers(t *testing.T) {
	r := testserver.StartRedis(t)
	var group sync.WaitGroup
	var mu sync.Mutex
	results := map[tasks.LimitName]int{}
	for worker := range 8 {
		m := limits.NewMails(r.As(testserver.Worker), tasks.DefaultLimits())
		group.Go(func() {
			for n := worker; n < 1000; n += 8 {
				got := refusal(t, m, asked(t, fmt.Sprintf("stranger%d@example.com", n), "192.0.2.7"))
				mu.Lock()
				results[got]++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if results[""] != 100 || results[tasks.LimitOrigin] != 900 {
		t.Errorf("got %v; want 100 mails, and 900 refused for their origin", results)
	}
	if n := r.Client.DBSize(t.Context()).Val(); n != 101 {
		t.Errorf("%d keys are kept, want those of 100 recipients and of the asker", n)
	}
	m := limits.NewMails(r.Client, tasks.DefaultLimits())
	for _, ip := range []string{"192.0.2.8", ""} {
		if got := refusal(t, m, asked(t, "stranger999@example.com", ip)); got != "" {
			t.Errorf("asked for by %q: refused for %s", ip, got)
		}
	}
	s := asked(t, "alice@example.com", "192.0.2.7")
	_, err := m.Look(t.Context(), s)
	var limited *tasks.LimitError
	if !errors.As(err, &limited) || limited.Limit != tasks.LimitOrigin || limited.RetryAfter < 55*time.Minute || limited.RetryAfter > time.Hour {
		t.Fatalf("a look: got %v, want limited for the rest of the hour", err)
	}
	age(t, r.Client, s.Origin, limited.RetryAfter)
	if _, err := m.Look(t.Context(), s); err != nil {
		t.Errorf("after RetryAfter: %v", err)
	}
}

// TestAdmit_AMailOfAFullRecipientDoesNotUseUpItsAskersHour: somebody who asks for an eleventh code is not barred.
func TestAdmit_AMailOfAFullRecipientDoesNotUseUpItsAskersHour(t *testing.T) {
	r := testserver.StartRedis(t)
	m := limits.NewMails(r.As(testserver.Worker), tasks.DefaultLimits())
	for range 50 {
		refusal(t, m, asked(t, "alice@example.com", "192.0.2.7"))
	}
	if n := r.Client.ZCard(t.Context(), asked(t, "alice@example.com", "192.0.2.7").Origin).Val(); n != 10 {
		t.Errorf("%d mails count for the asker, want the 10 that had a place", n)
	}
}

// TestOrigin_AnAskerDoesNotChangeItsAddressInsideItsNetwork: it has 2^64 of them.
func TestOrigin_AnAskerDoesNotChangeItsAddressInsideItsNetwork(t *testing.T) {
	r := testserver.StartRedis(t)
	m := limits.NewMails(r.As(testserver.Worker), tasks.DefaultLimits())
	for n := range 100 {
		if got := refusal(t, m, asked(t, fmt.Sprintf("stranger%d@example.com", n), fmt.Sprintf("2001:db8:1:2:%x::%x", n, n))); got != "" {
			t.Fatalf("mail %d: refused for %s", n, got)
		}
	}
	if got := refusal(t, m, asked(t, "alice@example.com", "2001:db8:1:2:ffff::1")); got != tasks.LimitOrigin {
		t.Errorf("another address of the /64: got %q, want refused for its origin", got)
	}
	if got := refusal(t, m, asked(t, "alice@example.com", "2001:db8:1:3::1")); got != "" {
		t.Errorf("an address of the next /64: refused for %s", got)
	}
	key := func(ip string) string { return asked(t, "alice@example.com", ip).Origin }
	for _, same := range [][]string{{"192.0.2.7", "::ffff:192.0.2.7"}, {"fe80::1", "fe80::2", "fe80:0::3"}} {
		for _, ip := range same {
			if key(ip) != key(same[0]) {
				t.Errorf("%s and %s are two askers", ip, same[0])
			}
		}
	}
	if key("192.0.2.7") == key("192.0.2.8") || strings.Contains(key("192.0.2.7"), "192") || key("") != "" {
		t.Errorf("got %s and %s", key("192.0.2.7"), key("192.0.2.8"))
	}
}

// TestRecipientKey_PlusAndDotFormsOfOneMailboxDoNotAddUp: they all share the mailbox's ten an hour.
func TestRecipientKey_PlusAndDotFormsOfOneMailboxDoNotAddUp(t *testing.T) {
	r := testserver.StartRedis(t)
	m := limits.NewMails(r.As(testserver.Worker), tasks.DefaultLimits())
	var forms []string
	for n := range 200 {
		forms = append(forms, fmt.Sprintf("alice+%d@googlemail.com", n))
	}
	forms = append(forms, "alice@gmail.com", "a.lice@gmail.com", "a.l.i.c.e@gmail.com", "ALICE@Gmail.com", "al.ice+x+y@gmail.com", "alice+@gmail.com",
		"Al.Ice@googlemail.com")
	results := map[tasks.LimitName]int{}
	for _, to := range forms {
		results[refusal(t, m, asked(t, to, ""))]++
	}
	if len(forms) != 207 || results[""] != 10 || results[tasks.LimitRecipient] != 197 {
		t.Errorf("of %d forms: got %v, want 10 with a place", len(forms), results)
	}
}
