package testserver

import (
	"bufio"
	"os"
	"os/exec"
	"regexp"
	"testing"
	"time"
)

// Dev is a running worker dev.
type Dev struct{ RedisAddr, InboxURL string }

// StartDev builds and starts worker dev on free ports, and waits until it serves.
func StartDev(t testing.TB) *Dev {
	t.Helper()
	any := "127.0.0.1:0"
	cmd := exec.Command(BuildWorker(t), "dev", "--redis-addr", any, "--smtps-addr", any, "--submission-addr", any, "--inbox-addr", any, "--admin-addr", any)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	giveUp := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
		giveUp.Stop()
	})
	d := &Dev{}
	inbox, redis := regexp.MustCompile(`^Inbox +(http://\S+)`), regexp.MustCompile(`^Redis +redis://(\S+)`)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if m := inbox.FindStringSubmatch(lines.Text()); m != nil {
			d.InboxURL = m[1]
		}
		if m := redis.FindStringSubmatch(lines.Text()); m != nil {
			d.RedisAddr = m[1]
		}
		if d.InboxURL != "" && d.RedisAddr != "" {
			giveUp.Stop()
			go func() { // so that worker dev never waits for a reader; ends with the process, for which the cleanup waits
				for lines.Scan() {
				}
			}()
			return d
		}
	}
	t.Fatal("worker dev ended, or did not say where it is")
	return nil
}
