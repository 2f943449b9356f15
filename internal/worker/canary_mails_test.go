package worker_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"example.com/securemail/tasks"
)

// canaryMail is one mail of the run.
type canaryMail struct {
	tasks.Mail
	id    string
	state tasks.State // the state that it must reach
	seed  []byte      // nil if the record has it
}

// newCanaryMail returns the nth mail. Each has another recipient, whose address chooses what the
// relay does.
func newCanaryMail(n int) canaryMail {
	tag, state := "", tasks.Accepted
	switch n % 25 {
	case 1:
		tag, state = "+451", tasks.Deferred
	case 2:
		tag, state = "+550", tasks.Refused
	case 3:
		tag, state = "+drop", tasks.Deferred
	case 4:
		tag, state = "+535", tasks.Deferred
	case 5:
		tag, state = "+421", tasks.Deferred
	case 6:
		tag, state = "+stale", tasks.Expired
	}
	switch n { // these take longer
	case 7, 8, 9:
		tag, state = "+timeout", tasks.Deferred
	case 10, 11, 12:
		tag = "+slow"
	}
	m := tasks.Mail{Kind: []tasks.Kind{tasks.Key, tasks.Code, tasks.TOTP}[n%3], To: fmt.Sprintf("recipient-%03d%s@private.example.org", n, tag),
		Purpose: "canary", Vars: map[string]string{"name": fmt.Sprintf("Firstname%03d Lastname", n)},
		Origin: tasks.Origin{IP: fmt.Sprintf("2001:db8:77::%x", 0x1000+n), Agent: fmt.Sprintf("Browser%03d/1.0", n)}}
	if m.Kind != tasks.TOTP && n%2 == 0 {
		m.Session = fmt.Sprintf("session-cookie-%03d", n)
	}
	m.IdempotencyKey = fmt.Sprintf("idempotency-key-%03d", n)
	if m.Kind == tasks.TOTP && n%2 == 0 {
		m.Account = fmt.Sprintf("accountname-%03d", n)
	}
	return canaryMail{Mail: m, state: state}
}

// send sends the mails from one number up to another.
func (r *canaryRun) send(from, to int) (sent []canaryMail) {
	r.t.Helper()
	for n := from; n < to; n++ {
		m := newCanaryMail(n)
		var err error
		if m.state == tasks.Expired {
			err = r.sendStale(&m)
		} else {
			var receipt tasks.Receipt
			receipt, err = r.client.Send(r.t.Context(), m.Mail)
			m.id = receipt.ID
		}
		if err != nil {
			r.t.Fatal(err)
		}
		sent = append(sent, m)
	}
	return sent
}

// sendStale enqueues a mail that is too old to be sent. It gets no record, so the test has to keep
// its seed.
func (r *canaryRun) sendStale(m *canaryMail) error {
	task, id, err := tasks.NewTask(m.Mail)
	if err != nil {
		return err
	}
	parsed, err := tasks.ParseTask(task.Type(), task.Payload())
	if err != nil {
		return err
	}
	m.id, m.seed = id, parsed.Seed
	var p map[string]any
	if err := json.Unmarshal(task.Payload(), &p); err != nil {
		return err
	}
	p["created_at"], p["expires_at"] = time.Now().Add(-9*time.Minute).Format(time.RFC3339), time.Now().Add(time.Minute).Format(time.RFC3339)
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	task = asynq.NewTask(tasks.Type, body, asynq.TaskID(id), asynq.Queue(tasks.Queue))
	_, err = asynq.NewClientFromRedisClient(r.rdb).EnqueueContext(r.t.Context(), task)
	return err
}

// settle waits until every mail has reached its state. It reads the admin pages while it waits.
func (r *canaryRun) settle(sent []canaryMail) {
	r.t.Helper()
	workersSeen := false
	for deadline := time.Now().Add(2 * time.Minute); len(sent) > 0 || !workersSeen; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("%d mails have not reached their state; a page has shown workers: %v", len(sent), workersSeen)
		}
		pages := r.workers[0].admin.glance()
		r.seen.WriteString(pages)
		workersSeen = workersSeen || strings.Contains(pages, `"task_payload"`)
		var open []canaryMail
		for _, m := range sent {
			s, err := r.client.Status(r.t.Context(), m.id)
			switch {
			case err != nil:
				r.t.Fatal(err)
			case s.State == tasks.Queued || s.State == tasks.Sending:
				open = append(open, m)
			case s.State != m.state:
				r.t.Errorf("%s: got %s %s, want %s", m.To, s.State, s.Reason, m.state)
			}
		}
		sent = open
	}
}
