package redisstore

import (
	"context"
	"errors"
	"net"

	"github.com/redis/go-redis/v9"
)

// pipelines sends pipelines. go-redis repeats a pipeline as a whole if it failed. In a Cluster it also
// follows MOVED and ASK for each command: one that has been redirected is then sent to two nodes, and
// both replies are written into it at the same time. So this hook lets go-redis repeat only redirected
// commands, and repeats the commands without a reply itself, after all others.
type pipelines struct{}

var _ redis.Hook = pipelines{}

// DialHook implements [redis.Hook]. It changes nothing.
func (pipelines) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements [redis.Hook]. It changes nothing.
func (pipelines) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

// ProcessPipelineHook implements [redis.Hook].
func (pipelines) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		all := make([]redis.Cmder, len(cmds))
		for i, cmd := range cmds {
			all[i] = once{cmd}
		}
		err := next(ctx, all)
		var again []redis.Cmder
		for _, cmd := range all {
			if unanswered(cmd.Err()) {
				again = append(again, cmd)
			}
		}
		if len(again) == 0 || ctx.Err() != nil {
			return err
		}
		for _, cmd := range again {
			cmd.SetErr(nil)
		}
		_ = next(ctx, again) // the errors of the commands are returned below
		for _, cmd := range all {
			if err := cmd.Err(); err != nil {
				return err
			}
		}
		return nil
	}
}

// unanswered reports whether a connection failed before the reply.
func unanswered(err error) bool {
	var answer redis.Error
	if err == nil || errors.As(err, &answer) {
		return false
	}
	var timeout net.Error
	return !errors.As(err, &timeout) || !timeout.Timeout() // do not wait again for a node that timed out
}

// once is a command that go-redis repeats only if it was redirected.
type once struct{ redis.Cmder }

// NoRetry implements [redis.Cmder].
func (once) NoRetry() bool { return true }
