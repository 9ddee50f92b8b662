package redisstore_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fieldcache/cache"
	"fieldcache/internal/testservers"
)

func TestCluster(t *testing.T) {
	t.Parallel()
	d, c := cluster(t)
	does(t, d)
	t.Run("a fence is in its key's slot", func(t *testing.T) { fencesLieByTheirKeys(t, d, c) })
	t.Run("a batch is one round trip to each node", func(t *testing.T) { oneRoundTripPerNode(t, d) })
	t.Run("a node without the script receives it again", func(t *testing.T) { scriptsAreSentAgain(t, d) })
	t.Run("slots that moved are followed", func(t *testing.T) { movedSlotsAreFollowed(t, d, c) })
	t.Run("migrating slots are served", func(t *testing.T) { openSlotsAreServed(t, d, c) })
	t.Run("a fill goes to one node at a time", func(t *testing.T) { fillsGoToOneNodeAtATime(t, d, c) })
	t.Run("an eviction's steps stay in order while a slot moves", func(t *testing.T) { evictionsKeepTheirOrder(t, d, c) })
	t.Run("a sample reads every node", func(t *testing.T) { sampleReadsEveryNode(t, d) })
	t.Run("every key expires", func(t *testing.T) { everyKeyEnds(t, d) })
}

// The same, if the user may not run scripts: fills are transactions.
func TestClusterWithoutScripts(t *testing.T) {
	t.Parallel()
	d, c := cluster(t)
	for _, server := range d.servers {
		if err := server.Do(t.Context(), "ACL", "SETUSER", "default", "-@scripting").Err(); err != nil {
			t.Fatal(err)
		}
	}
	openSlotsAreServed(t, d, c)
	movedSlotsAreFollowed(t, d, c)
}

// A fill needs both the key and its fence, and the keys of a script must be in one slot.
func fencesLieByTheirKeys(t *testing.T, d deployment, c *testservers.Cluster) {
	for _, prefix := range []string{"", "shop:", "a/b.c_d-e:"} {
		o := d.Options
		o.Prefix = prefix
		s := open(t, o)
		mark := rand.Text() // identifies the keys of this prefix
		for _, key := range []cache.Key{
			cache.Entity("user", mark),
			cache.Entity("user", "}ü{"+mark),
			cache.Entity("product", mark).Part("stock"),
			cache.Entity("product", mark).Collection("reviews").Count(),
			cache.All("users").List("text", mark),
		} {
			begin(t, s, cache.Item{Key: key, MaxAge: time.Minute})
			var fences []string
			for _, server := range d.servers {
				found, err := server.Keys(t.Context(), "*"+mark+"*").Result()
				if err != nil {
					t.Fatal(err)
				}
				fences = append(fences, found...)
			}
			if len(fences) != 1 || !strings.HasPrefix(fences[0], prefix) {
				t.Fatalf("the load of %s created %q, want one fence with the prefix %q", key, fences, prefix)
			}
			if a, b := c.Slot(prefix+string(key)), c.Slot(fences[0]); a != b {
				t.Errorf("%s is in slot %d, its fence %s in %d", prefix+string(key), a, fences[0], b)
			}
			if _, err := s.Evict(t.Context(), cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{key}}}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// many returns items in many slots, and the fills of loads of them that have begun.
func many(t *testing.T, s cache.Store) ([]cache.Item, []cache.Fill) {
	t.Helper()
	var items []cache.Item
	for i := range 300 {
		items = append(items, cache.Item{Key: cache.Entity("user", fmt.Sprint(i, rand.Text())), Tags: user.Tags, MaxAge: time.Minute})
	}
	now := time.Now()
	var fills []cache.Fill
	for i, ticket := range begin(t, s, items...) {
		fills = append(fills, cache.Fill{Item: items[i], Ticket: ticket,
			Entry: &cache.Entry{Data: fmt.Append(nil, i), Loaded: now, Ends: now.Add(time.Minute)}})
	}
	return items, fills
}

// holdsAll checks that a batch is served completely, in order and without an error.
func holdsAll(t *testing.T, s cache.Store, items []cache.Item) {
	t.Helper()
	entries, err := s.Get(t.Context(), items)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range entries {
		if e == nil || string(e.Data) != fmt.Sprint(i) {
			t.Fatalf("item %d of %d: got %v", i, len(items), e)
		}
	}
}

func oneRoundTripPerNode(t *testing.T, d deployment) {
	s := open(t, d.Options)
	items, fills := many(t, s)
	if n, err := s.Fill(t.Context(), fills); n != len(items) || err != nil {
		t.Fatalf("filled %d of %d, error %v", n, len(items), err)
	}
	holdsAll(t, s, items) // the connections are open and the slots are known now
	reads := func(c *redis.Client) (n int) {
		t.Helper()
		info, err := c.InfoMap(t.Context(), "stats").Result()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(info["Stats"]["total_reads_processed"], &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := make([]int, len(d.servers))
	for i, c := range d.servers {
		c.ConfigResetStat(t.Context())
		before[i] = reads(c)
	}
	holdsAll(t, s, items)
	for i, c := range d.servers {
		stats := c.Info(t.Context(), "commandstats").Val()
		if !strings.Contains(stats, "cmdstat_get:") || strings.Contains(stats, "cmdstat_mget") || strings.Contains(stats, "cmdstat_eval") {
			t.Errorf("node %d served a batch with\n%s", i, stats)
		}
		// A hundred GETs take 5 kB, which fits into two packets.
		if n := reads(c) - before[i]; n > 10 {
			t.Errorf("node %d: got %d reads for a third of a batch, want at most 10", i, n)
		}
	}
}

func scriptsAreSentAgain(t *testing.T, d deployment) {
	s := open(t, d.Options)
	_, fills := many(t, s)
	if n, err := s.Fill(t.Context(), fills[:150]); n != 150 || err != nil {
		t.Fatalf("filled %d of 150, error %v", n, err)
	}
	d.servers[1].ScriptFlush(t.Context())
	if n, err := s.Fill(t.Context(), fills[150:]); n != 150 || err != nil {
		t.Errorf("filled %d of 150, error %v", n, err)
	}
}

func movedSlotsAreFollowed(t *testing.T, d deployment, c *testservers.Cluster) {
	s := open(t, d.Options)
	items, fills := many(t, s)
	if n, err := s.Fill(t.Context(), fills); n != len(items) || err != nil {
		t.Fatalf("filled %d of %d, error %v", n, len(items), err)
	}
	for _, item := range items[:2] {
		slot := c.Slot(string(item.Key))
		c.MoveSlot(slot, (c.Owner(slot)+1)%len(c.Nodes))
	}
	holdsAll(t, s, items)
	for _, item := range items[2:4] {
		slot := c.Slot(string(item.Key))
		c.MoveSlot(slot, (c.Owner(slot)+1)%len(c.Nodes))
	}
	var ev cache.Eviction
	for _, item := range items {
		ev.Keys = append(ev.Keys, item.Key)
	}
	if n, err := s.Evict(t.Context(), cache.Write{Eviction: ev}); n != len(items) || err != nil {
		t.Errorf("evicted %d of %d, error %v", n, len(items), err)
	}
	for i, ticket := range begin(t, s, items...) {
		if ticket == nil {
			t.Errorf("item %d got no ticket", i)
		}
	}
}

// While a slot moves, a value that was loaded may not be stored, but no call fails.
func openSlotsAreServed(t *testing.T, d deployment, c *testservers.Cluster) {
	s := open(t, d.Options)
	item := cache.Item{Key: cache.Entity("user", rand.Text()).Part("stock"), MaxAge: time.Minute}
	fill(t, s, item, begin(t, s, item)[0], `"old"`)
	slot := c.Slot(string(item.Key))
	before := begin(t, s, cache.Item{Key: item.Key + "2", MaxAge: time.Minute})[0]
	m := c.StartMove(slot, (c.Owner(slot)+1)%len(c.Nodes))
	want := func(data string) {
		t.Helper()
		entries, err := s.Get(t.Context(), []cache.Item{item})
		if err != nil || data == "" && entries[0] != nil || data != "" && (entries[0] == nil || string(entries[0].Data) != data) {
			t.Errorf("got %v, error %v, want %s", entries, err, data)
		}
	}
	want(`"old"`)
	fill(t, s, cache.Item{Key: item.Key + "2", MaxAge: time.Minute}, before, `"2"`)
	for range 2 {
		if _, err := s.Evict(t.Context(), cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{item.Key}}}); err != nil {
			t.Fatal(err)
		}
		want("")
		fill(t, s, item, begin(t, s, item)[0], `"new"`)
	}
	m.Finish()
	if _, err := s.Evict(t.Context(), cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{item.Key}}}); err != nil {
		t.Fatal(err)
	}
	if fill(t, s, item, begin(t, s, item)[0], `"newer"`) != 1 {
		t.Error("a fill after the move was refused")
	}
	want(`"newer"`)
}

// One fill of a batch cannot be executed while the slot moves, and another is redirected. Neither
// is sent to two nodes at once, which the race detector would report.
func fillsGoToOneNodeAtATime(t *testing.T, d deployment, c *testservers.Cluster) {
	s := open(t, d.Options)
	user := cache.Entity("user", rand.Text())
	torn := cache.Item{Key: user.Part("stock"), MaxAge: time.Minute}
	moved := cache.Item{Key: user.Part("price"), MaxAge: time.Minute}
	for _, item := range []cache.Item{torn, moved} {
		fill(t, s, item, begin(t, s, item)[0], `"old"`)
	}
	tickets := begin(t, s, torn, moved)
	slot := c.Slot(string(torn.Key))
	m := c.StartMove(slot, (c.Owner(slot)+1)%len(c.Nodes))
	m.Keys(string(torn.Key), string(moved.Key), moved.Key.Fence())
	now := time.Now()
	entry := &cache.Entry{Data: []byte(`"new"`), Loaded: now, Ends: now.Add(time.Minute)}
	n, err := s.Fill(t.Context(), []cache.Fill{{Item: torn, Ticket: tickets[0], Entry: entry}, {Item: moved, Ticket: tickets[1], Entry: entry}})
	if n != 1 || err != nil {
		t.Errorf("filled %d of 2, want the one that moved; error %v", n, err)
	}
	m.Finish()
}

// The fence is on the new node, which hangs, and the key is still on the old one. If the key were
// already unlinked, the load that holds the fence could put its old value back.
func evictionsKeepTheirOrder(t *testing.T, d deployment, c *testservers.Cluster) {
	s := open(t, d.Options)
	item := cache.Item{Key: cache.Entity("user", rand.Text()).Part("stock"), MaxAge: time.Minute}
	fill(t, s, item, begin(t, s, item)[0], `1`)
	begin(t, s, item)
	slot := c.Slot(string(item.Key))
	from := c.Owner(slot)
	to := (from + 1) % len(c.Nodes)
	m := c.StartMove(slot, to)
	m.Keys(string(item.Key) + ":g")
	c.Nodes[to].Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := s.Evict(ctx, cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{item.Key}}})
	there := d.servers[from].Exists(t.Context(), string(item.Key)).Val()
	c.Nodes[to].Resume()
	if err == nil || there != 1 {
		t.Errorf("got %d keys and error %v, want the key to remain until its fence is unlinked", there, err)
	}
	eventually(t, func(ctx context.Context) error {
		_, err := s.Evict(ctx, cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{item.Key}}})
		return err
	})
	if n := d.servers[from].Exists(t.Context(), string(item.Key)).Val(); n != 0 {
		t.Error("the key exists after its eviction")
	}
	m.Finish()
}

// The slots of a master that stopped are unavailable until its replica is promoted. No gateway
// needs to restart.
func TestClusterFailover(t *testing.T) {
	t.Parallel()
	d, c := cluster(t)
	owner := c.Owner(c.Slot(string(stock.Key)))
	c.AddReplica(owner)
	d.Timeout = 0 // the default
	s := open(t, d.Options)
	eventually(t, func(ctx context.Context) error { return works(ctx, s) })
	c.Nodes[owner].Stop()
	if works(t.Context(), s) == nil {
		t.Error("a call of the stopped master succeeded")
	}
	eventually(t, func(ctx context.Context) error { return works(ctx, s) })
}

// works returns nil if the store accepts a value and returns it.
func works(ctx context.Context, s cache.Store) error {
	if _, err := s.Evict(ctx, cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{stock.Key}, Tags: user.Tags}}); err != nil {
		return err
	}
	item := cache.Item{Key: stock.Key, Tags: user.Tags, MaxAge: time.Minute}
	tickets, err := s.Begin(ctx, []cache.Item{item})
	if err != nil {
		return err
	}
	now := time.Now()
	entry := &cache.Entry{Data: []byte(`1`), Loaded: now, Ends: now.Add(time.Minute)}
	if n, err := s.Fill(ctx, []cache.Fill{{Item: item, Ticket: tickets[0], Entry: entry}}); err != nil || n != 1 {
		return errors.Join(err, errors.New("the fill was refused"))
	}
	entries, err := s.Get(ctx, []cache.Item{item})
	if err == nil && entries[0] == nil {
		err = errors.New("the value is gone")
	}
	return err
}
