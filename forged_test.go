package securemail_test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/securemail/internal/record"
	"example.com/securemail/tasks"
)

// forgeries is a row for each field that a record can have. What somebody with write access to Redis writes into it leads to what
// the row says. SECURITY.md has the same in short.
var forgeries = []forgery{
	{field: "v", mac: true, values: numbers},
	{field: "kind", mac: true, values: append(texts, "key", "code", "totp")},
	{field: "purpose", mac: true, values: append(texts, "default", "recovery")},
	{field: "digits", mac: true, values: append(numbers, "6", "8")},
	{field: "bound", mac: true, values: append(numbers, "1")},
	{field: "created", mac: true, values: moments},
	{field: "expires", mac: true, values: moments},
	{field: "kid", mac: true, values: append(texts, "k-gone")},
	{field: "seed", mac: true, values: append(texts, strings.Repeat("s", 32))},
	{field: "to", mac: true, values: texts},
	{field: "fingerprint", mac: true, values: append(texts, strings.Repeat("f", 16))},
	{field: "mac", mac: true, values: append(texts, strings.Repeat("m", 16))},
	{field: "totp", values: texts, verify: map[string]string{
		"pending right": "error", "pending wrong": "error", "pending short": "error", "active right": "error", "active stale": "error",
		"active wrong": "error", "active short": "error", "active export": "error", "pending export": "error"},
		sets: map[string]map[string]string{"": {"active export": "rejected", "pending export": "rejected"}}},

	// What was verified, used, locked or confirmed is Redis' word.
	{field: "cred", values: append(texts, "live", "pending", "active", "verified", "locked", "expired", "revoked", "exported"),
		verify: map[string]string{
			"code right": "rejected", "code wrong": "rejected", "code short": "rejected", "key right": "rejected", "key wrong": "rejected",
			"key short": "rejected", "pending right": "rejected", "pending wrong": "rejected", "pending short": "rejected",
			"active right": "rejected", "active wrong": "rejected", "active short": "rejected", "active export": "rejected", "used again": "rejected"},
		sets: map[string]map[string]string{
			// What was used or locked can be set back to live. It still has its end.
			"live": {"used right": "right", "used wrong": "wrong", "used short": "wrong", "used again": "right",
				"locked right": "right", "locked wrong": "wrong", "locked short": "wrong"},
			"active":  {"pending right": "right", "pending wrong": "wrong", "pending short": "wrong", "pending export": "right"},
			"pending": {"active right": "right", "active wrong": "wrong", "active short": "wrong"},
		}},
	{field: "misses", values: numbers},
	{field: "step", values: numbers, sets: map[string]map[string]string{
		// A used code is right again where the step is set back.
		"": {"active stale": "right"}, "-1": {"active stale": "right"}, "2": {"active stale": "right"}, "x": {"active stale": "right"},
		"nan":                 {"active stale": "right"},
		"1e300":               {"active right": "rejected", "pending right": "rejected"},
		"9007199254740993":    {"active right": "rejected", "pending right": "rejected"},
		"9223372036854775807": {"active right": "rejected", "pending right": "rejected"}}},
	{field: "calls", values: texts, verify: map[string]string{"used again": "rejected"}},

	// These say how the mail went. Answers do not depend on them.
	{field: "state", values: append(texts, "queued", "sending", "deferred", "accepted", "refused", "expired", "revoked", "unknown")},
	{field: "changed", values: moments},
	{field: "lock", values: texts},
	{field: "lock_until", values: moments},
	{field: "sending", values: numbers},
	{field: "tries", values: numbers},
	{field: "next", values: moments},
	{field: "accepted", values: moments},
	{field: "handed", values: append(texts, "yes", "maybe")},
	{field: "client_ref", values: texts},
	{field: "reason", values: append(texts, "unconfirmed")},
	{field: "code", values: numbers},
	{field: "enhanced", values: texts},
	{field: "said", values: texts},
	{field: "relay", values: texts},
	{field: "queue_id", values: texts},
}

// forgery is what is tried with one field. Every field is also deleted (the value "") and given the value of another record.
type forgery struct {
	field  string
	mac    bool // covered by the MAC: no answer is right, and no worker sends the mail
	values []string
	// What differs from a record that nobody has changed: the result of an ask ("active stale") after any value, and after one.
	verify map[string]string
	sets   map[string]map[string]string
}

var (
	texts   = []string{"", "x", "\xff\xfe\r\n", strings.Repeat("A ", 50_000)}
	numbers = []string{"", "-1", "2", "x", "nan", "1e300", "9007199254740993", "9223372036854775807"}
	now     = time.Now()
	moments = append(numbers, ms(now.Add(-time.Hour)), ms(now.Add(-time.Minute)), ms(now.Add(time.Minute)), ms(now.Add(48*time.Hour)), "100000000000000")
)

func ms(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

// meaning is what a value of a field says to the MAC. A change that leaves it as it is changes nothing.
func meaning(field, value string) string {
	switch field {
	case "v", "digits", "created", "expires":
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil && value != "" {
			return "none"
		}
		return fmt.Sprint(n)
	case "bound":
		return fmt.Sprint(value == "1")
	}
	return value
}

// TestForged_EveryFieldOfARecordIsTried: a new field of a record cannot be forgotten. The records are those that real workers
// write, of every kind and in every state.
func TestForged_EveryFieldOfARecordIsTried(t *testing.T) {
	f := newForge(t)
	seen := map[string]string{}
	look := func(state, id string) {
		t.Helper()
		fields, err := f.redis.HKeys(t.Context(), "securemail:{"+id+"}").Result()
		if err != nil || len(fields) == 0 {
			t.Fatalf("%s: no record: %v", state, err)
		}
		for _, field := range fields {
			seen[field] = state
		}
	}
	for state, b := range f.bases() {
		look(state, b.ID)
	}
	for _, kind := range []tasks.Kind{tasks.Code, tasks.Key, tasks.TOTP} {
		look("sending "+string(kind), f.mailed(kind, alice, "sign-in").ID)
	}
	m := tasks.Mail{Kind: tasks.Key, ClientRef: "order 1", IdempotencyKey: "with-everything-1", Session: session}
	for suffix, state := range map[string]tasks.State{"450": tasks.Deferred, "550": tasks.Refused, "drop": tasks.Deferred} {
		m.To, m.IdempotencyKey = "bob+"+suffix+"@example.com", "key-of-"+suffix
		look(string(state), f.sent(m, state))
	}
	m.To, m.IdempotencyKey = "carol@example.com", "key-of-carol"
	id := f.sent(m, tasks.Accepted)
	f.stop()
	f.must(f.client.Resend(t.Context(), id))
	look("queued again", id)
	f.must(f.client.Revoke(t.Context(), id))
	look("revoked", id)
	a, err := f.records.Open(t.Context(), record.Entry{ID: strings.Repeat("q", 26), Kind: tasks.Key, Seed: []byte("s"), CreatedAt: now, ExpiresAt: now})
	f.must(err)
	f.must(f.records.Accept(t.Context(), a, record.Result{Code: 250, QueueID: "4XYZ"})) // the relay of these tests names none
	look("accepted", a.ID)
	late := record.Entry{ID: strings.Repeat("l", 26), Kind: tasks.Code, CreatedAt: now, ExpiresAt: now}
	_, err = f.records.EndUnopened(t.Context(), late, tasks.Expired, record.Result{Reason: tasks.ReasonLate})
	f.must(err)
	look("late", late.ID)

	rows := map[string]bool{}
	for _, row := range forgeries {
		rows[row.field] = true
		if seen[row.field] == "" {
			t.Errorf("no record has the field %s, which the table has", row.field)
		}
	}
	for _, field := range slices.Sorted(maps.Keys(seen)) {
		if !rows[field] {
			t.Errorf("a record (%s) has the field %s: say in forged_test.go and SECURITY.md what becomes of it when somebody changes it", seen[field], field)
		}
	}
}
