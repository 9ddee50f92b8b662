package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// greeting reports why a server closes a new connection. A server that has too many clients, or that
// is in protected mode, says so in place of a reply to HELLO. go-redis repeats HELLO on the same
// connection, and would only return that it is closed.
type greeting struct{}

var _ redis.Hook = greeting{}

// DialHook implements [redis.Hook]. It changes nothing.
func (greeting) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements [redis.Hook].
func (greeting) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() != "hello" {
			return next(ctx, cmd)
		}
		err := next(ctx, once{cmd})
		if redis.HasErrorPrefix(err, "max number of clients") || redis.HasErrorPrefix(err, "DENIED") {
			err = errors.New(err.Error()) // an error that is no redis.Error ends the connection
			cmd.SetErr(err)
		}
		return err
	}
}

// ProcessPipelineHook implements [redis.Hook]. It changes nothing.
func (greeting) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// server watches the connections to a server that is no node of a Cluster. If the server refuses a
// write because it is a replica, its address may lead to another server by now. All connections are
// closed then: reads on those that go-redis would keep would return what was evicted elsewhere.
type server struct {
	greeting
	mu   sync.Mutex
	open []net.Conn
}

// DialHook implements [redis.Hook]. It records the connection.
func (s *server) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := next(ctx, network, address)
		if err == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.open = append(slices.DeleteFunc(s.open, closed), c)
		}
		return c, err
	}
}

// ProcessPipelineHook implements [redis.Hook]. Without it go-redis would repeat a refused pipeline on
// a new connection, and keep the others.
func (s *server) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	repeating := pipelines{}.ProcessPipelineHook(next)
	return func(ctx context.Context, cmds []redis.Cmder) error {
		send := repeating
		if len(cmds) > 0 && cmds[0].Name() == "multi" { // repeated on another connection it would watch nothing
			send = next
		}
		err := send(ctx, cmds)
		if slices.ContainsFunc(cmds, func(cmd redis.Cmder) bool { return redis.IsReadOnlyError(cmd.Err()) }) {
			s.closeAll()
		}
		return err
	}
}

// closeAll closes all connections. Commands that are under way fail.
func (s *server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.open {
		_ = c.Close()
	}
	s.open = nil
}

// closed reports whether a connection was closed on this side.
func closed(c net.Conn) bool {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	s, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	return err != nil || errors.Is(raw.Control(func(uintptr) {}), net.ErrClosed)
}
