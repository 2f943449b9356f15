// Package cli is what both commands share: exit codes, the errors behind them, and how settings are loaded.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"example.com/securemail/internal/config"
)

// Exit codes besides 0. 75 is EX_TEMPFAIL of sysexits.h: ask again later.
const (
	ExitNo       = 1 // the answer is no, such as a refused mail, a wrong answer or a failed check
	ExitUsage    = 2 // wrong use or invalid settings
	ExitTempFail = 75
)

// ErrNo is for a command whose answer is no, and which has printed it.
var ErrNo = errors.New("no")

// UsageError is fixed on the command line or in the settings: starting again does not help.
type UsageError struct{ Err error }

func (e UsageError) Error() string { return e.Err.Error() }
func (e UsageError) Unwrap() error { return e.Err }

// Usage returns a [UsageError] with this text.
func Usage(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// Run executes a command line and returns the exit code. exitCode classifies an error that is neither [ErrNo] nor a
// [UsageError]. Whatever fails before a command starts is wrong use.
func Run(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer, exitCode func(error) int) int {
	started := false
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		// Cobra looks for missing flags after this, when they would no longer count as wrong use.
		err := cmd.ValidateRequiredFlags()
		started = err == nil
		return err
	}
	root.SilenceUsage, root.SilenceErrors = true, true
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)

	command, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ErrNo):
		return ExitNo
	}
	fmt.Fprintf(stderr, "%s: %v\n", root.Name(), err)
	switch {
	case !started:
		fmt.Fprintf(stderr, "see: %s --help\n", command.CommandPath())
		return ExitUsage
	case errors.As(err, new(UsageError)):
		return ExitUsage
	}
	return exitCode(err)
}

// Settings are where the settings of a command come from.
type Settings struct {
	File    string // --config
	Redis   string // --redis
	Environ []string
}

// Flags adds the flags to a command, and to its subcommands if persistent.
func (s *Settings) Flags(command *cobra.Command, persistent bool) {
	flags := command.Flags()
	if persistent {
		flags = command.PersistentFlags()
	}
	flags.StringVar(&s.File, "config", "", "settings `FILE` (YAML); see deploy/config.example.yaml")
	flags.StringVar(&s.Redis, "redis", "", "Redis `URL`; overrides settings file and SECUREMAIL_REDIS_URL (default: redis://127.0.0.1:6379)")
}

// Load reads the settings. flags holds further settings that were given as flags, by name; an empty one is not set. The
// error is a [UsageError].
func (s *Settings) Load(need config.Need, flags map[string]string) (config.Config, error) {
	given := map[string]string{"redis.url": s.Redis}
	for name, value := range flags {
		given[name] = value
	}
	for name, value := range given {
		if value == "" {
			delete(given, name)
		}
	}
	c, err := config.Load(need, s.File, s.Environ, given)
	if err != nil {
		return c, Usage("invalid settings:\n%w", err)
	}
	return c, nil
}
