package redisstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"fieldcache/cache"
	"fieldcache/cache/redisstore"
	"fieldcache/internal/testservers"
)

// calls are all calls of a store to Redis. Another store began the load.
func calls(t *testing.T, s, other *redisstore.Store) map[string]func(context.Context) error {
	t.Helper()
	item := cache.Item{Key: stock.Key, Tags: user.Tags, MaxAge: time.Minute}
	ticket := begin(t, other, item)[0]
	now := time.Now()
	entry := &cache.Entry{Data: []byte(`1`), Loaded: now, Ends: now.Add(time.Minute)}
	return map[string]func(context.Context) error{
		"Probe": s.Probe,
		"Get": func(ctx context.Context) error {
			_, err := s.Get(ctx, []cache.Item{item})
			return err
		},
		"Begin": func(ctx context.Context) error {
			_, err := s.Begin(ctx, []cache.Item{item})
			return err
		},
		"Fill": func(ctx context.Context) error {
			_, err := s.Fill(ctx, []cache.Fill{{Item: item, Ticket: ticket, Entry: entry}})
			return err
		},
		"Evict": func(ctx context.Context) error {
			_, err := s.Evict(ctx, cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{item.Key}, Tags: item.Tags}})
			return err
		},
	}
}

// If Redis hangs, a call takes as long as the caller allows, or a few times as long as the options
// allow, because calls are retried. It does not take the seconds that go-redis would wait by
// default.
func TestHungServer(t *testing.T) {
	t.Parallel()
	const short, some, long = 50 * time.Millisecond, 4 * time.Second, time.Minute
	for name, start := range map[string]func(*testing.T) (redisstore.Options, *testservers.Server){
		"one server": func(t *testing.T) (redisstore.Options, *testservers.Server) {
			s := testservers.RedisServer(t)
			return redisstore.Options{URLs: []string{s.URL()}}, s
		},
		"TLS": func(t *testing.T) (redisstore.Options, *testservers.Server) {
			s := testservers.RedisTLS(t)
			return redisstore.Options{URLs: []string{s.URL()}, RootCAs: s.Roots}, s.Server
		},
		"a node of a Cluster": func(t *testing.T) (redisstore.Options, *testservers.Server) {
			c := testservers.RedisCluster(t)
			return redisstore.Options{URLs: c.URLs()}, c.Nodes[c.Owner(c.Slot(string(stock.Key)))]
		},
		"a primary": func(t *testing.T) (redisstore.Options, *testservers.Server) {
			s := testservers.RedisSentinel(t)
			return redisstore.Options{URLs: s.URLs(), SentinelMaster: s.Master()}, s.Primary
		},
		"a Sentinel": func(t *testing.T) (redisstore.Options, *testservers.Server) {
			s := testservers.RedisSentinel(t)
			return redisstore.Options{URLs: s.URLs(), SentinelMaster: s.Master()}, s.Watcher
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, server := start(t)
			cases := []struct {
				by                string
				timeout, deadline time.Duration
				connected         bool
				store             *redisstore.Store
				calls             map[string]func(context.Context) error
			}{
				{by: "the options", timeout: short, deadline: long, connected: true},
				{by: "the options, not connected", timeout: short, deadline: long},
				{by: "the caller", timeout: long, deadline: short, connected: true},
				{by: "the caller, not connected", timeout: long, deadline: short},
			}
			for i := range cases {
				c := &cases[i]
				o.Prefix, o.Timeout = fmt.Sprint(i, ":"), patient
				other := open(t, o)
				o.Timeout = c.timeout
				c.store = open(t, o)
				c.calls = calls(t, c.store, other)
				if c.connected {
					eventually(t, c.store.Probe)
				}
			}
			server.Pause()
			var wg sync.WaitGroup
			for _, c := range cases {
				for call, do := range c.calls {
					wg.Go(func() {
						ctx, cancel := context.WithTimeout(t.Context(), c.deadline)
						defer cancel()
						started := time.Now()
						err := do(ctx)
						if d := time.Since(started); d > some {
							t.Errorf("%s took %v (error %v), want it bounded by %s to %v", call, d, err, c.by, short)
						}
					})
				}
			}
			wg.Wait()
			server.Resume()
			for _, c := range cases {
				eventually(t, func(ctx context.Context) error { return works(ctx, c.store) })
			}
		})
	}
}

// A call that finds its connection broken is retried on a new one.
func TestConnectionsAreMadeAgain(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*testing.T, *testservers.Server){
		"dropped by the server": func(t *testing.T, server *testservers.Server) {
			c := client(t, server.URL())
			for _, kind := range []string{"normal", "pubsub"} {
				if err := c.ClientKillByFilter(t.Context(), "TYPE", kind, "SKIPME", "yes").Err(); err != nil {
					t.Fatal(err)
				}
			}
		},
		"the server restarted, empty": func(_ *testing.T, server *testservers.Server) {
			server.Stop()
			server.Start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testservers.RedisServer(t)
			o := redisstore.Options{URLs: []string{server.URL()}, Timeout: patient}
			other := open(t, o)
			received := listen(t, other)
			receives(t, received, open(t, o))
			for call := range calls(t, other, open(t, o)) {
				s, c := open(t, o), client(t, server.URL())
				c.FlushDB(t.Context())
				do := calls(t, s, s)[call] // calls connects
				lose(t, server)
				if err := do(t.Context()); err != nil {
					t.Errorf("%s: got error %v", call, err)
				}
				c.FlushDB(t.Context())
				if err := works(t.Context(), s); err != nil {
					t.Errorf("after %s: got error %v", call, err)
				}
			}
			receives(t, received, open(t, o))
		})
	}
}

// An empty Redis has lost the scripts and the generations. What is filled afterwards is served, and
// what was there before is not.
func TestRestartedEmpty(t *testing.T) {
	t.Parallel()
	server := testservers.RedisServer(t)
	s := open(t, redisstore.Options{URLs: []string{server.URL()}, Timeout: patient})
	before := begin(t, s, user, stock)
	fill(t, s, user, before[0], `"old"`)
	server.Stop()
	if _, err := s.Get(t.Context(), []cache.Item{user}); err == nil {
		t.Error("Get of a stopped Redis succeeded")
	}
	server.Start()
	if entries, err := s.Get(t.Context(), []cache.Item{user}); err != nil || entries[0] != nil {
		t.Errorf("empty Redis: got %v, error %v", entries, err)
	}
	if fill(t, s, stock, before[1], `"old"`) != 0 {
		t.Error("a load that began before the restart was filled")
	}
	if fill(t, s, user, begin(t, s, user)[0], `"new"`) != 1 {
		t.Error("a load that began after the restart was refused")
	}
	if entries, err := s.Get(t.Context(), []cache.Item{user}); err != nil || entries[0] == nil || string(entries[0].Data) != `"new"` {
		t.Errorf("got %v, error %v", entries, err)
	}
}

// When the replica has been promoted, the store finds it and receives evictions from it.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	sentinel := testservers.RedisSentinel(t)
	o := redisstore.Options{URLs: sentinel.URLs(), SentinelMaster: sentinel.Master()}
	s := open(t, o)
	received := listen(t, open(t, o))
	receives(t, received, s)
	eventually(t, func(ctx context.Context) error { return works(ctx, s) })
	sentinel.Primary.Stop()
	if works(t.Context(), s) == nil {
		t.Error("a call of the stopped primary succeeded")
	}
	eventually(t, func(ctx context.Context) error { return works(ctx, s) })
	receives(t, received, s)
}

// A subscription continues with the server that takes over, even if the other one neither closes the
// connection nor responds, and even if the gateway sends nothing that would tell of the failover.
func TestSubscriptionsFollowFailovers(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T) (redisstore.Options, *testservers.Server){
		"a primary": func(t *testing.T) (redisstore.Options, *testservers.Server) {
			s := testservers.RedisSentinel(t)
			return redisstore.Options{URLs: s.URLs(), SentinelMaster: s.Master()}, s.Primary
		},
		"a node of a Cluster": func(t *testing.T) (redisstore.Options, *testservers.Server) {
			c := testservers.RedisCluster(t)
			owner := c.Owner(c.Slot("evictions:0"))
			c.AddReplica(owner)
			return redisstore.Options{URLs: c.URLs()}, c.Nodes[owner]
		},
	} {
		for fault, lose := range map[string]func(*testservers.Server){"hangs": (*testservers.Server).Pause, "stops": (*testservers.Server).Stop} {
			t.Run(name+" "+fault, func(t *testing.T) {
				t.Parallel()
				o, server := start(t)
				received := listen(t, open(t, o))
				receives(t, received, open(t, o))
				lose(server)
				receives(t, received, open(t, o))
			})
		}
	}
}

// A subscription that is never confirmed ends nevertheless.
func TestSubscriptionToAHungServer(t *testing.T) {
	t.Parallel()
	address, err := url.Parse(testservers.Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	address.Host = deafTo(t, "subscribe", address.Host)
	s := open(t, redisstore.Options{URLs: []string{address.String()}, Timeout: 500 * time.Millisecond})
	eventually(t, s.Probe)
	ended := make(chan error, 1)
	go func() { ended <- s.Subscribe(t.Context(), func(cache.Write) {}, func(error) {}) }()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("an unconfirmed subscription ended without an error")
		}
	case <-time.After(patient):
		t.Error("Subscribe did not return")
	}
}

// deafTo returns the address of a proxy before a server. After the proxy has seen a word on a
// connection, it forwards nothing more from the client.
func deafTo(t *testing.T, word, server string) string {
	t.Helper()
	return accept(t, func(from net.Conn) {
		to, err := net.Dial("tcp", server)
		if err != nil {
			_ = from.Close() // which fails the test
			return
		}
		go func() { _, _ = io.Copy(from, to) }()
		go func() {
			defer func() { _ = from.Close(); _ = to.Close() }()
			b := make([]byte, 4096)
			for deaf := false; ; {
				n, err := from.Read(b)
				if err != nil {
					return
				}
				if deaf = deaf || bytes.Contains(b[:n], []byte(word)); deaf {
					continue
				}
				if _, err := to.Write(b[:n]); err != nil {
					return
				}
			}
		}()
	})
}

// accept calls serve for each connection to the address that it returns, until the test ends.
func accept(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // it ends the loop
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(c)
		}
	}()
	return l.Addr().String()
}

// A server without free memory serves reads and evictions. That it accepts nothing new does not
// count as a fault.
func TestFull(t *testing.T) {
	t.Parallel()
	server := testservers.RedisServer(t)
	s := open(t, redisstore.Options{URLs: []string{server.URL()}, Timeout: patient})
	fill(t, s, user, begin(t, s, user)[0], `"u"`)
	tickets := begin(t, s, stock)
	if err := client(t, server.URL()).ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	fill(t, s, stock, tickets[0], `"s"`) // accepted or not: the fence that it replaces used memory too
	if es, err := s.Get(t.Context(), []cache.Item{user}); err != nil || es[0] == nil {
		t.Errorf("Get: got %v, error %v", es, err)
	}
	price := cache.Item{Key: "{product:7}:price", Tags: []cache.Tag{"{Product}"}, MaxAge: time.Minute}
	if got := begin(t, s, price); got[0] != nil {
		t.Error("a full server issued a ticket")
	}
	if n, err := s.Evict(t.Context(), cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{user.Key}}}); n != 1 || err != nil {
		t.Errorf("evicted %d, error %v; want 1", n, err)
	}
}

// A message that is not exactly in the store's format is ignored and reported, so that all readers
// understand a message in the same way.
func TestFault31MessagesAreReadStrictly(t *testing.T) {
	t.Parallel()
	address := testservers.Redis(t)
	s, c := open(t, redisstore.Options{URLs: []string{address}, Timeout: patient}), client(t, address)
	received, unreadable := make(chan cache.Write, 100), make(chan error, 100)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- s.Subscribe(ctx, func(w cache.Write) { received <- w }, func(err error) { unreadable <- err })
	}()
	publish := func(message string) error {
		n, err := c.Publish(t.Context(), fmt.Sprint("evictions:", c.Options().DB), message).Result()
		if err == nil && n == 0 {
			err = errors.New("nobody listens")
		}
		return err
	}
	const good = `{"from":"another","writes":[{"xid":7,"keys":["user:1"],"tags":["{users}"]}]}`
	eventually(t, func(context.Context) error { return publish(good) })
	for _, message := range []string{
		"", "x", "[]", "{}", "null", `{"from":"another","writes":{}}`, `{"from":"another","writes":[{"xid":"7"}]}`, `{"from":"another","writes":[{"xid":-7}]}`,
		`{"From":"another","writes":[]}`, `{"from":"another","Writes":[{"keys":["user:1"]}]}`, `{"from":"another","writes":[{"Keys":["user:1"]}]}`,
		`{"from":"another","from":"others","writes":[]}`, `{"from":"another","writes":[{"keys":["user:1"],"keys":[]}]}`, `{"from":"another","writes":[],"more":1}`,
		`{"from":"another","writes":[{"keys":["\ud800"]}]}`, "{\"from\":\"\xff\",\"writes\":[]}", good + "{}",
	} {
		if err := publish(message); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-unreadable:
			if !strings.Contains(err.Error(), "evictions:") {
				t.Errorf("%s: got error %v", message, err)
			}
		case <-time.After(patient):
			t.Errorf("%s: got no report", message)
		}
	}
	if err := publish(good); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if w := <-received; w.Xid != 7 || len(w.Keys) != 1 || w.Keys[0] != "user:1" || len(w.Tags) != 1 {
			t.Errorf("received %+v", w)
		}
	}
	cancel()
	if err := <-ended; err != nil || len(received) > 0 || len(unreadable) > 0 {
		t.Errorf("got error %v, %d more messages, %d more unreadable ones", err, len(received), len(unreadable))
	}
}
