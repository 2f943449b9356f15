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

	"example.com/securemail/tasks"
)

func (p *program) verifyCommand() *cobra.Command {
	var a tasks.Answer
	command := &cobra.Command{
		Use:   "verify ID",
		Short: "Checks what somebody typed against what was mailed",
		Long: `Checks what somebody typed against what was mailed. The answer comes from a prompt, or is one line of standard input;
the command line is no place for it, because other users can see that.`,
		Args: one("id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.ID = args[0]; a.To == "" {
				return wrongUse{errors.New("--to: name the address that it was mailed to")}
			}
			return p.verify(cmd.Context(), a)
		},
	}
	command.Flags().StringVar(&a.To, "to", "", "the `ADDRESS` it was mailed to")
	command.Flags().StringVar(&a.Purpose, "purpose", "", "what it was mailed for, a `WORD` such as sign-in (default: default)")
	p.keyRingFlag(command)
	return command
}

// checked is the answer of enqueue verify with --json.
type checked struct {
	ID        string `json:"id"`
	Answer    string `json:"answer"` // right, wrong or rejected
	TriesLeft *int   `json:"tries_left,omitempty"`
}

func (p *program) verify(ctx context.Context, a tasks.Answer) error {
	client, rdb, err := p.connectToCheck()
	if err != nil {
		return err
	}
	defer rdb.Close()
	if a.Typed, err = p.readAnswer(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, redisTime)
	defer cancel()
	err = client.Verify(ctx, a)
	answer := checked{ID: a.ID}
	var text string
	var wrong *tasks.WrongError
	switch {
	case err == nil:
		answer.Answer, text = "right", "right"
	case errors.As(err, &wrong):
		answer.Answer, answer.TriesLeft = "wrong", &wrong.TriesLeft
		text = fmt.Sprintf("wrong  %d tries left", wrong.TriesLeft)
	case tasks.IsRejected(err):
		answer.Answer, text = "rejected", "rejected  "+err.Error()
	default:
		return redisTrouble(rdb, err)
	}
	if p.json {
		json.NewEncoder(p.stdout).Encode(answer)
	} else {
		fmt.Fprintln(p.stdout, text)
	}
	if err != nil {
		return errNo
	}
	return nil
}

// maxAnswer is more than any answer, and less than a file that was given by mistake.
const maxAnswer = 4096

// readAnswer reads one line: from a terminal after a prompt, without showing what is typed, else from standard input.
func (p *program) readAnswer(ctx context.Context) (string, error) {
	if in, isFile := p.stdin.(*os.File); isFile && term.IsTerminal(int(in.Fd())) {
		return p.prompt(ctx, int(in.Fd()))
	}
	line, err := bufio.NewReader(io.LimitReader(p.stdin, maxAnswer)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", wrongUse{fmt.Errorf("standard input: %w", err)}
	}
	if line = strings.TrimSpace(line); line == "" {
		return "", wrongUse{errors.New("the answer is missing: give it as one line of standard input, or type it at a terminal")}
	}
	return line, nil
}

func (p *program) prompt(ctx context.Context, terminal int) (string, error) {
	before, err := term.GetState(terminal)
	if err != nil {
		return "", wrongUse{fmt.Errorf("the terminal: %w", err)}
	}
	fmt.Fprint(p.stderr, "Answer: ")
	defer fmt.Fprintln(p.stderr)
	type line struct {
		text []byte
		err  error
	}
	typed := make(chan line, 1)
	go func() { // nothing interrupts the read of a terminal; after Ctrl-C the process ends with it
		text, err := term.ReadPassword(terminal)
		typed <- line{text, err}
	}()
	select {
	case <-ctx.Done():
		term.Restore(terminal, before)
		return "", errors.New("stopped; nothing was checked")
	case l := <-typed:
		if l.err != nil || len(strings.TrimSpace(string(l.text))) == 0 {
			return "", wrongUse{errors.New("nothing was typed, and nothing was checked")}
		}
		return string(l.text), nil
	}
}
