package dev_test

import (
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

func TestSubmission_RefusesTheRecipientsThatAskForIt(t *testing.T) {
	t.Parallel()
	env := start(t)
	for _, port := range []string{"smtps", "submission"} {
		c := login(t, env, port)
		for _, code := range []int{450, 451, 452, 454, 530, 535, 550, 551, 552, 553, 554, 556} {
			for range 2 { // the failure is for every mail to that address
				err := send(c, fmt.Sprintf("a.b+c+%d@example.com", code), "Subject: x\r\n\r\n")
				var reply *textproto.Error
				if !errors.As(err, &reply) || reply.Code != code {
					t.Errorf("+%d on %s: got %v", code, port, err)
				} else if class := fmt.Sprintf("%d.", code/100); !strings.HasPrefix(reply.Msg, class) {
					t.Errorf("+%d: no enhanced status code of its class in %v", code, err)
				}
			}
		}
		for _, ordinary := range []string{"alice+news", "550", "+", "alice+2525", "alice+550x", "drop"} {
			if err := send(c, ordinary+"@example.com", "Subject: x\r\n\r\n"); err != nil {
				t.Errorf("%s: %v", ordinary, err)
			}
		}
	}
	if got := len(env.Messages()); got != 12 {
		t.Errorf("got %d mails, want the 12 ordinary ones", got)
	}
}

func TestSubmission_EndsTheConnectionAfter421(t *testing.T) {
	t.Parallel()
	env := start(t)
	c := login(t, env, "smtps")
	if err := c.Mail("worker@example.org"); err != nil {
		t.Fatal(err)
	}
	// The reply must arrive although the commands are pipelined.
	write(t, c, "RCPT TO:<alice+421@example.com>\r\nDATA\r\nQUIT\r\n")
	if line, err := c.Text.ReadLine(); err != nil || !strings.HasPrefix(line, "421 4.3.2 ") {
		t.Errorf("got %q, %v, want 421 4.3.2", line, err)
	}
	if line, err := c.Text.ReadLine(); err != io.EOF {
		t.Errorf("after 421: got %q, %v, want the end", line, err)
	}
}

func TestSubmission_DropKeepsTheMailAndDoesNotReply(t *testing.T) {
	t.Parallel()
	env := start(t)
	for i, port := range []string{"smtps", "submission"} {
		err := send(login(t, env, port), "alice+drop@example.com", "Subject: dropped\r\n\r\n")
		if !errors.Is(err, io.EOF) {
			t.Errorf("%s: got %v, want EOF in place of a reply", port, err)
		}
		if got := len(env.Messages()); got != i+1 {
			t.Errorf("%s: got %d mails, want %d", port, got, i+1)
		}
	}
}

func TestSubmission_TimeoutNeverAnswers(t *testing.T) {
	t.Parallel()
	env := start(t)
	for _, port := range []string{"smtps", "submission"} {
		t.Run(port, func(t *testing.T) {
			t.Parallel()
			c := begin(t, login(t, env, port), "alice+timeout@example.com")
			write(t, c, "Subject: x\r\n\r\n.\r\nQUIT\r\n")
			line := make(chan string, 1)
			go func() {
				got, err := c.Text.ReadLine()
				line <- fmt.Sprint(got, err)
			}()
			select {
			case got := <-line:
				t.Errorf("got %q, want silence", got)
			case <-time.After(time.Second):
				c.Close()
				<-line
			}
			if got := len(env.Messages()); got != 0 {
				t.Errorf("got %d mails, want none", got)
			}
		})
	}
}

func TestSubmission_SlowAnswersLate(t *testing.T) {
	t.Parallel()
	env := start(t)
	c := begin(t, login(t, env, "submission"), "alice+slow@example.com")
	began := time.Now()
	write(t, c, "Subject: x\r\n\r\n.\r\n")
	if _, _, err := c.Text.ReadResponse(250); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 2900*time.Millisecond {
		t.Errorf("answered after %v, want 3s", took)
	}
	if err := send(c, "alice@example.com", "Subject: quick again\r\n\r\n"); err != nil || len(env.Messages()) != 2 {
		t.Errorf("got %v and %d mails, want 2", err, len(env.Messages()))
	}
}
