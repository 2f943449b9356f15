package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
)

func (p *program) revokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ID",
		Short: "Makes what was mailed worthless, and stops a mail that is not sent yet",
		Args:  one("id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, rdb, err := p.connect()
			if err != nil {
				return err
			}
			defer rdb.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), redisTime)
			defer cancel()
			if err := client.Revoke(ctx, args[0]); err != nil {
				return redisTrouble(rdb, err)
			}
			s, err := client.Status(ctx, args[0])
			if err != nil {
				return redisTrouble(rdb, err)
			}
			if p.json {
				p.print(s)
			} else {
				fmt.Fprintln(p.stdout, s.Credential) // a used one stays used
			}
			return nil
		},
	}
}

func (p *program) unlockCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "unlock ADDRESS",
		Short: "Forgets the wrong answers of a recipient, and what counts against their limits",
		Args:  one("address"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, rdb, err := p.connectToCheck()
			if err != nil {
				return err
			}
			defer rdb.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), redisTime)
			defer cancel()
			if err := client.Unlock(ctx, args[0]); err != nil {
				return redisTrouble(rdb, err)
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
