package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"example.com/securemail/tasks"
)

func (p *program) statusCommand() *cobra.Command {
	var watch bool
	command := &cobra.Command{
		Use:   "status ID",
		Short: "Show a mail's status",
		Args:  one("id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := p.connect()
			if err != nil {
				return err
			}
			defer client.Close()
			if watch {
				return p.follow(cmd.Context(), client, args[0])
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), redisTime)
			defer cancel()
			s, err := client.Status(ctx, args[0])
			if err != nil {
				return client.explain(err)
			}
			if p.json {
				p.print(s)
				return nil
			}
			p.table(s)
			return nil
		},
	}
	command.Flags().BoolVar(&watch, "watch", false, "print each state until the mail has ended; exit with 0 if it was accepted, and 1 if not")
	return command
}

func (p *program) table(s tasks.Status) {
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(p.stdout, "%-12s %s\n", name, value)
		}
	}
	at := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.Format(time.RFC3339)
	}
	row("id", s.ID)
	row("reference", s.Reference)
	row("client ref", s.ClientRef)
	row("state", string(s.State))
	row("reason", string(s.Reason))
	row("credential", string(s.Credential))
	row("kind", string(s.Kind))
	row("purpose", s.Purpose)
	if s.Code != 0 {
		row("reply", fmt.Sprintf("%d %s", s.Code, s.EnhancedCode))
	}
	row("relay said", s.RelaySaid)
	row("relay", s.Relay)
	row("queue id", s.QueueID)
	if s.Tries > 0 {
		row("tries", fmt.Sprint(s.Tries))
	}
	row("created", at(s.CreatedAt))
	row("expires", at(s.ExpiresAt))
	row("next try", at(s.NextTry))
	row("accepted", at(s.AcceptedAt))
}
