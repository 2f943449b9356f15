package securemail_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"time"

	"example.com/securemail/internal/testserver"
	"example.com/securemail/tasks"
)

// authenticator shows the codes that oathtool computes.
type authenticator struct {
	testing.TB
	secret string // in base32, as in the mail
}

// code returns the code of that many time steps from now. It waits for a new step if the current
// one is about to end.
func (a authenticator) code(steps int) string {
	a.Helper()
	for time.Now().Unix()%30 >= 27 {
		time.Sleep(100 * time.Millisecond)
	}
	at := time.Now().Add(time.Duration(steps) * 30 * time.Second).UTC()
	out, err := exec.Command(testserver.Need(a, "oathtool", "oathtool"), "--totp", "--base32", "--now", at.Format("2006-01-02 15:04:05 UTC"), a.secret).Output()
	if err != nil {
		a.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// verify verifies typed as an answer to a's secret, and returns the result.
func (h *fixture) verify(a answer, typed string) string {
	h.Helper()
	a.Typed = typed
	return resultOf(check(h.client, h.Context(), a))
}

// freshStep waits until a time step begins, so that the next calls are in the same step.
func freshStep() {
	for time.Now().Unix()%30 >= 20 {
		time.Sleep(100 * time.Millisecond)
	}
}

// activeTOTP returns a TOTP of alice after its first right code, which was the one of the step before.
func (h *fixture) activeTOTP(purpose string) (answer, authenticator) {
	h.Helper()
	freshStep()
	a := h.mailed(tasks.TOTP, alice, purpose)
	app := authenticator{h, a.Typed}
	if got := h.verify(a, app.code(-1)); got != "right" {
		h.Fatalf("the first code: got %s", got)
	}
	return a, app
}

func TestVerify_AcceptsATOTPCodeOnce(t *testing.T) {
	t.Parallel()
	h := newFixture(t)
	freshStep()
	a := h.mailed(tasks.TOTP, alice, "sign-in")
	app := authenticator{t, a.Typed}
	if got := h.credential(a.ID); got != tasks.CredentialPending {
		t.Errorf("got %s before the first code, want pending", got)
	}
	for _, test := range []struct {
		name, typed, want string
	}{
		{"two steps ago", app.code(-2), "wrong, 4 left"},
		{"two steps ahead", app.code(2), "wrong, 3 left"},
		{"the secret itself", a.Typed, "unreadable"},
		{"a code of eight digits", "0000 0000", "wrong, 2 left"},
		{"a step ago", app.code(-1), "right"},
		{"the same code again", app.code(-1), "rejected"},
		{"now", app.code(0), "right"},
		{"now, again", app.code(0), "rejected"},
		{"the step before it", app.code(-1), "rejected"},
		{"a wrong code", "000000", "wrong, 99 left"},
		{"a step ahead", app.code(1), "right"},
		{"now, after it", app.code(0), "rejected"},
		{"wrong after right", "000000", "wrong, 99 left"},
	} {
		if got := h.verify(a, test.typed); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
	if got := h.credential(a.ID); got != tasks.CredentialActive {
		t.Errorf("got %s after a right code, want active", got)
	}
	if life := h.redis.TTL(t.Context(), "securemail:{"+a.ID+"}").Val(); life != -1 {
		t.Errorf("the record of an active TOTP ends in %v, want never", life)
	}
}

func TestVerify_AcceptsATOTPCodeOnceInParallel(t *testing.T) {
	h := newFixture(t)
	for range 50 {
		freshStep()
		a := h.mailed(tasks.TOTP, alice, "sign-in")
		a.Typed = authenticator{t, a.Typed}.code(0)
		if got := all(t, h.client, 100, func(int) answer { return a }); got["right"] != 1 || got["rejected"] != 99 {
			t.Fatalf("got %v, want 1 right and 99 rejected", got)
		}
	}
}

func TestVerify_ExpiresAnUnconfirmedTOTP(t *testing.T) {
	h := newFixture(t)
	late := h.mailed(tasks.TOTP, alice, "sign-in", -time.Second)
	if got := h.verify(late, authenticator{t, late.Typed}.code(0)); got != "rejected" {
		t.Errorf("after the expiry: got %s, want rejected", got)
	}
	if got := h.credential(late.ID); got != tasks.CredentialExpired {
		t.Errorf("got %s, want expired", got)
	}
	guessed := h.mailed(tasks.TOTP, alice, "sign-in")
	for left := 4; left >= 0; left-- {
		if got, want := h.verify(guessed, "00000000"), fmt.Sprintf("wrong, %d left", left); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := h.verify(guessed, authenticator{t, guessed.Typed}.code(0)); got != "rejected" {
		t.Errorf("after five misses: got %s, want rejected", got)
	}
}

// Unlock between the wrong answers does not change that.
func TestVerify_LocksAnActiveTOTPAfterAHundredWrongAnswers(t *testing.T) {
	h := newFixture(t)
	a, app := h.activeTOTP("sign-in")
	for left := 99; left >= 0; left-- {
		if left%20 == 19 {
			h.must(h.client.Unlock(t.Context(), alice))
		}
		if got, want := h.verify(a, "00000000"), fmt.Sprintf("wrong, %d left", left); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
	h.must(h.client.Unlock(t.Context(), alice))
	if got := h.verify(a, app.code(0)); got != "rejected" {
		t.Errorf("the right code of a locked TOTP: got %s, want rejected", got)
	}
	if got := h.credential(a.ID); got != tasks.CredentialLocked {
		t.Errorf("got %s, want locked", got)
	}
}

// TestUnlock_MakesALockedTOTPActive: who knew the address could destroy a person's authenticator by a hundred wrong answers.
func TestUnlock_MakesALockedTOTPActive(t *testing.T) {
	h := newFixture(t)
	a, app := h.activeTOTP("sign-in")
	pending := h.mailed(tasks.TOTP, alice, "enrol")
	key := "securemail:{" + a.ID + "}"
	h.must(h.redis.HSet(t.Context(), key, "misses", 99).Err())
	if got := h.verify(a, "000000"); got != "wrong, 0 left" {
		t.Fatalf("got %s, want wrong", got)
	}
	for left := 4; left >= 0; left-- {
		h.verify(pending, "000000")
	}
	if fields := h.redis.HGetAll(t.Context(), key).Val(); fields["totp"] == "" || h.redis.TTL(t.Context(), key).Val() >= 0 {
		t.Error("a locked TOTP that was active has no secret, or an end")
	}
	if err := h.client.Unlock(t.Context(), "bob@example.com", a.ID); !errors.Is(err, tasks.ErrRejected) {
		t.Errorf("another address: got %v, want ErrRejected", err)
	}
	for range 2 { // calling again is safe
		h.must(h.client.Unlock(t.Context(), alice, a.ID, pending.ID))
	}
	if got := h.verify(a, app.code(0)); got != "right" {
		t.Errorf("after Unlock: got %s, want right", got)
	}
	if got := h.credential(pending.ID); got != tasks.CredentialLocked {
		t.Errorf("a TOTP that was never active: got %s, want locked", got)
	}
	// Revoke ends a locked one, secret and all.
	h.must(h.redis.HSet(t.Context(), key, "misses", 99).Err())
	h.verify(a, "000000")
	h.must(h.client.Revoke(t.Context(), a.ID))
	if fields := h.redis.HGetAll(t.Context(), key).Val(); fields["cred"] != "revoked" || fields["totp"] != "" || h.redis.TTL(t.Context(), key).Val() <= 0 {
		t.Errorf("after Revoke: %s, with a secret: %v", fields["cred"], fields["totp"] != "")
	}
}

func TestExport_CanBeRepeated(t *testing.T) {
	h := newFixture(t)
	freshStep()
	a := h.mailed(tasks.TOTP, alice, "sign-in")
	app := authenticator{t, a.Typed}
	export := func(id, purpose, to string) (tasks.Exported, string) {
		e, err := h.client.Export(t.Context(), tasks.Ref{ID: id, Purpose: purpose, To: to})
		return e, resultOf(err)
	}
	if _, got := export(a.ID, "sign-in", alice); got != "rejected" {
		t.Errorf("a pending TOTP: got %s, want rejected", got)
	}
	if got := h.verify(a, app.code(0)); got != "right" {
		t.Fatalf("got %s, want right", got)
	}
	for _, other := range [][3]string{{a.ID, "sign-in", "bob@example.com"}, {a.ID, "", alice}, {strings.Repeat("0", 26), "sign-in", alice}} {
		if _, got := export(other[0], other[1], other[2]); got != "rejected" {
			t.Errorf("%q: got %s, want rejected", other, got)
		}
	}
	e, got := export(a.ID, "sign-in", alice)
	if got != "right" || e.Secret != strings.ReplaceAll(a.Typed, " ", "") || e.LastStep != time.Now().Unix()/30 {
		t.Errorf("got %s and step %d, want the secret and this step", got, e.LastStep)
	}
	if text := fmt.Sprintf("%v %+v %#v", e, e, e); strings.Contains(text, e.Secret) {
		t.Error("an exported secret prints")
	}
	// A reply that was lost loses no secret: it can be exported again, for 10 minutes.
	if again, got := export(a.ID, "sign-in", alice); got != "right" || again != e {
		t.Errorf("a second time: got %s, want the same", got)
	}
	if life := h.redis.PTTL(t.Context(), "securemail:{"+a.ID+"}:export").Val(); life <= 9*time.Minute || life > 10*time.Minute {
		t.Errorf("the secret stays for %v, want 10 minutes", life)
	}
	h.must(h.redis.Del(t.Context(), "securemail:{"+a.ID+"}:export").Err())
	if _, got := export(a.ID, "sign-in", alice); got != "rejected" {
		t.Errorf("after that: got %s, want rejected", got)
	}
	if got := h.verify(a, app.code(1)); got != "rejected" {
		t.Errorf("a code after the export: got %s, want rejected", got)
	}
	if got := h.credential(a.ID); got != tasks.CredentialExported {
		t.Errorf("got %s, want exported", got)
	}
}

func TestRevoke_LetsVerifyRejectATOTP(t *testing.T) {
	h := newFixture(t)
	freshStep()
	for _, active := range []bool{false, true} {
		a := h.mailed(tasks.TOTP, alice, "sign-in")
		app := authenticator{t, a.Typed}
		if active && h.verify(a, app.code(-1)) != "right" {
			t.Fatal("the first code was not right")
		}
		h.must(h.client.Revoke(t.Context(), a.ID))
		if got := h.verify(a, app.code(0)); got != "rejected" {
			t.Errorf("active %v: got %s, want rejected", active, got)
		}
		if life := h.redis.TTL(t.Context(), "securemail:{"+a.ID+"}").Val(); life <= 0 {
			t.Errorf("active %v: the record has no end", active)
		}
	}
}

// The test flips bits in Redis, and swaps secrets between records.
func TestVerify_RefusesATamperedTOTPSecret(t *testing.T) {
	h := newFixture(t)
	freshStep()
	a, b := h.mailed(tasks.TOTP, alice, "sign-in"), h.mailed(tasks.TOTP, alice, "sign-in")
	record := "securemail:{" + a.ID + "}"
	sealed, err := h.redis.HGet(t.Context(), record, "totp").Bytes()
	h.must(err)
	theirs, err := h.redis.HGet(t.Context(), "securemail:{"+b.ID+"}", "totp").Bytes()
	h.must(err)
	a.Typed, b.Typed = authenticator{t, a.Typed}.code(0), authenticator{t, b.Typed}.code(0)
	for i := range 2000 {
		tampered := bytes.Clone(sealed)
		tampered[rand.IntN(len(sealed))] ^= 1 << rand.IntN(8)
		typed := a.Typed
		if i == 0 {
			tampered, typed = theirs, b.Typed
		}
		h.must(h.redis.HSet(t.Context(), record, "totp", tampered).Err())
		if got := h.verify(a, typed); !strings.HasPrefix(got, "error: the TOTP secret in Redis was changed, or is another record's") {
			t.Fatalf("got %s", got)
		}
	}
	if misses := h.misses(alice); misses != 0 {
		t.Errorf("%d wrong answers are counted, want none", misses)
	}
	h.must(h.redis.HSet(t.Context(), record, "totp", sealed).Err())
	if got := h.verify(a, a.Typed); got != "right" {
		t.Errorf("after a restore: got %s, want right", got)
	}
}
