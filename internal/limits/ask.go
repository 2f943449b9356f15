package limits

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/securemail/tasks"
)

// The first number of a script's reply.
const (
	unanswered = -2 // no script says that
	refused    = -1
	known      = 0 // the sending had its place already
	counted    = 1
)

// question is one script about one key.
type question struct {
	limit  tasks.LimitName
	key    string
	script *redis.Script
	args   []any // without the last one, which says whether to count
}

// reply answers a question.
type reply struct {
	question
	verdict    int64
	wait, next time.Duration // as the scripts say; wait can be negative
}

// ofSending asks the recipient, and after it the asker where there is one.
func (m *Mails) ofSending(s Sending) []question {
	prefix, l := "s:"+string(s.Kind)+":", m.limits
	asked := []question{{tasks.LimitRecipient, s.Recipient, recipientScript,
		[]any{s.field(), prefix, l.RecipientInterval.Milliseconds(), l.RecipientPerHour, l.RecipientPerDay, m.patience(s).Milliseconds()}}}
	if s.Origin != "" && l.PerOrigin > 0 {
		asked = append(asked, question{tasks.LimitOrigin, s.Origin, windowScript,
			[]any{s.name(), l.PerOrigin, time.Hour.Milliseconds(), remembered.Milliseconds()}})
	}
	return asked
}

// inAll asks for a place among all mails of the minute.
func (m *Mails) inAll(s Sending) question {
	return question{tasks.LimitTotal, totalKey, windowScript,
		[]any{s.name(), m.limits.TotalPerMinute, time.Minute.Milliseconds(), time.Minute.Milliseconds()}}
}

// patience is for how long the sending may be kept waiting.
func (m *Mails) patience(s Sending) time.Duration {
	if m.limits.TooSoon == tasks.TooSoonRefuse {
		return 0
	}
	return max(time.Until(s.Until), 0)
}

// ask asks all questions in one round trip, on a Cluster in one for each node. With an error, it returns the replies that
// there are.
func (m *Mails) ask(ctx context.Context, asked []question, count bool) ([]reply, error) {
	pipe, cmds := m.rdb.Pipeline(), make([]*redis.Cmd, len(asked))
	args := func(q question) []any { return append(q.args[:len(q.args):len(q.args)], count) }
	for i, q := range asked {
		cmds[i] = q.script.EvalSha(ctx, pipe, []string{q.key}, args(q)...)
	}
	pipe.Exec(ctx) // every command has its own error
	replies, failed := make([]reply, len(asked)), error(nil)
	for i, q := range asked {
		values, err := cmds[i].Int64Slice()
		if redis.HasErrorPrefix(err, "NOSCRIPT") {
			values, err = q.script.Eval(ctx, m.rdb, []string{q.key}, args(q)...).Int64Slice()
		}
		replies[i] = reply{question: q, verdict: unanswered}
		if err != nil {
			failed = fmt.Errorf("ask for the limit %q: %w", q.limit, err)
			continue
		}
		ms := append(values, 0, 0, 0) // not every script has all of them
		replies[i].verdict, replies[i].wait, replies[i].next = ms[0], time.Duration(ms[1])*time.Millisecond, time.Duration(ms[2])*time.Millisecond
	}
	return replies, failed
}

func anyRefused(replies []reply) bool {
	return slices.ContainsFunc(replies, func(r reply) bool { return r.verdict == refused })
}

// placeOf returns the latest of all places, or the refusal that lasts longest.
func (m *Mails) placeOf(s Sending, replies []reply) (Place, error) {
	p := Place{Next: max(replies[0].next, 0)}
	var worst *tasks.LimitError
	for _, r := range replies {
		if r.verdict == refused && (r.limit != tasks.LimitTotal || r.wait >= m.patience(s)) {
			if worst == nil || r.wait > worst.RetryAfter {
				worst = &tasks.LimitError{RetryAfter: r.wait, Limit: r.limit}
			}
		} else if r.wait > p.Wait {
			p.Wait, p.Limit = r.wait, r.limit
		}
	}
	if worst != nil {
		return Place{}, worst
	}
	return p, nil
}
