package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"example.com/securemail/tasks"
)

func (p *program) resendCommand() *cobra.Command {
	var wait bool
	var timeout time.Duration
	command := &cobra.Command{
		Use:   "resend ID",
		Short: "Send a mail again, with the same secret",
		Args:  one("id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := p.connect()
			if err != nil {
				return err
			}
			defer client.Close()
			asking, cancel := context.WithTimeout(cmd.Context(), redisTime)
			defer cancel()
			if err := client.Resend(asking, args[0]); err != nil {
				return client.explain(err)
			}
			p.warnUnlessServed(client)
			if !wait {
				p.print(tasks.Status{ID: args[0], State: tasks.Queued})
				return nil
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return p.follow(ctx, client, args[0])
		},
	}
	waitFlags(command, &wait, &timeout)
	return command
}
