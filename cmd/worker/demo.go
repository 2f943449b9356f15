package main

import (
	"bytes"
	"errors"
	"fmt"
	"image/png"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"golang.org/x/term"

	"example.com/securemail/internal/dev"
	"example.com/securemail/internal/otpauth"
	"example.com/securemail/internal/secret"
	"example.com/securemail/internal/submission"
	"example.com/securemail/tasks"
)

// secretPattern matches the secret of each kind in the text of its mail.
var secretPattern = map[tasks.Kind]*regexp.Regexp{
	tasks.Key:  regexp.MustCompile(`\b[0-9A-HJKMNP-TV-Z]{5}(-[0-9A-HJKMNP-TV-Z]{5}){4}\b`),
	tasks.Code: regexp.MustCompile(`\b[0-9]{4} [0-9]{4}\b`),
	tasks.TOTP: regexp.MustCompile(`otpauth://totp/\S+`),
}

// show checks the newest mail and prints it in one line. The terminal may show the secret, which
// belongs to nobody.
func (d *devRun) show(kind tasks.Kind, relay submission.Relay, took time.Duration) error {
	all := d.env.Messages()
	if len(all) != d.arrived+1 {
		return fmt.Errorf("%d mails arrived, want 1", len(all)-d.arrived)
	}
	d.arrived++
	mail := all[len(all)-1]
	if mail.Defect != "" {
		return fmt.Errorf("the mail is malformed: %s", mail.Defect)
	}
	found := secretPattern[kind].FindString(mail.Text)
	if found == "" {
		return errors.New("the text of the mail holds no secret")
	}
	if kind == tasks.TOTP {
		if err := checkTOTP(mail, found); err != nil {
			return err
		}
		_, found, _ = strings.Cut(found, "secret=")
		found, _, _ = strings.Cut(found, "&")
	}
	fmt.Fprintf(d.stdout, "  %-15s %-8s %-5s accepted after %3d ms   %-44s  %s\n", relay.TLS, mail.TLSVersion, kind, took.Milliseconds(), mail.Subject, found)
	if terminal, isFile := d.stdout.(*os.File); kind == tasks.TOTP && d.arrived == 3 && isFile && term.IsTerminal(int(terminal.Fd())) {
		return drawQR(d.stdout, mail.Inline[0].Content)
	}
	return nil
}

// checkTOTP checks that the key URI, the inline image and the attached image of a TOTP mail carry
// the same secret.
func checkTOTP(mail dev.Message, uri string) error {
	key, err := otpauth.ParseURI(uri)
	if err != nil {
		return err
	}
	image, err := otpauth.QR(secret.New(uri))
	switch {
	case err != nil:
		return err
	case len(mail.Inline) != 1 || !bytes.Equal(mail.Inline[0].Content, image):
		return errors.New("the image in the mail is not the QR code of its key URI")
	case len(mail.Attachments) != 1 || !bytes.Equal(mail.Attachments[0].Content, image):
		return errors.New("the attached image is not the QR code of the key URI")
	case len(otpauth.Code([]byte(key.Secret.Reveal()), time.Now())) != 6:
		return errors.New("the secret gives no code")
	}
	return nil
}

// drawQR draws a QR image, dark on light, with half blocks: a character shows two modules.
func drawQR(w io.Writer, image []byte) error {
	picture, err := png.Decode(bytes.NewReader(image))
	if err != nil {
		return err
	}
	size := picture.Bounds().Dx()
	dark := func(x, y int) bool {
		r, _, _, _ := picture.At(x, y).RGBA()
		return y < size && r < 0x8000
	}
	// The quiet zone is four modules wide (ISO/IEC 18004), so the first dark pixel gives the width
	// of a module.
	edge := 0
	for edge < size && !dark(edge, edge) {
		edge++
	}
	module := edge / 4
	if module == 0 {
		return errors.New("the image is not a QR code with a quiet zone")
	}
	var b strings.Builder
	for y := module / 2; y < size; y += 2 * module {
		b.WriteString("      \x1b[30;107m")
		for x := module / 2; x < size; x += module {
			switch upper, lower := dark(x, y), dark(x, y+module); {
			case upper && lower:
				b.WriteString("█")
			case upper:
				b.WriteString("▀")
			case lower:
				b.WriteString("▄")
			default:
				b.WriteString(" ")
			}
		}
		b.WriteString("\x1b[0m\n")
	}
	_, err = io.WriteString(w, b.String())
	return err
}
