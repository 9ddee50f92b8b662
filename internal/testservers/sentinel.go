package testservers

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Sentinel is a Redis server with a replica, and a Redis Sentinel that watches both.
type Sentinel struct {
	// Primary is the server that accepts writes. If it is stopped or paused, Replica takes over
	// within about three seconds.
	Primary, Replica *Server
	// Watcher is the Sentinel.
	Watcher *Server
}

// RedisSentinel starts a Sentinel, a primary and a replica for this test alone.
func RedisSentinel(t testing.TB) *Sentinel {
	t.Helper()
	node := func(more ...string) *Server {
		t.Helper()
		return newServer(t, redisProgram{at: func(port int) (string, []string) {
			// There is one replica, so there is no need to wait for more.
			return redisURL(port), redisArgs(port, append(more, "--repl-diskless-sync-delay", "0")...)
		}}.start, syscall.SIGKILL)
	}
	s := &Sentinel{Primary: node()}
	port := portOf(t, s.Primary)
	s.Replica = node("--replicaof", "127.0.0.1", port)
	replica := clientOf(t, s.Replica)
	await(t, func(ctx context.Context) error {
		return expects("master_link_status:up")(replica.Info(ctx, "replication").Result())
	})
	s.Watcher = newServer(t, redisProgram{
		files: map[string][]byte{"sentinel.conf": fmt.Appendf(nil, "sentinel monitor %s 127.0.0.1 %s 1\n"+
			"sentinel down-after-milliseconds %[1]s 500\nsentinel failover-timeout %[1]s 3000\n", s.Master(), port)},
		at: func(port int) (string, []string) {
			return redisURL(port), []string{"sentinel.conf", "--sentinel", "--port", strconv.Itoa(port), "--bind", "127.0.0.1"}
		},
	}.start, syscall.SIGKILL)
	watcher := redis.NewSentinelClient(clientOf(t, s.Watcher).Options())
	t.Cleanup(func() { _ = watcher.Close() }) // an error does not matter once the server is stopped
	await(t, func(ctx context.Context) error {
		replicas, err := watcher.Replicas(ctx, s.Master()).Result()
		if err == nil && len(replicas) == 0 {
			err = errors.New("the Sentinel does not know the replica")
		}
		return err
	})
	return s
}

// URLs returns the address of the Sentinel.
func (s *Sentinel) URLs() []string { return []string{s.Watcher.URL()} }

// Master returns the Sentinel's name for the primary.
func (s *Sentinel) Master() string { return "gateway" }

// portOf returns the port of a server.
func portOf(t testing.TB, s *Server) string {
	t.Helper()
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal("testservers:", err)
	}
	return u.Port()
}

// clientOf returns a client of a Redis server. It is closed after the test.
func clientOf(t testing.TB, s *Server) *redis.Client {
	t.Helper()
	c, err := connect(s.URL(), 0)
	if err != nil {
		t.Fatal("testservers:", err)
	}
	t.Cleanup(func() { _ = c.Close() }) // the server may be stopped
	return c
}

// await polls until holds returns nil, and fails the test when patience is over.
func await(t testing.TB, holds func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := holds(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("testservers: after %v: %v", patience, err)
		case <-tick.C:
		}
	}
}
