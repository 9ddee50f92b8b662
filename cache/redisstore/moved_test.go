package redisstore_test

import (
	"context"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"fieldcache/cache"
	"fieldcache/cache/redisstore"
	"fieldcache/internal/testservers"
)

// movable is an address that leads to one server, and later to another. Connections that are open
// stay with the first one, as with a name or a service in Kubernetes.
type movable struct {
	address string
	server  atomic.Pointer[string]
}

func newMovable(t *testing.T, s *testservers.Server) *movable {
	t.Helper()
	m := &movable{}
	m.leadTo(s)
	m.address = accept(t, func(from net.Conn) {
		to, err := net.Dial("tcp", *m.server.Load())
		if err != nil {
			_ = from.Close() // which fails the test
			return
		}
		pass := func(to, from net.Conn) {
			_, _ = io.Copy(to, from)
			_, _ = to.Close(), from.Close()
		}
		go pass(to, from)
		go pass(from, to)
	})
	return m
}

func (m *movable) leadTo(s *testservers.Server) {
	u, _ := url.Parse(s.URL()) // the URL of a server that runs
	m.server.Store(&u.Host)
}

// The address of Redis leads to another server now, and the old one has become its replica, without
// contact to it. It still serves reads on connections that are open. Once an eviction succeeded,
// nothing older is read from there, and evictions of others are heard.
func TestAnotherServerTakesOver(t *testing.T) {
	t.Parallel()
	before, after := testservers.RedisServer(t), testservers.RedisServer(t)
	moved := newMovable(t, before)
	o := redisstore.Options{URLs: []string{"redis://" + moved.address}, Timeout: patient}
	s := open(t, o)
	fill(t, s, stock, begin(t, s, stock)[0], `"old"`)
	received := listen(t, s)
	receives(t, received, open(t, o))
	reads := func(each func(*cache.Entry)) { // on several connections
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				for range 20 {
					entries, err := s.Get(t.Context(), []cache.Item{stock})
					if err != nil {
						t.Error(err)
						return
					}
					each(entries[0])
				}
			})
		}
		group.Wait()
	}
	reads(func(e *cache.Entry) {
		if e == nil {
			t.Error("the value is not there")
		}
	})
	if err := client(t, before.URL()).ReplicaOf(t.Context(), "127.0.0.1", "1").Err(); err != nil {
		t.Fatal(err)
	}
	moved.leadTo(after)
	eventually(t, func(ctx context.Context) error {
		_, err := s.Evict(ctx, cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{stock.Key}}})
		return err
	})
	var old atomic.Int64
	reads(func(e *cache.Entry) {
		if e != nil {
			old.Add(1)
		}
	})
	if n := old.Load(); n > 0 {
		t.Errorf("after the eviction %d of 400 reads returned the old value", n)
	}
	eventually(t, func(ctx context.Context) error { return works(ctx, s) })
	receives(t, received, open(t, o))
}

// PoolSize limits the connections for all commands, pipelines included.
func TestPoolSize(t *testing.T) {
	t.Parallel()
	server := testservers.RedisServer(t)
	s := open(t, redisstore.Options{URLs: []string{server.URL()}, PoolSize: 1, Timeout: patient})
	if err := works(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	list := client(t, server.URL()).ClientList(t.Context()).Val()
	if n := strings.Count(list, " name=fieldcache "); n != 1 {
		t.Errorf("got %d connections, want 1:\n%s", n, list)
	}
}
