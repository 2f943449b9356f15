package dev

import (
	"encoding/json"
	"net/http"
	"net/mail"
	"strconv"
	"strings"
	"time"
)

// This file answers three requests of Mailpit's HTTP API (github.com/axllent/mailpit, server/apiv1
// and internal/storage/structs.go), with Mailpit's field names, defaults and order. Scripts written
// for Mailpit work here. The fields Checksums and ListUnsubscribe are missing. No request marks a
// mail as read.

const defaultLimit = 50

type apiList struct {
	Total          int          `json:"total"`
	Unread         int          `json:"unread"`
	Count          int          `json:"count"`
	MessagesCount  int          `json:"messages_count"`
	MessagesUnread int          `json:"messages_unread"`
	Start          int          `json:"start"`
	Tags           []string     `json:"tags"`
	Messages       []apiSummary `json:"messages"`
}

// apiAddresses holds the fields that a summary and a whole message share.
type apiAddresses struct {
	ID        string
	MessageID string
	From      *mail.Address
	To        []*mail.Address
	Cc        []*mail.Address
	Bcc       []*mail.Address
	ReplyTo   []*mail.Address
	Subject   string
	Username  string
	Tags      []string
	Size      int // bytes
}

type apiSummary struct {
	apiAddresses
	Read        bool
	Created     time.Time
	Attachments int
	Snippet     string
}

type apiMessage struct {
	apiAddresses
	ReturnPath  string
	Date        time.Time
	Text        string
	HTML        string
	Inline      []apiPart
	Attachments []apiPart
}

type apiPart struct {
	PartID      string
	FileName    string
	ContentType string
	ContentID   string
	Size        int // bytes
}

// apiMessages answers GET /api/v1/messages?start=0&limit=50 with the newest mail first. limit=0
// means all.
func (i inbox) apiMessages(w http.ResponseWriter, r *http.Request) {
	messages := i.mailbox.newestFirst()
	list := apiList{
		Total: len(messages), Unread: len(messages), MessagesCount: len(messages), MessagesUnread: len(messages),
		Start: queryNumber(r, "start", 0), Tags: []string{}, Messages: []apiSummary{},
	}
	messages = messages[min(list.Start, len(messages)):]
	if limit := queryNumber(r, "limit", defaultLimit); limit > 0 {
		messages = messages[:min(limit, len(messages))]
	}
	for _, m := range messages {
		list.Messages = append(list.Messages, apiSummary{
			apiAddresses: addressesOf(m),
			Created:      m.Received,
			Attachments:  len(m.Attachments),
			Snippet:      snippet(m),
		})
	}
	list.Count = len(list.Messages)
	writeJSON(w, list)
}

// apiMessage answers GET /api/v1/message/{id}. The ID "latest" is the newest mail.
func (i inbox) apiMessage(w http.ResponseWriter, r *http.Request) {
	m := i.mailbox.find(r.PathValue("id"))
	if m == nil {
		http.NotFound(w, r)
		return
	}
	date, err := m.Header.Date()
	if err != nil {
		date = m.Received
	}
	writeJSON(w, apiMessage{
		apiAddresses: addressesOf(m),
		ReturnPath:   m.From,
		Date:         date,
		Text:         m.Text,
		HTML:         m.HTML,
		Inline:       apiParts(m.Inline),
		Attachments:  apiParts(m.Attachments),
	})
}

// apiRaw answers GET /api/v1/message/{id}/raw with the bytes that arrived. dl=1 makes them a
// download.
func (i inbox) apiRaw(w http.ResponseWriter, r *http.Request) {
	m := i.mailbox.find(r.PathValue("id"))
	if m == nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if r.FormValue("dl") == "1" {
		w.Header().Set("Content-Disposition", `attachment; filename="`+m.ID+`.eml"`)
	}
	_, _ = w.Write(m.Raw)
}

func addressesOf(m *Message) apiAddresses {
	a := apiAddresses{
		ID: m.ID, MessageID: m.MessageID, Subject: m.Subject, Username: username, Tags: []string{}, Size: len(m.Raw),
		From: &mail.Address{Address: m.From},
		To:   addresses(m, "To"), Cc: addresses(m, "Cc"), Bcc: addresses(m, "Bcc"), ReplyTo: addresses(m, "Reply-To"),
	}
	if from := addresses(m, "From"); len(from) > 0 {
		a.From = from[0]
	}
	return a
}

// addresses returns the addresses in a header field. The list is empty if the field is missing or
// cannot be parsed.
func addresses(m *Message, field string) []*mail.Address {
	list, err := m.Header.AddressList(field)
	if err != nil {
		return []*mail.Address{}
	}
	return list
}

func apiParts(parts []Part) []apiPart {
	list := []apiPart{}
	for _, p := range parts {
		list = append(list, apiPart{p.ID, p.FileName, p.ContentType, p.ContentID, len(p.Content)})
	}
	return list
}

// snippet returns the beginning of the text on one line, 250 characters at most, as Mailpit does.
func snippet(m *Message) string {
	runes := []rune(strings.Join(strings.Fields(m.Text), " "))
	return string(runes[:min(len(runes), 250)])
}

// queryNumber returns a query parameter that is a number from 0 up. For anything else it returns
// fallback, as Mailpit does.
func queryNumber(r *http.Request, name string, fallback int) int {
	n, err := strconv.Atoi(r.URL.Query().Get(name))
	if err != nil || n < 0 {
		return fallback
	}
	return n
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // fails only if the client disconnected
}
