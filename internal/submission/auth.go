package submission

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"example.com/securemail/internal/secret"
)

// maxCommand is how long a command line may be without its CRLF (RFC 5321 section 4.5.3.1.4).
const maxCommand = 510

// authenticate logs in if the relay has a user name. It is called inside TLS only. A mail is never
// sent unauthenticated through a relay that was configured with a login: the relay might take it, and
// treat it as unauthenticated.
func (s *session) authenticate(ctx context.Context) error {
	switch {
	case s.relay.Username == "":
		return nil
	case s.relay.Token != nil:
		return s.authToken(ctx)
	case slices.Contains(s.ext.auth, "PLAIN"):
		s.mechanism = "PLAIN"
		return s.authPlain(ctx)
	case slices.Contains(s.ext.auth, "LOGIN"):
		s.mechanism = "LOGIN"
		return s.authLogin(ctx)
	}
	return &Error{
		Relay: s.relay.Name, Phase: PhaseAuth, Scope: ScopeRelay, Permanent: true,
		hint: "the server offers neither AUTH PLAIN nor LOGIN; check that this is a submission server, or remove user name and password",
	}
}

// authPlain sends RFC 4616's message with the command, which saves a round trip (RFC 4954 section 4).
func (s *session) authPlain(ctx context.Context) error {
	_, err := s.cmd(ctx, PhaseAuth, "AUTH PLAIN "+encode("\x00"+s.relay.Username+"\x00"+s.relay.Password.Reveal()), "235")
	return err
}

// authLogin answers two prompts, whatever they say: servers word them differently, and the order is
// always the same.
func (s *session) authLogin(ctx context.Context) error {
	for _, line := range []string{"AUTH LOGIN", encode(s.relay.Username)} {
		if _, err := s.cmd(ctx, PhaseAuth, line, "334"); err != nil {
			return err
		}
	}
	_, err := s.cmd(ctx, PhaseAuth, encode(s.relay.Password.Reveal()), "235")
	return err
}

// authToken logs in with an OAuth2 access token: XOAUTH2, which is Google's and Microsoft's and has no
// RFC, or OAUTHBEARER (RFC 7628). A server that refuses says why in a challenge, which is not read,
// and refuses once it is answered.
func (s *session) authToken(ctx context.Context) error {
	var response, giveUp string
	switch {
	case slices.Contains(s.ext.auth, "XOAUTH2"):
		s.mechanism = "XOAUTH2"
		response = "user=" + s.relay.Username
	case slices.Contains(s.ext.auth, "OAUTHBEARER"):
		s.mechanism, giveUp = "OAUTHBEARER", encode("\x01") // RFC 7628 section 3.2.3
		response = "n,a=" + strings.NewReplacer("=", "=3D", ",", "=2C").Replace(s.relay.Username) + ","
	default:
		return &Error{
			Relay: s.relay.Name, Phase: PhaseAuth, Scope: ScopeRelay, Permanent: true,
			hint: "the server offers neither AUTH XOAUTH2 nor OAUTHBEARER; check its host and port, or log in with a password",
		}
	}
	response = encode(response + "\x01auth=Bearer " + s.token.Reveal() + "\x01\x01")
	line := "AUTH " + s.mechanism + " " + response
	if len(line) > maxCommand { // then the response waits for an empty challenge, and may be longer (RFC 4954 section 4)
		if _, err := s.cmd(ctx, PhaseAuth, "AUTH "+s.mechanism, "334"); err != nil {
			return err
		}
		line = response
	}
	rep, err := s.cmd(ctx, PhaseAuth, line, "235", "334")
	if err == nil && rep.code == 334 {
		_, err = s.cmd(ctx, PhaseAuth, giveUp)
	}
	return err
}

// token asks the relay for an access token. refused says that the last one was not accepted.
func (r *Relay) token(ctx context.Context, refused bool) (secret.String, error) {
	if r.Token == nil {
		return secret.String{}, nil
	}
	token, err := r.Token(ctx, refused)
	switch {
	case err == nil:
		return token, nil
	case ctx.Err() != nil:
		return secret.String{}, r.broken(ctx, PhaseAuth, ctx.Err())
	case errors.Is(err, ErrTokenRefused):
		return secret.String{}, &Error{Relay: r.Name, Phase: PhaseAuth, Scope: ScopeCredentials, Permanent: true, Err: err, hint: err.Error()}
	}
	return secret.String{}, &Error{Relay: r.Name, Phase: PhaseAuth, Scope: ScopeNetwork, Err: err, hint: err.Error()}
}

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
