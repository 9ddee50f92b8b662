package testservers

import (
	"context"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

func TestClusterMovesSlots(t *testing.T) {
	t.Parallel()
	c := RedisCluster(t)
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses(t, c.Nodes)})
	defer client.Close()
	slot := c.Slot("{tag}")
	from := c.Owner(slot)
	to := (from + 1) % len(c.Nodes)
	for _, key := range []string{"{tag}:1", "{tag}:2"} {
		if err := client.Set(t.Context(), key, "here", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	size := func(node int) int64 {
		n, err := c.clients[node].ClusterCountKeysInSlot(t.Context(), slot).Result()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	m := c.StartMove(slot, to)
	if a, b := size(from), size(to); a != 2 || b != 0 {
		t.Errorf("after the start: got %d keys on the old node and %d on the new one", a, b)
	}
	m.Keys("{tag}:1")
	if a, b := size(from), size(to); a != 1 || b != 1 {
		t.Errorf("during the move: got %d keys on the old node and %d on the new one", a, b)
	}
	err := c.clients[from].Get(t.Context(), "{tag}:1").Err()
	if err == nil || !strings.HasPrefix(err.Error(), "ASK ") {
		t.Errorf("for a moved key the old node returned %v, want ASK", err)
	}
	m.Finish()
	if a, b := size(from), size(to); a != 0 || b != 2 {
		t.Errorf("at the end: got %d keys on the old node and %d on the new one", a, b)
	}
	c.MoveSlot(slot, from)
	if owner := c.Owner(slot); owner != from {
		t.Errorf("after the move back the slot belongs to node %d, want %d", owner, from)
	}
	if got, err := client.Get(t.Context(), "{tag}:1").Result(); err != nil || got != "here" {
		t.Errorf("after both moves: got %q, %v", got, err)
	}
}

func TestSentinelReplacesThePrimary(t *testing.T) {
	t.Parallel()
	s := RedisSentinel(t)
	client := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: s.Master(), SentinelAddrs: addresses(t, []*Server{s.Watcher})})
	defer client.Close()
	if err := client.Set(t.Context(), "key", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	s.Primary.Stop()
	await(t, func(ctx context.Context) error {
		return expects("role:master")(clientOf(t, s.Replica).Info(ctx, "replication").Result())
	})
}

func TestTLSAsksWhoIsThere(t *testing.T) {
	t.Parallel()
	s := RedisTLS(t)
	for name, test := range map[string]struct {
		change func(*redis.Options)
		want   string // in the error; "" for none
	}{
		"as the URL says":      {func(*redis.Options) {}, ""},
		"as localhost":         {func(o *redis.Options) { o.TLSConfig.ServerName = "localhost" }, ""},
		"without a password":   {func(o *redis.Options) { o.Username, o.Password = "", "" }, "NOAUTH"},
		"a wrong password":     {func(o *redis.Options) { o.Password = "wrong" }, "WRONGPASS"},
		"an unknown server":    {func(o *redis.Options) { o.TLSConfig.ServerName = "example.com" }, "not example.com"},
		"without TLS":          {func(o *redis.Options) { o.TLSConfig = nil }, ""},
		"an unknown authority": {func(o *redis.Options) { o.TLSConfig.RootCAs = nil }, "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options, err := redisOptions(s.URL(), 0)
			if err != nil {
				t.Fatal(err)
			}
			options.TLSConfig.RootCAs = s.Roots
			test.change(options)
			c := redis.NewClient(options)
			defer c.Close()
			err = c.Set(t.Context(), "key", "value", 0).Err()
			ok := test.want == "" && options.TLSConfig != nil
			if ok && err != nil || !ok && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// addresses returns the hosts and ports of servers.
func addresses(t *testing.T, servers []*Server) []string {
	t.Helper()
	var all []string
	for _, s := range servers {
		all = append(all, "127.0.0.1:"+portOf(t, s))
	}
	return all
}
