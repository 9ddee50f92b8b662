package redisstore_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fieldcache/cache"
	"fieldcache/cache/redisstore"
	"fieldcache/internal/testservers"
)

// cycle begins a load, fills it, reads it and evicts it. It returns what is read before and after
// the eviction.
func cycle(t *testing.T, s *redisstore.Store, key cache.Key) (filled int, before, after *cache.Entry, err error) {
	t.Helper()
	ctx := t.Context()
	items := []cache.Item{{Key: key, Tags: []cache.Tag{"{users}"}, MaxAge: time.Minute}}
	tickets, err := s.Begin(ctx, items)
	if err != nil {
		return 0, nil, nil, err
	}
	e := &cache.Entry{Data: []byte(`{"id":1}`), Loaded: time.Now(), Ends: time.Now().Add(time.Minute)}
	if filled, err = s.Fill(ctx, []cache.Fill{{Item: items[0], Ticket: tickets[0], Entry: e}}); err != nil {
		return 0, nil, nil, err
	}
	got, err := s.Get(ctx, items)
	if err != nil {
		return 0, nil, nil, err
	}
	if _, err = s.Evict(ctx, cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{key}}}); err != nil {
		return 0, nil, nil, err
	}
	left, err := s.Get(ctx, items)
	if err != nil {
		return 0, nil, nil, err
	}
	return filled, got[0], left[0], nil
}

// A Redis user who may not run some commands can use the store if there is another way.
func TestFault16FewRights(t *testing.T) {
	t.Parallel()
	server := testservers.RedisServer(t)
	admin := redis.NewClient(must(redis.ParseURL(server.URL()))(t))
	t.Cleanup(func() { _ = admin.Close() })
	for name, c := range map[string]struct {
		rules   string
		refused bool
	}{
		"read, write, scripts, pub/sub": {"+@read +@write +@scripting +@pubsub", false},
		"no GETEX":                      {"+@all -getex", false},
		"no UNLINK":                     {"+@all -unlink", false},
		"no scripts":                    {"+@all -@scripting", false},
		"no pub/sub":                    {"+@all -@pubsub", false},
		"none of them":                  {"+@all -getex -unlink -@scripting -@pubsub -@connection -@admin -info", false},
		"reads only":                    {"+@read +@connection", true},
		"neither scripts nor MULTI":     {"+@all -@scripting -@transaction", true},
	} {
		t.Run(name, func(t *testing.T) {
			user := "u" + strings.NewReplacer(" ", "", ",", "", "/", "").Replace(name)
			rules := append([]any{"ACL", "SETUSER", user, "on", ">geheim", "~*", "&*"}, fields(c.rules)...)
			if err := admin.Do(t.Context(), rules...).Err(); err != nil {
				t.Fatal(err)
			}
			u := must(url.Parse(server.URL()))(t)
			u.User = url.UserPassword(user, "geheim")
			s := open(t, redisstore.Options{URLs: []string{u.String()}, Timeout: patient})
			filled, before, after, err := cycle(t, s, cache.Key("user:"+user))
			probed := s.Probe(t.Context())
			if c.refused {
				if !errors.Is(probed, cache.ErrRefused) || !errors.Is(err, cache.ErrRefused) || !strings.Contains(err.Error(), "NOPERM") {
					t.Errorf("got error %v from Probe and %v from the calls, want both refused", probed, err)
				}
				return
			}
			if probed != nil || err != nil || filled != 1 || before == nil || after != nil {
				t.Errorf("got error %v from Probe; filled %d, read %v, then %v, error %v", probed, filled, before, after, err)
			}
		})
	}
}

func fields(text string) (list []any) {
	for _, f := range strings.Fields(text) {
		list = append(list, f)
	}
	return list
}

// An eviction voids a fill without scripts, as it does one with a script.
func TestFault16Transactions(t *testing.T) {
	t.Parallel()
	server := testservers.RedisServer(t)
	admin := redis.NewClient(must(redis.ParseURL(server.URL()))(t))
	t.Cleanup(func() { _ = admin.Close() })
	if err := admin.Do(t.Context(), "ACL", "SETUSER", "default", "-@scripting").Err(); err != nil {
		t.Fatal(err)
	}
	s := open(t, redisstore.Options{URLs: []string{server.URL()}, Timeout: patient})
	item := cache.Item{Key: "user:1", MaxAge: time.Minute}
	tickets := must(s.Begin(t.Context(), []cache.Item{item}))(t)
	if _, err := s.Evict(t.Context(), cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{"user:1"}}}); err != nil {
		t.Fatal(err)
	}
	e := &cache.Entry{Data: []byte("1"), Loaded: time.Now(), Ends: time.Now().Add(time.Minute)}
	if n, err := s.Fill(t.Context(), []cache.Fill{{Item: item, Ticket: tickets[0], Entry: e}}); n != 0 || err != nil {
		t.Errorf("filled %d, error %v after an eviction; want 0", n, err)
	}
}

// The options have the address of one node of a Cluster. The error says so.
func TestFault16OneOfACluster(t *testing.T) {
	t.Parallel()
	cluster := testservers.RedisCluster(t)
	s := open(t, redisstore.Options{URLs: cluster.URLs()[:1], Timeout: patient})
	for i := range 8 {
		_, _, _, err := cycle(t, s, cache.Entity("user", string(rune('a'+i))))
		if err == nil {
			continue // the slot of its key is on this node
		}
		if !errors.Is(err, cache.ErrRefused) || !strings.Contains(err.Error(), "node of a Cluster") || !strings.Contains(err.Error(), "REDIS_URL") {
			t.Errorf("got error %v", err)
		}
		return
	}
	t.Error("one node accepted every key")
}

// The server is a replica, which accepts no writes.
func TestFault16Replica(t *testing.T) {
	t.Parallel()
	server, primary := testservers.RedisServer(t), testservers.RedisServer(t)
	admin := redis.NewClient(must(redis.ParseURL(server.URL()))(t))
	t.Cleanup(func() { _ = admin.Close() })
	u := must(url.Parse(primary.URL()))(t)
	if err := admin.ReplicaOf(t.Context(), u.Hostname(), u.Port()).Err(); err != nil {
		t.Fatal(err)
	}
	s := open(t, redisstore.Options{URLs: []string{server.URL()}, Timeout: patient})
	if err := s.Probe(t.Context()); !errors.Is(err, cache.ErrRefused) || !strings.Contains(err.Error(), "READONLY") {
		t.Errorf("got error %v from Probe", err)
	}
}

// must fails the test if the call returned an error.
func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
