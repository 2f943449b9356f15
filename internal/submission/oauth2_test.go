package submission_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/securemail/internal/secret"
	"example.com/securemail/internal/submission"
)

// tokenServer is an OAuth2 token endpoint (RFC 6749, section 6).
type tokenServer struct {
	*httptest.Server
	mu      sync.Mutex
	status  int
	body    string // "": a token
	life    int
	delay   chan struct{}
	forms   []url.Values
	granted int
}

const refreshCanary, clientCanary = "refresh-canary-1", "client-canary-1"

func startTokenServer(t *testing.T) *tokenServer {
	s := &tokenServer{status: 200, life: 3600}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		if s.delay != nil {
			<-s.delay
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.forms = append(s.forms, r.PostForm)
		w.Header().Set("Content-Type", "application/json")
		if s.status/100 == 3 {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(s.status)
		if s.body != "" {
			fmt.Fprint(w, s.body)
			return
		}
		s.granted++
		fmt.Fprintf(w, `{"access_token":"access-%d","token_type":"Bearer","expires_in":%d,"refresh_token":"refresh-%d"}`, s.granted, s.life, s.granted)
	}))
	s.Config.ErrorLog = nil
	t.Cleanup(s.Close)
	return s
}

func (s *tokenServer) token(t *testing.T) func(context.Context, bool) (secret.String, error) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	token, err := submission.OAuth2(submission.OAuth2Config{
		TokenURL: s.URL + "/token", ClientID: "client", ClientSecret: secret.New(clientCanary), RefreshToken: secret.New(refreshCanary), RootCAs: roots,
	})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestOAuth2_AsksAsTheStandardSays(t *testing.T) {
	s := startTokenServer(t)
	token := s.token(t)
	get := func(refused bool, want string) {
		t.Helper()
		if got, err := token(context.Background(), refused); err != nil || got.Reveal() != want {
			t.Errorf("got %q, %v, want %q", got.Reveal(), err, want)
		}
	}
	get(false, "access-1")
	get(false, "access-1")
	get(true, "access-1") // just fetched: another would be refused, too
	want := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshCanary}, "client_id": {"client"}, "client_secret": {clientCanary}}
	if len(s.forms) != 1 || s.forms[0].Encode() != want.Encode() {
		t.Errorf("got %v, want one %v", s.forms, want)
	}
}

func TestOAuth2_RefreshesInTime(t *testing.T) {
	s := startTokenServer(t)
	s.life = 1 // counts as expired already
	token := s.token(t)
	for i := 1; i <= 3; i++ {
		if got, err := token(context.Background(), false); err != nil || got.Reveal() != fmt.Sprintf("access-%d", i) {
			t.Errorf("got %q, %v, want access-%d", got.Reveal(), err, i)
		}
	}
	if got := s.forms[2].Get("refresh_token"); got != "refresh-2" {
		t.Errorf("got %q, want the refresh token that came with the second", got)
	}
}

func TestOAuth2_OneRefreshForAll(t *testing.T) {
	for _, status := range []int{200, 400} {
		s := startTokenServer(t)
		s.status, s.delay = status, make(chan struct{})
		if status != 200 {
			s.body = `{"error":"invalid_grant"}`
		}
		token := s.token(t)
		var callers sync.WaitGroup
		for range 20 {
			callers.Go(func() {
				if got, err := token(context.Background(), false); (err == nil) != (status == 200) || err == nil && !strings.HasPrefix(got.Reveal(), "access-") {
					t.Errorf("got %q, %v", got.Reveal(), err)
				}
			})
		}
		// A caller that cancels in mid-refresh does not end it for the others, and does not wait.
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		if _, err := token(ctx, false); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the end of the context", err)
		}
		close(s.delay)
		callers.Wait()
		s.Close()
		if len(s.forms) > 2 {
			t.Errorf("%d requests, want one, and one more if the first caller gave up", len(s.forms))
		}
	}
}

func TestOAuth2_Errors(t *testing.T) {
	const echo = refreshCanary + " " + clientCanary
	tests := []struct {
		status  int
		body    string
		refused bool
		want    string
	}{
		{400, `{"error":"invalid_grant","error_description":"` + echo + `"}`, true, "400 (invalid_grant)"},
		{401, `{"error":"invalid_client"}`, true, "401 (invalid_client)"},
		{400, `{"error":"` + echo + `"}`, true, "400 (no reason"},
		{200, `{"error":"invalid_grant"}`, true, "200 (invalid_grant)"},
		{403, echo, true, "403"},
		{307, `{}`, true, "307"},
		{429, `{"error":"slow_down"}`, false, "429"},
		{503, echo, false, "503"},
		{200, echo, false, "its answer is invalid"},
		{200, `{"token_type":"Bearer"}`, false, "its answer is invalid"},
	}
	for _, tt := range tests {
		s := startTokenServer(t)
		s.status, s.body = tt.status, tt.body
		_, err := s.token(t)(context.Background(), false)
		if err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, submission.ErrTokenRefused) != tt.refused {
			t.Errorf("%d %s: got %v, want %q, refused %v", tt.status, tt.body, err, tt.want, tt.refused)
		}
		for e := err; e != nil; e = errors.Unwrap(e) {
			if text := fmt.Sprintf("%v %+v %#v", e, e, e); strings.Contains(text, "canary") {
				t.Errorf("a secret shows in %s", text)
			}
		}
		if len(s.forms) != 1 {
			t.Errorf("%d: %d requests, want 1", tt.status, len(s.forms))
		}
	}
	s := startTokenServer(t)
	token := s.token(t)
	s.Close()
	if _, err := token(context.Background(), false); err == nil || !strings.Contains(err.Error(), "unreachable") || errors.Is(err, submission.ErrTokenRefused) {
		t.Errorf("got %v, want that it is unreachable", err)
	}
}

func TestOAuth2_NamesEverythingWrong(t *testing.T) {
	good := submission.OAuth2Config{TokenURL: "https://oauth2.googleapis.com/token", ClientID: "c", RefreshToken: secret.New("r")}
	for tokenURL, ok := range map[string]bool{
		good.TokenURL: true, "http://127.0.0.1:8080/token": true, "http://[::1]/token": true, "http://localhost/token": true,
		"http://oauth2.googleapis.com/token": false, "": false, "oauth2.googleapis.com": false, "ftp://127.0.0.1/": false, "https://": false, "http://127.0.0.1.example.com/": false,
	} {
		c := good
		c.TokenURL = tokenURL
		if _, err := submission.OAuth2(c); (err == nil) != ok {
			t.Errorf("%q: got %v", tokenURL, err)
		}
	}
	if _, err := submission.OAuth2(submission.OAuth2Config{}); strings.Count(fmt.Sprint(err), "\n") != 1 {
		t.Errorf("got %v, want two complaints", err)
	}
}

// TestOAuth2_EndToEnd has a token server and a submission server that takes what it granted.
func TestOAuth2_EndToEnd(t *testing.T) {
	tokens := startTokenServer(t)
	s := newServer(t, submission.StartTLS, map[string]string{"auth": "535 5.7.8 no"})
	s.ehlo, s.good = `AUTH XOAUTH2`, "access-1"
	r := s.start().relay()
	r.Password, r.Token = secret.String{}, tokens.token(t)
	c := s.clientOf(r)
	if info, err := c.Check(context.Background()); err != nil || info.Auth != "XOAUTH2" {
		t.Errorf("got %+v, %v, want XOAUTH2", info, err)
	}
	mustSubmit(t, c)
}
