package worker_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/hibiken/asynq"

	"example.com/securemail/internal/submission"
	"example.com/securemail/tasks"
)

// A broken producer may put anything into a wrong field, such as an address or its own password.
// The worker repeats it nowhere. The markers are short, so that a shortened error text shows them
// too.
func TestCanary_MalformedTaskLeaksNothing(t *testing.T) {
	r := newCanaryRun(t)
	fields := map[string]func(p map[string]any, marker string){
		"v":           func(p map[string]any, marker string) { p["v"] = marker },
		"id":          func(p map[string]any, marker string) { p["id"] = marker },
		"kind":        func(p map[string]any, marker string) { p["kind"] = marker },
		"to":          func(p map[string]any, marker string) { p["to"] = marker + ", " + marker },
		"purpose":     func(p map[string]any, marker string) { p["purpose"] = marker },
		"account":     func(p map[string]any, marker string) { p["account"] = marker + ":" },
		"locale":      func(p map[string]any, marker string) { p["locale"] = marker },
		"created_at":  func(p map[string]any, marker string) { p["created_at"] = marker },
		"seed":        func(p map[string]any, marker string) { p["seed"] = marker },
		"resend":      func(p map[string]any, marker string) { p["resend"] = marker },
		"ip":          func(p map[string]any, marker string) { p["context"] = map[string]any{"ip": marker} },
		"agent":       func(p map[string]any, marker string) { p["context"] = map[string]any{"agent": marker + "\n"} },
		"a variable":  func(p map[string]any, marker string) { p["vars"] = map[string]any{marker: "x"} },
		"its value":   func(p map[string]any, marker string) { p["vars"] = map[string]any{"name": marker + "\n"} },
		"its type":    func(p map[string]any, marker string) { p["vars"] = map[string]any{marker: 1} },
		"a list":      func(p map[string]any, marker string) { p["to"] = []string{marker} },
		"a new field": func(p map[string]any, marker string) { p[marker], p["seed"] = marker, "" },
	}
	queue := asynq.NewClientFromRedisClient(r.rdb)
	enqueue := func(id string, payload []byte) {
		t.Helper()
		if _, err := queue.EnqueueContext(t.Context(), asynq.NewTask(tasks.Type, payload), asynq.TaskID(id), asynq.Queue(tasks.Queue)); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	marker := func(field string) string {
		n++
		text := fmt.Sprintf("zoe%02d@qq.io", n)
		r.secrets.add("the marker in "+field, text) // in Redis only the payload may hold it
		return text
	}
	for field, put := range fields {
		m := newCanaryMail(14).Mail
		m.IdempotencyKey = "" // each is a mail of its own
		task, id, err := tasks.NewTask(m)
		if err != nil {
			t.Fatal(err)
		}
		var p map[string]any
		if err := json.Unmarshal(task.Payload(), &p); err != nil {
			t.Fatal(err)
		}
		put(p, marker(field))
		body, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		enqueue(id, body)
	}
	enqueue("not-json-00000000001", []byte(marker("no JSON")))
	enqueue("not-json-00000000002", []byte(`{"v":1}`+marker("what follows")))

	r.start(nil, r.relay("unreached", submission.ImplicitTLS))
	waitUntil(t, t.Context(), "every task is refused", func() bool {
		return strings.Count(r.logs.String(), `"msg":"mail refused"`) == len(fields)+2
	})
	places := r.places()
	for _, place := range []string{placeErrors, placeLogs, placeMetrics, placePages} {
		r.refuse(place, r.secrets.find(places[place]))
	}
}
