package submission

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"golang.org/x/oauth2"

	"example.com/securemail/internal/secret"
)

// ErrTokenRefused is wrapped by what Relay.Token returns when the token server does not accept the
// login: the refresh token is withdrawn or expired, or the client is unknown. Somebody must authorise
// it anew.
var ErrTokenRefused = errors.New("authorise the account anew and replace the refresh token")

const (
	tokenTimeout = 10 * time.Second // of one request to the token server
	// tokenRetry is how long the token server is not contacted after it failed, and after it gave a token.
	tokenRetry = 5 * time.Second
)

// OAuth2Config says where access tokens come from (RFC 6749 section 6). Google's token server is
// https://oauth2.googleapis.com/token, and the refresh token must have been granted for the scope
// https://mail.google.com/. Microsoft 365's is
// https://login.microsoftonline.com/TENANT/oauth2/v2.0/token, with the scopes
// https://outlook.office.com/SMTP.Send and offline_access.
type OAuth2Config struct {
	TokenURL     string // https, or http to a loopback address
	ClientID     string
	ClientSecret secret.String // empty for a public client
	RefreshToken secret.String
	RootCAs      *x509.CertPool // the authorities for the token server's certificate; nil: the system's
}

// OAuth2 returns a Relay.Token, or everything that is wrong with c. It asks for a token when the last
// one is about to expire or was refused, once for all callers. A new refresh token, which some servers
// add, is kept in memory only. Its errors hold no token and nothing that the token server wrote.
func OAuth2(c OAuth2Config) (func(ctx context.Context, refused bool) (secret.String, error), error) {
	var errs []error
	u, err := url.Parse(c.TokenURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())) {
		errs = append(errs, errors.New("OAuth2: the token URL must begin with https:// (http:// on a loopback address only)"))
	}
	if c.ClientID == "" || c.RefreshToken.IsZero() {
		errs = append(errs, errors.New("OAuth2: client id and refresh token are both needed"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	s := &tokenSource{
		refreshing: make(chan struct{}, 1),
		token:      &oauth2.Token{RefreshToken: c.RefreshToken.Reveal()},
		config: oauth2.Config{
			ClientID: c.ClientID, ClientSecret: c.ClientSecret.Reveal(),
			Endpoint: oauth2.Endpoint{TokenURL: c.TokenURL, AuthStyle: oauth2.AuthStyleInParams},
		},
		client: &http.Client{
			Timeout: tokenTimeout,
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, // one request an hour
				TLSClientConfig: &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12},
			},
			// A redirected request would carry the refresh token to a host that is not configured.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	return s.get, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

type tokenSource struct {
	config     oauth2.Config
	client     *http.Client
	refreshing chan struct{} // holds one value while a caller looks at or changes what follows
	token      *oauth2.Token
	asked      time.Time // when the token server last answered, or failed to
	err        error     // how it failed
}

func (s *tokenSource) get(ctx context.Context, refused bool) (secret.String, error) {
	select {
	case s.refreshing <- struct{}{}:
		defer func() { <-s.refreshing }()
	case <-ctx.Done():
		return secret.String{}, ctx.Err()
	}
	// A caller whose token was refused has not tried one that was fetched just now; and a caller that
	// waited while another one failed gets the same failure.
	recently := time.Since(s.asked) < tokenRetry
	switch {
	case recently && s.err != nil:
		return secret.String{}, s.err
	case s.token.Valid() && (recently || !refused):
		return secret.New(s.token.AccessToken), nil
	}
	old := &oauth2.Token{RefreshToken: s.token.RefreshToken}
	fresh, err := s.config.TokenSource(context.WithValue(ctx, oauth2.HTTPClient, s.client), old).Token()
	if ctx.Err() != nil {
		return secret.String{}, ctx.Err() // the next one asks
	}
	s.asked, s.err = time.Now(), explainToken(err)
	if err != nil {
		return secret.String{}, s.err
	}
	s.token = fresh
	return secret.New(fresh.AccessToken), nil
}

// explainToken replaces the error of a refresh, which holds the token server's whole answer.
func explainToken(err error) error {
	var answer *oauth2.RetrieveError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &answer):
		return errors.New("the token server is unreachable, or its answer is invalid; check the token URL")
	}
	status, code := answer.Response.StatusCode, answer.ErrorCode
	known := []string{"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope"}
	if !slices.Contains(known, code) { // RFC 6749 section 5.2; anything else is the server's own text
		code = "no reason that OAuth2 knows"
	}
	if status == http.StatusTooManyRequests || status >= 500 {
		return fmt.Errorf("the token server answers %d (%s); it is asked again later", status, code)
	}
	return fmt.Errorf("the token server answers %d (%s): %w", status, code, ErrTokenRefused)
}
