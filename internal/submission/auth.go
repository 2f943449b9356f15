package submission

import (
	"context"
	"encoding/base64"
	"slices"
)

// authenticate logs in if the relay has a user name. It is called inside TLS only. Mails are never sent unauthenticated
// through a relay that was configured with a login: it might take them, and treat them as a stranger's.
func (s *session) authenticate(ctx context.Context) error {
	if s.relay.Username == "" {
		return nil
	}
	switch {
	case slices.Contains(s.ext.auth, "PLAIN"):
		s.mechanism = "PLAIN"
		return s.authPlain(ctx)
	case slices.Contains(s.ext.auth, "LOGIN"):
		s.mechanism = "LOGIN"
		return s.authLogin(ctx)
	}
	return &Error{
		Relay: s.relay.Name, Phase: PhaseAuth, Scope: ScopeRelay, Permanent: true,
		words: "the server offers neither AUTH PLAIN nor LOGIN; check that this is a submission server, or remove user name and password",
	}
}

// authPlain sends RFC 4616's message with the command, which saves a round trip (RFC 4954, section 4).
func (s *session) authPlain(ctx context.Context) error {
	_, err := s.ask(ctx, PhaseAuth, "AUTH PLAIN "+encode("\x00"+s.relay.Username+"\x00"+s.relay.Password.Reveal()), "235")
	return err
}

// authLogin answers two prompts, whatever they say: servers word them differently, and the order is always the same.
func (s *session) authLogin(ctx context.Context) error {
	for _, line := range []string{"AUTH LOGIN", encode(s.relay.Username)} {
		if _, err := s.ask(ctx, PhaseAuth, line, "334"); err != nil {
			return err
		}
	}
	_, err := s.ask(ctx, PhaseAuth, encode(s.relay.Password.Reveal()), "235")
	return err
}

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
