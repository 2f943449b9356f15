package dev_test

import (
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"example.com/securemail/internal/dev"
)

// get requests path from the inbox and returns the response and its body.
func get(t testing.TB, env *dev.Env, path string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, env.InboxURL()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, request)
}

func do(t testing.TB, request *http.Request) (*http.Response, string) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	reply, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply, string(body)
}

func TestInbox_SaysWhatToRunWhileEmpty(t *testing.T) {
	t.Parallel()
	env := start(t)
	reply, body := get(t, env, "/")
	// This Redis is not at enqueue's default address, so the command names its address.
	want := "go run ./cmd/enqueue key alice@example.com --wait --redis redis://" + env.RedisAddr()
	if reply.StatusCode != 200 || !strings.Contains(body, want) {
		t.Errorf("got %s, want a page with %q", reply.Status, want)
	}
	for _, tag := range []string{"+451", "+535", "+drop", "+timeout", "+slow"} {
		if !strings.Contains(body, tag) {
			t.Errorf("the page does not explain %s", tag)
		}
	}
	if reply, _ := get(t, env, "/list?newest="); reply.StatusCode != http.StatusNoContent {
		t.Errorf("nothing new: got %s, want 204", reply.Status)
	}
}

func TestInbox_ShowsTheMail(t *testing.T) {
	t.Parallel()
	env := start(t)
	first := deliver(t, env, "Subject: first\r\n\r\nx\r\n")
	m := deliver(t, env, related)
	for path, wants := range map[string][]string{
		"/":                            {"Set up", "alice@example.com", "implicit TLS", "/mail/" + m.ID},
		"/list?newest=" + first.ID:     {`data-newest="` + m.ID, "Set up", "first"},
		"/list?newest=&open=" + m.ID:   {`data-open="` + m.ID, `aria-current="page"`},
		"/mail/" + m.ID:                {"Café", "TLS 1.3", "set-up.1@example.org", `<iframe sandbox="" src="/mail/` + m.ID + `/html"`},
		"/mail/" + m.ID + "?view=text": {"Scan the café&#39;s"},
		"/mail/" + m.ID + "?view=source": {"multipart/related; boundary=r",
			`/api/v1/message/` + m.ID + `/raw?dl=1`},
		"/mail/" + m.ID + "?view=parts": {"qr.png", "réadme.txt", "qr@example.org", `<img src="/mail/` + m.ID + `/part/3"`},
		"/mail/" + m.ID + "?view=bogus": {"<iframe"},
	} {
		reply, body := get(t, env, path)
		for _, want := range wants {
			if reply.StatusCode != 200 || !strings.Contains(body, want) {
				t.Errorf("%s: got %s without %q", path, reply.Status, want)
			}
		}
	}
	if reply, _ := get(t, env, "/list?newest="+m.ID); reply.StatusCode != http.StatusNoContent {
		t.Errorf("nothing new: got %s, want 204", reply.Status)
	}
	_, body := get(t, env, "/mail/"+m.ID+"/html")
	if want := "data:image/png;base64," + base64.StdEncoding.EncodeToString([]byte(png)); !strings.Contains(body, want) {
		t.Errorf("the inline image is not in the HTML: %s", body)
	}
	if !strings.Contains(body, "cid:other@example.org") {
		t.Error("a reference to a part that is not there was changed")
	}
	for _, path := range []string{"/mail/x", "/mail/x/html", "/mail/x/part/1", "/mail/" + m.ID + "/part/99", "/x", "/mail/"} {
		if reply, _ := get(t, env, path); reply.StatusCode != http.StatusNotFound {
			t.Errorf("%s: got %s, want 404", path, reply.Status)
		}
	}
}

// Every page escapes markup in every field, and the policy of the HTML body allows nothing.
func TestInbox_EscapesAHostileMail(t *testing.T) {
	t.Parallel()
	env := start(t)
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(2)>`
	word := "=?utf-8?b?" + base64.StdEncoding.EncodeToString([]byte(evil)) + "?="
	m := deliver(t, env, "From: "+word+" <x@example.org>\r\nTo: "+word+" <x@example.org>\r\nSubject: "+word+"\r\n"+
		"Message-ID: <"+evil+">\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"+
		"--x\r\nContent-Type: text/plain\r\n\r\n"+evil+"\r\n"+
		"--x\r\nContent-Type: text/html\r\n\r\n"+evil+"\r\n"+
		"--x\r\nContent-Type: image/svg+xml; name=\""+word+"\"\r\nContent-ID: <"+evil+">\r\n\r\n<svg onload=alert(3)>\r\n"+
		"--x\r\nContent-Type: text/html; name=a.html\r\nContent-Disposition: inline; filename=\""+word+"\"\r\n\r\n"+evil+"\r\n--x--\r\n")
	paths := []string{"/", "/list?open=" + url.QueryEscape(evil), "/mail/" + url.PathEscape(evil), "/mail/" + m.ID + "?view=" + url.QueryEscape(evil)}
	for _, view := range []string{"html", "text", "source", "parts"} {
		paths = append(paths, "/mail/"+m.ID+"?view="+view)
	}
	for _, path := range paths {
		reply, body := get(t, env, path)
		if strings.Contains(body, "<script>") || strings.Contains(body, "<img src=x") || strings.Contains(body, "<svg onload") {
			t.Errorf("%s: markup from the mail is not escaped", path)
		}
		policy := reply.Header.Get("Content-Security-Policy")
		nonce := regexp.MustCompile(`script-src 'nonce-([A-Z2-7]{26})'`).FindStringSubmatch(policy)
		if nonce == nil || !strings.Contains(body, nonce[1]) && !strings.HasPrefix(path, "/list") {
			t.Errorf("%s: the page and its policy do not share a nonce: %s", path, policy)
		}
		if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: policy %q", path, policy)
		}
	}
	reply, _ := get(t, env, "/mail/"+m.ID+"/html")
	for _, want := range []string{"sandbox;", "default-src 'none'", "form-action 'none'", "frame-ancestors 'self'"} {
		if policy := reply.Header.Get("Content-Security-Policy"); !strings.Contains(policy, want) || strings.Contains(policy, "script-src") {
			t.Errorf("HTML body: policy %q lacks %q", policy, want)
		}
	}
	for _, part := range []string{"3", "4"} {
		reply, _ := get(t, env, "/mail/"+m.ID+"/part/"+part)
		h := reply.Header
		if h.Get("Content-Type") != "application/octet-stream" || !strings.HasPrefix(h.Get("Content-Disposition"), "attachment") {
			t.Errorf("part %s: got %q, %q", part, h.Get("Content-Type"), h.Get("Content-Disposition"))
		}
	}
}

func TestInbox_ServesParts(t *testing.T) {
	t.Parallel()
	env := start(t)
	m := deliver(t, env, related)
	for path, want := range map[string][3]string{
		"3":      {"image/png", "inline; filename=part-3", png},
		"3?dl=1": {"application/octet-stream", "attachment; filename=part-3", png},
		"4":      {"image/png", "inline; filename=qr.png", "PNG"},
		"5":      {"application/octet-stream", "attachment; filename*=utf-8''r%C3%A9adme.txt", "read"},
	} {
		reply, body := get(t, env, "/mail/"+m.ID+"/part/"+path)
		got := [3]string{reply.Header.Get("Content-Type"), reply.Header.Get("Content-Disposition"), body}
		if got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

func TestInbox_SetsHeadersOnEveryResponse(t *testing.T) {
	t.Parallel()
	env := start(t)
	m := deliver(t, env, related)
	for _, path := range []string{"/", "/x", "/mail/" + m.ID, "/mail/" + m.ID + "/part/3", "/api/v1/messages", "/api/v1/message/latest/raw"} {
		reply, _ := get(t, env, path)
		for name, want := range map[string]string{
			"Cache-Control":                "no-store",
			"Cross-Origin-Resource-Policy": "same-origin",
			"Referrer-Policy":              "no-referrer",
			"X-Content-Type-Options":       "nosniff",
		} {
			if got := reply.Header.Get(name); got != want {
				t.Errorf("%s: %s: got %q, want %q", path, name, got, want)
			}
		}
		if !strings.Contains(reply.Header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: no policy", path)
		}
	}
}

func TestInbox_RefusesOtherHostsAndMethods(t *testing.T) {
	t.Parallel()
	env := start(t)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(env.InboxURL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]int{
		"localhost:" + port: 200, "127.0.0.1:" + port: 200, "[::1]:" + port: 200, "localhost": 200, "[::1]": 200,
		"evil.example:" + port: 421, "localhost.evil.example": 421, "192.0.2.1:" + port: 421, "127.0.0.1.evil.example": 421, "0.0.0.0:" + port: 421,
	} {
		request, err := http.NewRequest(http.MethodGet, env.InboxURL()+"/api/v1/messages", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host
		if reply, _ := do(t, request); reply.StatusCode != want {
			t.Errorf("Host %s: got %s, want %d", host, reply.Status, want)
		}
	}
	for method, want := range map[string]int{
		http.MethodHead: 200, http.MethodPost: 405, http.MethodPut: 405, http.MethodDelete: 405, http.MethodOptions: 405,
	} {
		request, err := http.NewRequest(method, env.InboxURL()+"/api/v1/messages", nil)
		if err != nil {
			t.Fatal(err)
		}
		if reply, _ := do(t, request); reply.StatusCode != want {
			t.Errorf("%s: got %s, want %d", method, reply.Status, want)
		}
	}
}
