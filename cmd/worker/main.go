// Command worker takes mails from the queue and sends them. See README.md, or worker --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes. 75 is EX_TEMPFAIL of sysexits.h: the answer could not be had, ask again later.
const (
	exitNo       = 1
	exitUsage    = 2
	exitTempFail = 75
)

// tempFail marks an error that says nothing about the question, such as Redis being out of reach.
type tempFail struct{ error }

func (e tempFail) Unwrap() error { return e.error }

func main() {
	// The first signal drains. It also gives the signals their usual effect back, so that a second one quits.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	var path, redisURL string
	started := false // what fails before is wrong use
	root := &cobra.Command{
		Use:               "worker",
		Short:             "Takes mails from the queue and sends them",
		SilenceUsage:      true,
		SilenceErrors:     true,
		Args:              cobra.NoArgs,
		PersistentPreRun:  func(*cobra.Command, []string) { started = true },
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.PersistentFlags().StringVar(&path, "config", "", "settings `FILE` (YAML); see deploy/config.example.yaml")
	root.PersistentFlags().StringVar(&redisURL, "redis", "", "Redis `URL`, over every other setting of it")
	settings := settingsFrom(&path, &redisURL, environ)

	daemon := runCommand(settings, stderr)
	root.RunE = daemon.RunE // worker alone is worker run
	root.AddCommand(daemon, devCommand(stdout, stderr), checkCommand(settings, stdout), keyringCommand(stdout))
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)

	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errReported):
		return exitNo
	}
	fmt.Fprintf(stderr, "worker: %v\n", err)
	switch {
	case !started:
		fmt.Fprintln(stderr, "worker --help lists the commands and flags")
		return exitUsage
	case errors.As(err, new(tempFail)):
		return exitTempFail
	}
	return exitNo
}

// errReported is for a command that has said everything itself.
var errReported = errors.New("reported")
