package message

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"fmt"
	htmltemplate "html/template"
	"image/png"
	"net/netip"
	"regexp"
	"strings"
	texttemplate "text/template"
	"time"

	"example.com/securemail/tasks"
)

// Parts are the texts of a mail.
type Parts struct {
	Subject   string
	Text      string // lines end in LF
	HTML      string // refers to the QR image as cid:ContentID
	ContentID string // of the QR image (RFC 2392), without angle brackets; TOTP only
}

// view is the data of the templates: texts ready to be shown.
type view struct {
	Subject       string
	Product       string
	For           string // product and purpose, "Example sign-in"
	Name          string
	Secret        string
	Until, Within string // "24 November 2026, 12:00 UTC", "24 hours"
	Requested     string
	IP, Agent     string

	Account   string
	URI       string
	Link      htmltemplate.URL
	ContentID string
	Size      int // of the QR image, in pixels
}

//go:embed templates
var files embed.FS

type pair struct {
	text *texttemplate.Template
	html *htmltemplate.Template
}

var templates = map[tasks.Kind]pair{tasks.Key: parse(tasks.Key), tasks.Code: parse(tasks.Code), tasks.TOTP: parse(tasks.TOTP)}

func parse(k tasks.Kind) pair {
	name := "templates/" + string(k)
	return pair{
		texttemplate.Must(texttemplate.ParseFS(files, "templates/layout.txt", name+".txt")),
		htmltemplate.Must(htmltemplate.New("").Funcs(outlook).ParseFS(files, "templates/layout.html", name+".html")),
	}
}

// outlook writes the table that sets the width of the mail in Outlook for Windows, which does not
// support max-width. Every other program reads the table as a comment. It is written by functions,
// because html/template drops comments.
var outlook = htmltemplate.FuncMap{
	"outlookOpen": func() htmltemplate.HTML {
		return `<!--[if mso]><table role="presentation" width="560" align="center" cellpadding="0" cellspacing="0"><tr><td><![endif]-->`
	},
	"outlookClose": func() htmltemplate.HTML { return `<!--[if mso]></td></tr></table><![endif]-->` },
}

// Render returns the texts of m without composing a message. The error is a [*FieldError] if a
// field of m is not valid.
func Render(m Content) (Parts, error) {
	if err := m.check(); err != nil {
		return Parts{}, err
	}
	v := newView(m)
	t := templates[m.Kind]
	var subject, text, html strings.Builder
	html.Grow(8 << 10)
	text.Grow(2 << 10)
	if err := t.text.ExecuteTemplate(&subject, "subject", v); err != nil {
		return Parts{}, fmt.Errorf("message: subject of a %s mail: %w", m.Kind, err)
	}
	v.Subject = subject.String()
	if err := t.text.ExecuteTemplate(&text, "layout", v); err != nil {
		return Parts{}, fmt.Errorf("message: text of a %s mail: %w", m.Kind, err)
	}
	if err := t.html.ExecuteTemplate(&html, "layout", v); err != nil {
		return Parts{}, fmt.Errorf("message: HTML of a %s mail: %w", m.Kind, err)
	}
	return Parts{v.Subject, text.String(), html.String(), v.ContentID}, nil
}

// newView returns the view of a Content that has been checked.
func newView(m Content) view {
	// Folding the subject can lose one of two spaces.
	product := strings.Join(strings.Fields(m.Product), " ")
	v := view{
		Product:   product,
		For:       product,
		Name:      unlessLink(m.Name),
		Secret:    m.Secret.Reveal(),
		Until:     date(m.ExpiresAt),
		Within:    span(m.ExpiresAt.Sub(m.RequestedAt)),
		Requested: date(m.RequestedAt),
		Agent:     unlessLink(m.Agent),
		Account:   m.Account,
		URI:       m.URI.Reveal(),
	}
	if ip, err := netip.ParseAddr(m.IP); err == nil {
		// Show a mapped IPv4 address in its usual form, and no zone, which would name an interface
		// of a server.
		v.IP = ip.Unmap().WithZone("").String()
	}
	if m.Purpose != "" && m.Purpose != "default" {
		v.For += " " + m.Purpose
	}
	if m.Kind == tasks.TOTP {
		v.Link = htmltemplate.URL(v.URI) // check made sure that it is an otpauth URI
		// A hash of the Message-ID is globally unique, as RFC 2045 section 7 requires, and always
		// short.
		sum := sha256.Sum256([]byte(m.MessageID))
		v.ContentID = fmt.Sprintf("qr.%x@securemail.invalid", sum[:10])
		image, _ := png.DecodeConfig(bytes.NewReader(m.QR))
		v.Size = image.Width
	}
	return v
}

var link = regexp.MustCompile(`://|\S[.@]\pL\pL`)

// unlessLink returns s, or "" if a mail program would find a link in it. A stranger can choose the
// name and the agent, and could otherwise have us send a mail that says "Hello, win at
// evil.example".
func unlessLink(s string) string {
	if link.MatchString(s) {
		return ""
	}
	return s
}

func date(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") }

// span returns d in minutes, or rounded down to whole hours or days if it is long: a limit that is
// a little early does no harm.
func span(d time.Duration) string {
	n, unit := max(1, int(d.Round(time.Minute).Minutes())), "minute"
	switch {
	case n >= 3*24*60:
		n, unit = n/(24*60), "day"
	case n >= 2*60:
		n, unit = n/60, "hour"
	}
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}
