package submission_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.com/securemail/internal/secret"
	"example.com/securemail/internal/submission"
)

// withToken is a relay that logs in with access tokens, the first of which is named in tokens; a
// refused one is followed by the next.
func withToken(s *server, tokens ...string) (r submission.Relay, asked func() int) {
	var mu sync.Mutex
	n, at := 0, 0
	r = s.relay()
	r.Password = secret.String{}
	r.Token = func(_ context.Context, refused bool) (secret.String, error) {
		mu.Lock()
		defer mu.Unlock()
		n++
		if refused {
			at = min(at+1, len(tokens)-1)
		}
		return secret.New(tokens[at]), nil
	}
	return r, func() int { mu.Lock(); defer mu.Unlock(); return n }
}

func authLines(s *server) (lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, c := range s.commands {
		if strings.HasPrefix(c, "AUTH") {
			lines = append(lines, s.commands[i:]...)
			break
		}
	}
	return slices.DeleteFunc(lines, func(c string) bool {
		return slices.ContainsFunc([]string{"EHLO", "MAIL", "RCPT", "DATA", "QUIT"}, func(verb string) bool { return strings.HasPrefix(c, verb) })
	})
}

func TestToken_Mechanisms(t *testing.T) {
	const long = 600
	b64 := base64.StdEncoding.EncodeToString
	x := func(token string) string {
		return b64([]byte("user=" + username + "\x01auth=Bearer " + token + "\x01\x01"))
	}
	tests := []struct {
		name, ehlo, token string
		want              []string
		err               string
	}{
		// The example of Google's and Microsoft's documentation has the same form.
		{"XOAUTH2", `AUTH LOGIN PLAIN XOAUTH2 OAUTHBEARER`, "ya29.canary", []string{"AUTH XOAUTH2 " + x("ya29.canary")}, ""},
		{"OAUTHBEARER", `AUTH PLAIN OAUTHBEARER`, "ya29.canary",
			[]string{"AUTH OAUTHBEARER " + b64([]byte("n,a="+username+",\x01auth=Bearer ya29.canary\x01\x01"))}, ""},
		{"long token", `AUTH XOAUTH2`, strings.Repeat("t", long), []string{"AUTH XOAUTH2", x(strings.Repeat("t", long))}, ""},
		{"neither", `AUTH PLAIN LOGIN`, "ya29.canary", nil, "offers neither AUTH XOAUTH2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, submission.ImplicitTLS, nil)
			s.ehlo = tt.ehlo
			r, _ := withToken(s.start(), tt.token)
			_, err := submit(s.clientOf(r))
			s.stop()
			if tt.err != "" {
				if e := failure(t, err); e.Phase != submission.PhaseAuth || !strings.Contains(e.Error(), tt.err) {
					t.Errorf("got %v, want %q", err, tt.err)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if got := authLines(s); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestToken_RefusedOnceIsReplaced: another token is tried once, over another connection, and then the
// login is the cause.
func TestToken_RefusedOnceIsReplaced(t *testing.T) {
	onBothPorts(t, func(t *testing.T, mode submission.TLSMode) {
		const challenge = `334 eyJzdGF0dXMiOiI0MDAiLCJzY2hlbWVzIjoiQmVhcmVyIn0=`
		for name, script := range map[string]map[string]string{
			"535":            {"auth": "535 5.7.8 no"},
			"535 and closed": {"auth": `(half)535 5.7.8 no\r\n`},
			"challenge":      {"auth": challenge, "challenged": "535 5.7.8 no"},
		} {
			for _, fixed := range []bool{true, false} {
				s := newServer(t, mode, script)
				s.ehlo = `AUTH XOAUTH2`
				r, asked := withToken(s.start(), "stale", "fresh")
				s.good = ""
				if fixed {
					s.good = "fresh"
				}
				receipt, err := submit(s.clientOf(r))
				s.stop()
				if fixed {
					if err != nil || receipt.Code != 250 {
						t.Errorf("%s: got %v, want that the second token is taken", name, err)
					}
				} else if e := failure(t, err); e.Scope != submission.ScopeCredentials || e.Code != 535 || !e.Permanent {
					t.Errorf("%s: got %v of scope %s, want a refused login", name, err, e.Scope)
				}
				if asked() != 2 || s.conns != 2 {
					t.Errorf("%s: %d tokens over %d connections, want 2 over 2", name, asked(), s.conns)
				}
				s.checkNothingInClear()
			}
		}
	})
}

func TestToken_ChallengeIsAnswered(t *testing.T) {
	for mechanism, answer := range map[string]string{"XOAUTH2": "", "OAUTHBEARER": "AQ=="} {
		s := newServer(t, submission.ImplicitTLS, map[string]string{"auth": "334 e30=", "challenged": "535 5.7.8 no"})
		s.ehlo = "AUTH " + mechanism
		r, _ := withToken(s.start(), "stale")
		_, err := submit(s.clientOf(r))
		failure(t, err)
		s.stop()
		if got := authLines(s); len(got) != 4 || got[1] != answer || got[3] != answer {
			t.Errorf("%s: got %q, want the challenge answered with %q", mechanism, got, answer)
		}
	}
}

func TestToken_Unavailable(t *testing.T) {
	for _, tt := range []struct {
		err   error
		scope submission.Scope
	}{
		{fmt.Errorf("no: %w", submission.ErrTokenRefused), submission.ScopeCredentials},
		{errors.New("out of reach"), submission.ScopeNetwork},
	} {
		s := newServer(t, submission.ImplicitTLS, nil).start()
		r := s.relay()
		r.Password = secret.String{}
		r.Token = func(context.Context, bool) (secret.String, error) { return secret.String{}, tt.err }
		_, err := submit(s.clientOf(r))
		e := failure(t, err)
		if e.Phase != submission.PhaseAuth || e.Scope != tt.scope || e.Permanent != (tt.scope == submission.ScopeCredentials) || !errors.Is(err, tt.err) {
			t.Errorf("got %v of scope %s, want %s", err, e.Scope, tt.scope)
		}
		if s.conns != 0 {
			t.Errorf("%d connections, want none without a token", s.conns)
		}
	}
}
