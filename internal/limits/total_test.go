package limits_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"example.com/securemail/internal/limits"
	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

const total = "securemail:{total}"

func inAll(n int, soon tasks.TooSoon) tasks.Limits {
	l := tasks.DefaultLimits()
	l.TotalPerMinute, l.TooSoon = n, soon
	return l
}

// TestAdmit_AFloodOfManyDoesNotSpendTheRelaysDay: what is over the limit in all waits, and is counted nowhere meanwhile.
func TestAdmit_AFloodOfManyDoesNotSpendTheRelaysDay(t *testing.T) {
	r := testserver.StartRedis(t)
	m := limits.NewMails(r.As(testserver.Worker), inAll(20, tasks.TooSoonWait))
	var sendings []limits.Sending
	waiting := 0
	for n := range 100 {
		s := asked(t, fmt.Sprintf("stranger%d@example.com", n), fmt.Sprintf("192.0.2.%d", n))
		if n == 99 {
			s.Until = time.Now().Add(20 * time.Second)
		}
		sendings = append(sendings, s)
		place, err := m.Admit(t.Context(), s)
		switch {
		case n == 99:
			if err == nil {
				t.Error("a mail that is of no use in a minute waits nevertheless")
			}
		case err != nil:
			t.Fatal(err)
		case place.Wait > 0:
			waiting++
			if place.Limit != tasks.LimitTotal || place.Wait < 30*time.Second || place.Wait > 90*time.Second {
				t.Errorf("got %+v, want a wait for the limit in all of about a minute", place)
			}
		}
	}
	if waiting != 79 {
		t.Errorf("%d mails wait, want 79 of 100, and one refused", waiting)
	}
	if n := r.Client.DBSize(t.Context()).Val(); n != 41 {
		t.Errorf("%d keys are kept, want those of 20 recipients, 20 askers and all", n)
	}
	age(t, r.Client, total, time.Minute)
	if place, err := m.Admit(t.Context(), sendings[50]); err != nil || place.Wait > 0 {
		t.Errorf("a minute later: got %+v, %v; want it to go out", place, err)
	}
	if n := r.Client.ZCard(t.Context(), total).Val(); n != 1 {
		t.Errorf("%d sendings are remembered, want those of the last minute alone", n)
	}
}

// TestAdmit_ARetriedAttemptDoesNotCountInAllAgain, neither at once nor after the minute in which it is remembered.
func TestAdmit_ARetriedAttemptDoesNotCountInAllAgain(t *testing.T) {
	r := testserver.StartRedis(t)
	m := limits.NewMails(r.As(testserver.Worker), inAll(2, tasks.TooSoonWait))
	s := asked(t, "alice@example.com", "192.0.2.7")
	for n := range 5 {
		if place, err := m.Admit(t.Context(), s); err != nil || place.Wait > 0 {
			t.Errorf("attempt %d: got %+v, %v", n, place, err)
		}
	}
	if n := r.Client.ZCard(t.Context(), total).Val(); n != 1 {
		t.Errorf("got %d, want one", n)
	}
	age(t, r.Client, total, time.Minute)
	for n := range 2 {
		if got := refusal(t, m, asked(t, fmt.Sprintf("bob%d@example.com", n), "")); got != "" {
			t.Fatalf("refused for %s", got)
		}
	}
	if place, err := m.Admit(t.Context(), s); err != nil || place.Wait > 0 {
		t.Errorf("an attempt while others fill the minute: got %+v, %v; want it to go out", place, err)
	}
	if n := r.Client.ZCard(t.Context(), s.Origin).Val(); n != 1 {
		t.Errorf("it counts %d times for the asker", n)
	}
}

// TestAdmit_TooSoonIsRefusedWhereTheSettingsSaySo, with the time after which it works.
func TestAdmit_TooSoonIsRefusedWhereTheSettingsSaySo(t *testing.T) {
	r := testserver.StartRedis(t)
	m := limits.NewMails(r.As(testserver.Worker), inAll(3, tasks.TooSoonRefuse))
	check := func(s limits.Sending, want tasks.LimitName) {
		t.Helper()
		_, err := m.Admit(t.Context(), s)
		var limited *tasks.LimitError
		if !errors.As(err, &limited) || limited.Limit != want || limited.RetryAfter < 50*time.Second || limited.RetryAfter > time.Minute {
			t.Errorf("got %v, want limited (%s) for about a minute", err, want)
		}
	}
	for n := range 3 {
		if got := refusal(t, m, asked(t, fmt.Sprintf("bob%d@example.com", n), "")); got != "" {
			t.Fatalf("refused for %s", got)
		}
	}
	check(asked(t, "bob1@example.com", ""), tasks.LimitRecipient)
	check(asked(t, "alice@example.com", ""), tasks.LimitTotal)
	if n := r.Client.DBSize(t.Context()).Val(); n != 4 {
		t.Errorf("%d keys are kept, want those of 3 recipients and all", n)
	}
}

// TestLook_ChangesNothing: a client looks before each mail, as a user that may write little.
func TestLook_ChangesNothing(t *testing.T) {
	r := testserver.StartRedis(t)
	m := limits.NewMails(r.As(testserver.Producer), inAll(1, tasks.TooSoonWait))
	for range 20 {
		place, err := m.Look(t.Context(), asked(t, "alice@example.com", "192.0.2.7"))
		if err != nil || place.Wait != 0 || place.Next != time.Minute {
			t.Fatalf("got %+v, %v; want that it may go, and the next one in a minute", place, err)
		}
	}
	if n := r.Client.DBSize(t.Context()).Val(); n != 0 {
		t.Errorf("%d keys were made", n)
	}
}

// TestAdmit_CountsOnAClusterToo: the keys of a recipient, an asker and all are in different slots.
func TestAdmit_CountsOnAClusterToo(t *testing.T) {
	cluster := testserver.StartCluster(t)
	m := limits.NewMails(cluster, inAll(3, tasks.TooSoonRefuse))
	results := map[tasks.LimitName]int{}
	for n := range 10 {
		results[refusal(t, m, asked(t, fmt.Sprintf("stranger%d@example.com", n), fmt.Sprintf("192.0.2.%d", n)))]++
	}
	if results[""] != 3 || results[tasks.LimitTotal] != 7 {
		t.Errorf("got %v, want 3 with a place and 7 refused", results)
	}
	for n := range 10 {
		kept := cluster.ZCard(t.Context(), asked(t, "alice@example.com", fmt.Sprintf("192.0.2.%d", n)).Origin).Val()
		if n < 3 && kept != 1 || n >= 3 && kept != 0 {
			t.Errorf("asker %d: %d sendings are kept", n, kept)
		}
	}
}
