package queue

import (
	"context"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/tasks"
)

// Figure is how long one queue is.
type Figure struct {
	Queue  string
	States map[string]int // tasks by asynq's state
	Size   int            // tasks in all
	Age    time.Duration  // of the oldest task that waits to be taken
}

// Figures reads how long the queues are. A queue that never had a task is left out, and so is all that cannot be read.
func Figures(rdb redis.UniversalClient) []Figure {
	known, err := inspector(rdb).Queues()
	if err != nil {
		return nil
	}
	var figures []Figure
	for _, name := range queues {
		if !slices.Contains(known, name) {
			continue
		}
		info, err := inspector(rdb).GetQueueInfo(name)
		if err != nil {
			continue
		}
		figures = append(figures, Figure{Queue: name, Size: info.Size, Age: info.Latency, States: map[string]int{"active": info.Active,
			"pending": info.Pending, "scheduled": info.Scheduled, "retry": info.Retry, "archived": info.Archived, "completed": info.Completed}})
	}
	return figures
}

// Served reports whether a live worker takes mails. Where that cannot be told it reports true. It adds a hook to rdb.
func Served(rdb redis.UniversalClient) bool {
	rdb.AddHook(withoutWork{})
	servers, err := inspector(rdb).Servers()
	if err != nil {
		return true
	}
	for _, server := range servers {
		if _, ours := server.Queues[tasks.Queue]; ours && server.Status == "active" {
			return true
		}
	}
	return false
}

// withoutWork keeps asynq from asking what each worker works on. With it come the payloads, addresses and all, which are
// not needed here and which a producer may not see (deploy/redis.acl).
type withoutWork struct{}

func (withoutWork) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "hvals" {
			return nil
		}
		return next(ctx, cmd)
	}
}

func (withoutWork) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (withoutWork) DialHook(next redis.DialHook) redis.DialHook { return next }
