package dev_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// The test reads the answers with the field names of Mailpit's own clients.
func TestAPI_AnswersAsMailpit(t *testing.T) {
	t.Parallel()
	env := start(t)
	if reply, body := get(t, env, "/api/v1/messages"); reply.Header.Get("Content-Type") != "application/json" ||
		!strings.Contains(body, `"messages":[]`) || !strings.Contains(body, `"tags":[]`) {
		t.Errorf("empty inbox: got %s", body)
	}
	if reply, _ := get(t, env, "/api/v1/message/latest"); reply.StatusCode != http.StatusNotFound {
		t.Errorf("latest of none: got %s, want 404", reply.Status)
	}
	m := deliver(t, env, related)

	type address struct{ Name, Address string }
	type part struct {
		PartID, FileName, ContentType, ContentID string
		Size                                     int
	}
	type summary struct {
		ID, MessageID, Subject, Snippet, Created, Username string
		From                                               address
		To, Cc, Bcc, ReplyTo                               []address
		Read                                               bool
		Size, Attachments                                  int
		Tags                                               []string
	}
	var list struct {
		Total, Unread, Count, Start int
		MessagesCount               int `json:"messages_count"`
		MessagesUnread              int `json:"messages_unread"`
		Tags                        []string
		Messages                    []summary
	}
	_, body := get(t, env, "/api/v1/messages")
	decode(t, body, &list)
	if list.Total != 1 || list.Unread != 1 || list.Count != 1 || list.MessagesCount != 1 || list.MessagesUnread != 1 || len(list.Messages) != 1 {
		t.Fatalf("got %+v", list)
	}
	got := fmt.Sprintf("%+v", list.Messages[0])
	want := fmt.Sprintf("%+v", summary{
		ID: m.ID, MessageID: "set-up.1@example.org", Subject: "Set up", Snippet: "Scan the café's code",
		Created: m.Received.Format("2006-01-02T15:04:05.999999999Z07:00"), Username: env.Username(),
		From: address{"Café", "no-reply@example.org"}, To: []address{{"Alice", "alice@example.com"}, {"", "bob@example.com"}},
		Cc: []address{}, Bcc: []address{}, ReplyTo: []address{{"", "help@example.org"}}, Size: len(related), Attachments: 2, Tags: []string{},
	})
	if got != want {
		t.Errorf("summary: got\n%s, want\n%s", got, want)
	}

	var message struct {
		summary
		ReturnPath, Date, Text, HTML string
		Inline, Attachments          []part
	}
	for _, id := range []string{m.ID, "latest"} {
		_, body := get(t, env, "/api/v1/message/"+id)
		decode(t, body, &message)
		if message.ID != m.ID || message.Subject != "Set up" || message.Text != m.Text || message.HTML != m.HTML || message.Size != len(related) {
			t.Errorf("%s: got %+v", id, message)
		}
		if message.ReturnPath != "worker@example.org" || message.Date != "2026-11-23T12:00:00Z" || message.From.Name != "Café" {
			t.Errorf("%s: got %+v", id, message)
		}
		if want := (part{"3", "", "image/png", "qr@example.org", len(png)}); len(message.Inline) != 1 || message.Inline[0] != want {
			t.Errorf("%s: inline: got %+v, want %+v", id, message.Inline, want)
		}
		if want := (part{"4", "qr.png", "image/png", "", 3}); len(message.Attachments) != 2 || message.Attachments[0] != want {
			t.Errorf("%s: attachments: got %+v, want %+v", id, message.Attachments, want)
		}
		reply, raw := get(t, env, "/api/v1/message/"+id+"/raw")
		if raw != related || reply.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%s: raw: got %q, %q", id, raw, reply.Header.Get("Content-Type"))
		}
	}
	for _, path := range []string{"/api/v1/message/x", "/api/v1/message/x/raw", "/api/v1/info"} {
		if reply, _ := get(t, env, path); reply.StatusCode != http.StatusNotFound {
			t.Errorf("%s: got %s, want 404", path, reply.Status)
		}
	}
}

func TestAPI_PagesAsMailpit(t *testing.T) {
	t.Parallel()
	env := start(t)
	c := login(t, env, "submission")
	for i := range 60 {
		if err := send(c, "alice@example.com", fmt.Sprintf("Subject: %d\r\n\r\n", i)); err != nil {
			t.Fatal(err)
		}
	}
	for query, want := range map[string]struct {
		count  int
		newest string
	}{
		"":                  {50, "59"},
		"?limit=3":          {3, "59"},
		"?start=2&limit=3":  {3, "57"},
		"?start=58":         {2, "1"},
		"?start=60":         {0, ""},
		"?start=900":        {0, ""},
		"?limit=0":          {60, "59"},
		"?start=-1&limit=x": {50, "59"},
	} {
		var list struct {
			Total, Count int
			Messages     []struct{ Subject string }
		}
		_, body := get(t, env, "/api/v1/messages"+query)
		decode(t, body, &list)
		newest := ""
		if len(list.Messages) > 0 {
			newest = list.Messages[0].Subject
		}
		if list.Total != 60 || list.Count != want.count || len(list.Messages) != want.count || newest != want.newest {
			t.Errorf("%q: got total %d, count %d, newest %q, want 60, %d, %q", query, list.Total, list.Count, newest, want.count, want.newest)
		}
	}
}

func decode(t *testing.T, body string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
}
