package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/mail"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/securemail/internal/config"
	"example.com/securemail/internal/message"
	"example.com/securemail/internal/worker"
	"example.com/securemail/tasks"
)

func (p *program) previewCommand() *cobra.Command {
	var format, out string
	command := &cobra.Command{
		Use:       "preview key|code|totp",
		Short:     "Writes a mail as it would be sent, with a secret that is nobody's",
		ValidArgs: []string{"key", "code", "totp"},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(cmd.ValidArgs, args[0]) {
				return errors.New("give one kind: key, code or totp")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := p.settings()
			if err != nil {
				return err
			}
			content, err := preview(c, tasks.Kind(args[0]), format)
			if err != nil {
				return wrongUse{err}
			}
			if out == "" {
				_, err = p.stdout.Write(content)
			} else {
				err = os.WriteFile(out, content, 0o600)
			}
			if err != nil {
				return wrongUse{err}
			}
			return nil
		},
	}
	command.Flags().StringVar(&format, "format", "html", "`FORMAT`: html, text, eml (the whole message) or png (the QR code)")
	command.Flags().StringVar(&out, "out", "", "write to `FILE` instead of standard output")
	return command
}

func preview(c config.Config, kind tasks.Kind, format string) ([]byte, error) {
	from := c.Sender()
	if c.From == "" {
		from, c.Product = mail.Address{Name: "Example", Address: "no-reply@example.com"}, "Example"
	}
	life := map[tasks.Kind]time.Duration{tasks.Key: c.MaxLife.Key, tasks.Code: c.MaxLife.Code, tasks.TOTP: c.MaxLife.TOTP}
	m, err := worker.Sample(from, c.ReplyTo, c.Product, kind, life[kind], c.CodeDigits)
	if err != nil {
		return nil, err
	}
	switch format {
	case "eml":
		return message.Compose(m)
	case "png":
		if m.QR == nil {
			return nil, fmt.Errorf("--format png: a %s mail has no QR code; only totp has", kind)
		}
		return m.QR, nil
	}
	parts, err := message.Render(m)
	if err != nil {
		return nil, err
	}
	switch format {
	case "text":
		return []byte(parts.Text), nil
	case "html":
		// A browser cannot follow the Content-ID of an image that is not there.
		image := "data:image/png;base64," + base64.StdEncoding.EncodeToString(m.QR)
		return []byte(strings.ReplaceAll(parts.HTML, "cid:"+parts.ContentID, image)), nil
	}
	return nil, fmt.Errorf("--format %q: it is html, text, eml or png", format)
}
