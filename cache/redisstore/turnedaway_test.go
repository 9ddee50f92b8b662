package redisstore_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"fieldcache/cache"
	"fieldcache/cache/redisstore"
	"fieldcache/internal/testservers"
)

// A server that has as many clients as it may have closes new connections. The error says why, not
// only that the connection is closed. When there is room again the store works.
func TestTooManyClients(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T) (redisstore.Options, []string){
		"one server": func(t *testing.T) (redisstore.Options, []string) {
			s := testservers.RedisServer(t)
			return redisstore.Options{URLs: []string{s.URL()}}, []string{s.URL()}
		},
		"a Cluster": func(t *testing.T) (redisstore.Options, []string) {
			c := testservers.RedisCluster(t)
			return redisstore.Options{URLs: c.URLs()}, c.URLs()
		},
		"a primary": func(t *testing.T) (redisstore.Options, []string) {
			s := testservers.RedisSentinel(t)
			return redisstore.Options{URLs: s.URLs(), SentinelMaster: s.Master()}, []string{s.Primary.URL()}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, servers := start(t)
			o.Timeout = patient
			var admins []*redis.Client
			allow := func(clients string) {
				for _, c := range admins {
					if err := c.ConfigSet(t.Context(), "maxclients", clients).Err(); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, u := range servers {
				admins = append(admins, client(t, u))
			}
			allow("1")
			s := open(t, o)
			_, got := s.Get(t.Context(), []cache.Item{stock})
			_, begun := s.Begin(t.Context(), []cache.Item{stock})
			for _, err := range []error{s.Probe(t.Context()), got, begun} {
				if err == nil || !strings.Contains(err.Error(), "ERR max number of clients") {
					t.Errorf("got error %v, want it to say that there are too many clients", err)
				}
			}
			allow("100")
			eventually(t, func(ctx context.Context) error { return works(ctx, s) })
		})
	}
}

// The same is true of a server in protected mode, which closes connections from other machines.
func TestProtectedMode(t *testing.T) {
	t.Parallel()
	address := accept(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "-DENIED Redis is running in protected mode\r\n")
		_ = c.Close()
	})
	s := open(t, redisstore.Options{URLs: []string{"redis://" + address}, Timeout: patient})
	if err := s.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "protected mode") {
		t.Errorf("got error %v, want it to say that the server is in protected mode", err)
	}
}
