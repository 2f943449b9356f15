// Command worker takes mails from the queue and sends them. See README.md, or worker --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/redis/go-redis/v9/logging"
	"github.com/spf13/cobra"
)

// Exit codes. 75 is EX_TEMPFAIL of sysexits.h: the answer could not be had, ask again later.
const (
	exitNo       = 1
	exitUsage    = 2
	exitTempFail = 75
)

// wrongUse marks an error that is mended on the command line or in the settings: starting again does not help.
type wrongUse struct{ error }

// tempFail marks an error that says nothing about the question, such as Redis being out of reach.
type tempFail struct{ error }

func (e tempFail) Unwrap() error { return e.error }

func main() {
	// The first signal drains. It also gives the signals their usual effect back, so that a second one quits.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	if os.Getenv("GOGC") == "" {
		// Little is live and much passes through: at 100, the collector's part of the CPU is a tenth. This costs some 12 MiB.
		debug.SetGCPercent(400)
	}
	logging.Disable() // until there is a log that go-redis can write to
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	var path, redisURL string
	var allowVolatile bool
	started := false // what fails before is wrong use
	root := &cobra.Command{
		Use:   "worker",
		Short: "Takes mails from the queue and sends them",
		Long: `Takes mails from the queue and sends them. To see it work: worker dev

Exit codes: 0 yes, 1 no (such as a failed check), 2 wrong use or settings, 75 could not tell (Redis out of reach).`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			// Cobra looks for them after this, when a missing one would no longer count as wrong use.
			err := cmd.ValidateRequiredFlags()
			started = err == nil
			return err
		},
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	settings := settingsFrom(&path, &redisURL, &allowVolatile, environ)
	daemon, check := runCommand(settings, stderr), checkCommand(settings, stdout)
	root.RunE = daemon.RunE // worker alone is worker run
	for _, command := range []*cobra.Command{root, daemon, check} {
		command.Flags().StringVar(&path, "config", "", "settings `FILE` (YAML); see deploy/config.example.yaml")
		command.Flags().StringVar(&redisURL, "redis", "", "Redis `URL`, before file and environment (default: redis://127.0.0.1:6379)")
	}
	for _, command := range []*cobra.Command{root, daemon} {
		command.Flags().BoolVar(&allowVolatile, "allow-volatile", false, "start although Redis can lose what it took")
	}
	root.AddCommand(daemon, devCommand(stdout, stderr), check, keyringCommand(stdout))
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)

	command, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errReported):
		return exitNo
	}
	fmt.Fprintf(stderr, "worker: %v\n", err)
	switch {
	case !started:
		fmt.Fprintf(stderr, "see: %s --help\n", command.CommandPath())
		return exitUsage
	case errors.As(err, new(wrongUse)):
		return exitUsage
	case errors.As(err, new(tempFail)):
		return exitTempFail
	}
	return exitNo
}

// errReported is for a command that has said everything itself.
var errReported = errors.New("reported")
