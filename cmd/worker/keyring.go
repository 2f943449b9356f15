package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"example.com/securemail/internal/keyring"
)

func keyringCommand(stdout io.Writer) *cobra.Command {
	var path string
	var ifMissing bool
	command := &cobra.Command{
		Use: "keyring", Short: "Create the key ring, the file that all secrets depend on, and change its keys",
		Args: func(*cobra.Command, []string) error {
			return errors.New("name a command: new, add, activate, remove or list")
		},
		// Without Run, cobra would print the help and succeed.
		Run: func(*cobra.Command, []string) {},
	}
	command.PersistentFlags().StringVarP(&path, "output", "o", "", "the key ring `FILE` to read or change")
	command.MarkPersistentFlagRequired("output")

	create := &cobra.Command{
		Use: "new -o FILE", Short: "Create a key ring; fail if FILE exists", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			err := keyring.New(path)
			if ifMissing && errors.Is(err, fs.ErrExist) {
				_, err = keyring.Load(path) // the file must be valid
				return err
			}
			if err == nil {
				fmt.Fprintf(stdout, "%s: created. Back it up: without it no mailed secret can be verified.\n", path)
			}
			return err
		},
	}
	create.Flags().BoolVar(&ifMissing, "if-missing", false, "if FILE is a valid key ring already, leave it and succeed")

	command.AddCommand(create, &cobra.Command{
		Use: "add -o FILE", Short: "Add a key, which new mails use once it is activated", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			kid, err := keyring.Add(path)
			if err == nil {
				fmt.Fprintf(stdout, "%s: added %s. When every process has the new file, run: worker keyring activate %s -o %s\n", path, kid, kid, path)
			}
			return err
		},
	}, &cobra.Command{
		Use: "activate KEY-ID -o FILE", Short: "Use a key for new mails", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			err := keyring.Activate(path, args[0])
			if err == nil {
				fmt.Fprintf(stdout, "%s: new mails use %s. Keep the old key until the last secret made with it has expired, and as long as an active TOTP was made with it.\n", path, args[0])
			}
			return err
		},
	}, &cobra.Command{
		Use: "remove KEY-ID -o FILE", Short: "Remove a key. Secrets and active TOTPs made with it can no longer be verified; remove does not look for any", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			err := keyring.Remove(path, args[0])
			if err == nil {
				fmt.Fprintf(stdout, "%s: removed %s\n", path, args[0])
			}
			return err
		},
	}, &cobra.Command{
		Use: "list -o FILE", Short: "List the ids of the keys, and when each was created", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			ring, err := keyring.Load(path)
			if err != nil {
				return err
			}
			for _, key := range ring.List() {
				state := ""
				if key.Active {
					state = "  active"
				}
				fmt.Fprintf(stdout, "%s  %s%s\n", key.KID, key.Created.UTC().Format(time.RFC3339), state)
			}
			return nil
		},
	})
	return command
}
