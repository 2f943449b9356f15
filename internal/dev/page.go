package dev

import (
	"bytes"
	"crypto/rand"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

//go:embed inbox.html
var pageHTML string

//go:embed inbox.css
var pageCSS string

//go:embed inbox.js
var pageJS string

// pages is parsed once, from embedded files. html/template escapes every text of a mail.
var pages = template.Must(template.New("inbox").Funcs(template.FuncMap{
	"clock":    formatClock,
	"date":     func(t time.Time) string { return t.Local().Format("2 January 2006, 15:04:05 MST") },
	"utc":      func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"size":     formatSize,
	"decode":   decodeWords,
	"snippet":  snippet,
	"views":    views,
	"parts":    parts,
	"isImage":  isImage,
	"partName": partName,
	"css":      func() template.CSS { return template.CSS(pageCSS) },
	"js":       func() template.JS { return template.JS(pageJS) },
}).Parse(pageHTML))

// page is the data of inbox.html.
type page struct {
	Nonce      string
	Messages   []*Message // newest first
	Newest     string     // ID of the newest mail, or ""
	Open       *Message   // the mail to show, or nil for the start page
	View       string     // "html", "text", "source" or "parts"
	Failures   []failureRow
	Enqueue    string // the command that sends a mail
	SMTPS      string
	Submission string
}

type failureRow struct{ Tag, Effect string }

func (i inbox) newPage(open *Message, view string) page {
	messages := i.mailbox.newestFirst()
	p := page{
		Nonce:      rand.Text(),
		Messages:   messages,
		Open:       open,
		View:       view,
		Enqueue:    "go run ./cmd/enqueue key alice@example.com --wait",
		SMTPS:      i.smtps,
		Submission: i.submission,
	}
	if len(messages) > 0 {
		p.Newest = messages[0].ID
	}
	if i.redisAddr != defaultRedisAddr {
		p.Enqueue += " --redis redis://" + i.redisAddr
	}
	for _, f := range failures() {
		p.Failures = append(p.Failures, failureRow{f.tag, f.effect})
	}
	return p
}

func (i inbox) showInbox(w http.ResponseWriter, r *http.Request) {
	render(w, http.StatusOK, "page", i.newPage(nil, ""))
}

// showList answers the page when it asks for mails that are newer than the one it names: 204 if
// there is none, and otherwise the whole list.
func (i inbox) showList(w http.ResponseWriter, r *http.Request) {
	p := i.newPage(i.mailbox.find(r.FormValue("open")), "")
	if p.Newest == r.FormValue("newest") {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	render(w, http.StatusOK, "list", p)
}

func (i inbox) showMail(w http.ResponseWriter, r *http.Request) {
	m := i.mailbox.find(r.PathValue("id"))
	if m == nil {
		render(w, http.StatusNotFound, "page", i.newPage(nil, "missing"))
		return
	}
	view := r.FormValue("view")
	if !slices.Contains(views(m), view) {
		view = views(m)[0]
	}
	render(w, http.StatusOK, "page", i.newPage(m, view))
}

// render writes a page. The policy of the page allows its own style and script, by their nonce, and
// no other.
func render(w http.ResponseWriter, status int, name string, p page) {
	var out bytes.Buffer
	if err := pages.ExecuteTemplate(&out, name, p); err != nil {
		http.Error(w, "dev: cannot render the page: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", fmt.Sprintf("default-src 'none'; style-src 'nonce-%[1]s'; "+
		"script-src 'nonce-%[1]s'; img-src 'self' data:; connect-src 'self'; frame-src 'self'; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'", p.Nonce))
	w.WriteHeader(status)
	_, _ = out.WriteTo(w)
}

// views returns the views that the mail has, the default one first.
func views(m *Message) []string {
	var views []string
	if m.HTML != "" {
		views = append(views, "html")
	}
	if m.Text != "" {
		views = append(views, "text")
	}
	views = append(views, "source")
	if len(m.Inline)+len(m.Attachments) > 0 {
		views = append(views, "parts")
	}
	return views
}

// cidURL matches a reference from HTML to a part of the same mail (RFC 2392).
var cidURL = regexp.MustCompile(`cid:([^"'\s<>()]+)`)

// serveHTML answers with the HTML body for the frame of the page. The inline images are inserted as
// data URLs, as a mail program shows them. The policy lets the body load nothing, run no script and
// open no other page.
func (i inbox) serveHTML(w http.ResponseWriter, r *http.Request) {
	m := i.mailbox.find(r.PathValue("id"))
	if m == nil {
		http.NotFound(w, r)
		return
	}
	body := cidURL.ReplaceAllStringFunc(m.HTML, func(ref string) string {
		id, err := url.PathUnescape(strings.TrimPrefix(ref, "cid:"))
		if err != nil {
			return ref
		}
		n := slices.IndexFunc(m.Inline, func(p Part) bool { return p.ContentID == id && isImage(p) })
		if n < 0 {
			return ref
		}
		return "data:" + m.Inline[n].ContentType + ";base64," + base64.StdEncoding.EncodeToString(m.Inline[n].Content)
	})
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'self'")
	_, _ = w.Write([]byte(body))
}

// servePart answers with one part. An image is shown; any other part is a download of unknown type.
func (i inbox) servePart(w http.ResponseWriter, r *http.Request) {
	m := i.mailbox.find(r.PathValue("id"))
	if m == nil {
		http.NotFound(w, r)
		return
	}
	all := parts(m)
	n := slices.IndexFunc(all, func(p Part) bool { return p.ID == r.PathValue("part") })
	if n < 0 {
		http.NotFound(w, r)
		return
	}
	kind, disposition := "application/octet-stream", "attachment"
	if isImage(all[n]) && r.FormValue("dl") != "1" {
		kind, disposition = all[n].ContentType, "inline"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Disposition", mime.FormatMediaType(disposition, map[string]string{"filename": partName(all[n])}))
	_, _ = w.Write(all[n].Content)
}

// parts returns the inline parts and then the attachments.
func parts(m *Message) []Part { return slices.Concat(m.Inline, m.Attachments) }

// isImage reports whether browsers show the part as an image only. SVG is not in the list, because
// it can hold scripts.
func isImage(p Part) bool {
	return slices.Contains([]string{"image/png", "image/jpeg", "image/gif", "image/webp"}, p.ContentType)
}

// partName returns the file name, or "part-" and the ID for a part without one.
func partName(p Part) string {
	if p.FileName == "" {
		return "part-" + p.ID
	}
	return p.FileName
}

func formatSize(bytes int) string {
	if bytes < 1024 {
		return fmt.Sprintf("%d bytes", bytes)
	}
	return fmt.Sprintf("%.1f KiB", float64(bytes)/1024)
}

// formatClock returns the time of day, and the date too if t is not today.
func formatClock(t time.Time) string {
	t = t.Local()
	if t.Format(time.DateOnly) != time.Now().Format(time.DateOnly) {
		return t.Format("2 Jan 15:04")
	}
	return t.Format(time.TimeOnly)
}
