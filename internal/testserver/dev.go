package testserver

import (
	"bufio"
	"os"
	"os/exec"
	"regexp"
	"testing"
	"time"
)

// Dev is a running `worker dev`.
type Dev struct{ RedisAddr, InboxURL string }

// StartDev builds and starts `worker dev` on free ports, and waits until it serves.
func StartDev(t testing.TB) *Dev {
	t.Helper()
	free := "127.0.0.1:0"
	cmd := exec.Command(BuildWorker(t), "dev", "--redis-addr", free, "--smtps-addr", free, "--submission-addr", free, "--inbox-addr", free, "--admin-addr", free)
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
			// Without a reader, worker dev would block. The goroutine ends with the process, and
			// the cleanup waits for that.
			go func() {
				for lines.Scan() {
				}
			}()
			return d
		}
	}
	t.Fatal("worker dev ended, or did not print its addresses")
	return nil
}
