package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"example.com/securemail/internal/cli"
	"example.com/securemail/tasks"
)

func (p *program) verifyCommand() *cobra.Command {
	var ref tasks.Ref
	command := &cobra.Command{
		Use:   "verify ID",
		Short: "Verify the answer to a mail",
		Long: `Verify the answer to a mail. Type the answer at the prompt, or pass it as one line on standard
input. It is not an argument, because other users of the machine can see arguments.

The output is right, wrong, rejected or unreadable. It is rejected where there is no valid secret to
compare with, and unreadable where it is neither a code nor a key, such as seven digits. Only a wrong
answer costs a try. The exit code is 0 for right, and 1 for the others.`,
		Args: one("id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if ref.ID = args[0]; ref.To == "" {
				return cli.Usage("--to: name the address that the secret was mailed to")
			}
			return p.verify(cmd.Context(), ref)
		},
	}
	command.Flags().StringVar(&ref.To, "to", "", "the `ADDRESS` that the secret was mailed to")
	command.Flags().StringVar(&ref.Purpose, "purpose", "", "what the secret is for: a `WORD` such as sign-in (default \"default\")")
	p.keyRingFlag(command)
	return command
}

// checked is the output of `enqueue verify --json`.
type checked struct {
	ID        string `json:"id"`
	Answer    string `json:"answer"` // right, wrong, rejected or unreadable
	TriesLeft *int   `json:"tries_left,omitempty"`
}

func (p *program) verify(ctx context.Context, ref tasks.Ref) error {
	client, err := p.connectToVerify()
	if err != nil {
		return err
	}
	defer client.Close()
	typed, err := p.readAnswer(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, redisTime)
	defer cancel()
	err = client.Verify(ctx, ref, typed)
	answer := checked{ID: ref.ID}
	var text string
	var wrong *tasks.WrongError
	switch {
	case err == nil:
		answer.Answer, text = "right", "right"
	case errors.As(err, &wrong):
		answer.Answer, answer.TriesLeft = "wrong", &wrong.TriesLeft
		text = fmt.Sprintf("wrong  %d tries left", wrong.TriesLeft)
	case errors.Is(err, tasks.ErrUnreadable):
		answer.Answer, text = "unreadable", "unreadable  "+err.Error()
	case errors.Is(err, tasks.ErrRejected):
		answer.Answer, text = "rejected", "rejected  "+err.Error()
	default:
		return client.explain(err)
	}
	if p.json {
		json.NewEncoder(p.stdout).Encode(answer)
	} else {
		fmt.Fprintln(p.stdout, text)
	}
	if err != nil {
		return cli.ErrNo
	}
	return nil
}

// maxAnswer bounds the bytes that are read. It is more than any answer has; a larger input is a
// wrong file.
const maxAnswer = 4096

// readAnswer reads one line from standard input. If that is a terminal, it prints a prompt and does
// not echo the answer.
func (p *program) readAnswer(ctx context.Context) (string, error) {
	if in, isFile := p.stdin.(*os.File); isFile && term.IsTerminal(int(in.Fd())) {
		return p.prompt(ctx, int(in.Fd()))
	}
	line, err := bufio.NewReader(io.LimitReader(p.stdin, maxAnswer)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", cli.Usage("standard input: %w", err)
	}
	if line = strings.TrimSpace(line); line == "" {
		return "", cli.Usage("the answer is missing: pass it as one line on standard input, or type it at a terminal")
	}
	return line, nil
}

func (p *program) prompt(ctx context.Context, terminal int) (string, error) {
	before, err := term.GetState(terminal)
	if err != nil {
		return "", cli.Usage("the terminal: %w", err)
	}
	fmt.Fprint(p.stderr, "Answer: ")
	defer fmt.Fprintln(p.stderr)
	type line struct {
		text []byte
		err  error
	}
	typed := make(chan line, 1)
	go func() { // nothing can interrupt the read of a terminal; it ends with the process
		text, err := term.ReadPassword(terminal)
		typed <- line{text, err}
	}()
	select {
	case <-ctx.Done():
		term.Restore(terminal, before)
		return "", errors.New("interrupted; nothing was verified")
	case l := <-typed:
		if l.err != nil || len(strings.TrimSpace(string(l.text))) == 0 {
			return "", cli.Usage("the answer is empty; nothing was verified")
		}
		return string(l.text), nil
	}
}
