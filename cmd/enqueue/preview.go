package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"example.com/securemail/internal/cli"
	"example.com/securemail/internal/config"
	"example.com/securemail/internal/mailaddr"
	"example.com/securemail/internal/message"
	"example.com/securemail/tasks"
)

func (p *program) previewCommand() *cobra.Command {
	var format, out string
	var names []string
	for _, kind := range tasks.Kinds() {
		names = append(names, string(kind.Kind))
	}
	command := &cobra.Command{
		Use:       "preview " + strings.Join(names, "|"),
		Short:     "Print a mail with a sample secret, as it would be sent",
		ValidArgs: names,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(names, args[0]) {
				return fmt.Errorf("give one kind: %s", strings.Join(names, ", "))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := p.load()
			if err != nil {
				return err
			}
			content, err := preview(c, tasks.Kind(args[0]), format)
			if err != nil {
				return cli.UsageError{Err: err}
			}
			if out == "" {
				_, err = p.stdout.Write(content)
			} else {
				err = os.WriteFile(out, content, 0o600)
			}
			if err != nil {
				return cli.UsageError{Err: err}
			}
			return nil
		},
	}
	command.Flags().StringVar(&format, "format", "html", "the `FORMAT`: html, text, eml (the whole message) or png (the QR code)")
	command.Flags().StringVar(&out, "out", "", "write to `FILE` instead of standard output")
	return command
}

func preview(c config.Config, kind tasks.Kind, format string) ([]byte, error) {
	name, address := c.Sender()
	from := message.Sender{Name: name, Address: address}
	if c.From == "" {
		from.Name, c.Product = "Example", "Example"
		from.Address, _ = mailaddr.Parse("no-reply@example.com")
	}
	m, err := message.Sample(from, c.ReplyAddress(), c.Product, kind, c.MaxLife[kind])
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
		// A browser cannot resolve a Content-ID, so the image is inserted as a data URL.
		image := "data:image/png;base64," + base64.StdEncoding.EncodeToString(m.QR)
		return []byte(strings.ReplaceAll(parts.HTML, "cid:"+parts.ContentID, image)), nil
	}
	return nil, fmt.Errorf("--format %q: use html, text, eml or png", format)
}
