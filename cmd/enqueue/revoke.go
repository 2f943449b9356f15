package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

func (p *program) revokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ID",
		Short: "Revoke a secret, and stop its mail if it is not sent yet",
		Args:  one("id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := p.connect()
			if err != nil {
				return err
			}
			defer client.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), redisTime)
			defer cancel()
			if err := client.Revoke(ctx, args[0]); err != nil {
				return client.explain(err)
			}
			s, err := client.Status(ctx, args[0])
			if err != nil {
				return client.explain(err)
			}
			if p.json {
				p.print(s)
			} else {
				// A verified secret stays verified. A mail that ended before it was opened has no secret.
				fmt.Fprintln(p.stdout, cmp.Or(string(s.Credential), string(s.State)))
			}
			return nil
		},
	}
}

func (p *program) unlockCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "unlock ADDRESS [ID...]",
		Short: "Reset a recipient's counts of wrong answers and of mails",
		Long: `Reset a recipient's counts of wrong answers and of mails. With the ID of its mail, an authenticator
that wrong answers have locked is active again. Codes and keys that are locked stay locked.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("give one address, not 0")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := p.connectToVerify()
			if err != nil {
				return err
			}
			defer client.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), redisTime)
			defer cancel()
			if err := client.Unlock(ctx, args[0], args[1:]...); err != nil {
				return client.explain(err)
			}
			if p.json {
				json.NewEncoder(p.stdout).Encode(map[string]bool{"unlocked": true})
			} else {
				fmt.Fprintln(p.stdout, "unlocked")
			}
			return nil
		},
	}
	p.keyRingFlag(command)
	return command
}
