package cache_test

import (
	"slices"
	"testing"
	"time"

	"fieldcache/cache"
)

// next returns the next event of a watcher, which must arrive within a second.
func next(t *testing.T, w *cache.Watcher) cache.Event {
	t.Helper()
	select {
	case e := <-w.C():
		return e
	case <-time.After(time.Second):
		t.Fatal("got no event within a second")
		return cache.Event{}
	}
}

func TestEvictionsAreTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, redis := newDatabase(1), newFakeRedis(1)
		d.seed("user:1", "old")
		writer, other := begin(t, d, redis), begin(t, d, redis)
		here, there := writer.WatchEvictions(8), other.WatchEvictions(8)
		defer here.Close()

		writer.write(t, set("user:1", "new"))
		if e := next(t, here); e.Cause != cache.ByMutation || !slices.Equal(e.Keys, []cache.Key{"user:1"}) || e.Xid == 0 || e.At.IsZero() {
			t.Errorf("got %+v for the mutation", e)
		}
		if e := next(t, there); e.Cause != cache.ByNotice && e.Cause != cache.ByOutbox || !slices.Equal(e.Keys, []cache.Key{"user:1"}) {
			t.Errorf("got %+v for the mutation of another gateway", e)
		}
		if _, err := writer.EvictByHand(t.Context(), cache.Eviction{Tags: []cache.Tag{"{users}"}}); err != nil {
			t.Fatal(err)
		}
		if e := next(t, here); e.Cause != cache.ByHand || !slices.Equal(e.Tags, []cache.Tag{"{users}"}) {
			t.Errorf("got %+v for the manual eviction", e)
		}

		there.Close()
		there.Close()
		for len(there.C()) > 0 {
			<-there.C()
		}
		for range 20 {
			writer.write(t, set("user:1", "newer"))
			time.Sleep(300 * time.Millisecond)
		}
		if len(there.C()) != 0 || there.Missed() != 0 {
			t.Errorf("a closed watcher got %d evictions and missed %d, want 0", len(there.C()), there.Missed())
		}
		if got := uint64(len(here.C())) + here.Missed(); len(here.C()) != 8 || here.Missed() < 12 {
			t.Errorf("a slow watcher has %d events, and with the missed ones %d; want 8 and at least 20", len(here.C()), got)
		}
	})
}

func TestMeters(t *testing.T) {
	t.Parallel()
	far := &shared{Store: memory(t)}
	c, s := open(t, far), users("1", "2")
	request := func(key cache.Key) cache.Request {
		r := s.request(key)
		r.Meter = c.Meter("User")
		return r
	}
	load := func(c *cache.Cache, requests ...cache.Request) {
		t.Helper()
		if _, err := c.NewBatch().Load(t.Context(), requests); err != nil {
			t.Fatal(err)
		}
	}
	load(c, request("user:1"), request("user:2"))
	load(c, request("user:1"))
	if _, ok, _ := c.PeekSettled(request("user:1").Item); !ok {
		t.Error("the value is not in memory")
	}
	bypass := request("user:1")
	bypass.MaxAge = 0
	load(c, bypass)
	other := open(t, far)
	r := s.request("user:1")
	r.Meter = c.Meter("User")
	load(other, r)
	load(c, s.request("user:1")) // without a meter

	m := c.Meter("User")
	for what, n := range map[string][2]uint64{
		"missed": {m.Missed.Load(), 2}, "from memory": {m.Memory.Load(), 2}, "bypassed": {m.Bypassed.Load(), 1},
		"from the shared tier": {m.Shared.Load(), 1}, "hits": {m.Hits(), 3}, "failed": {m.Failed.Load(), 0},
	} {
		if n[0] != n[1] {
			t.Errorf("%s: got %d, want %d", what, n[0], n[1])
		}
	}
	c.Meter("Country")
	var names []string
	for _, m := range c.Meters() {
		names = append(names, m.Coordinate)
	}
	if !slices.Equal(names, []string{"Country", "User"}) {
		t.Errorf("got meters of %v, want Country and User", names)
	}
}

// SampleHits reports about one in every N hits, of either tier, and no misses, until it is called
// again.
func TestHitsAreSampled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := newDatabase(1)
		d.seed("user:1", "v")
		d.seed("user:2", "v")
		p := begin(t, d, newFakeRedis(1))
		reported := map[cache.Key]int{}
		p.SampleHits(1, func(k cache.Key) { reported[k]++ })
		for range 10 {
			if _, err := p.NewBatch().Load(t.Context(), []cache.Request{p.request("user:1"), p.request("user:2")}); err != nil {
				t.Fatal(err)
			}
		}
		if reported["user:1"] != 9 || reported["user:2"] != 9 || len(reported) != 2 {
			t.Errorf("got samples %v of 10 reads whose first is a miss, want 9 of each key", reported)
		}
		p.SampleHits(10, func(k cache.Key) { reported[k]++ })
		for range 10_000 {
			if _, ok, _ := p.PeekSettled(p.request("user:1").Item); !ok {
				t.Fatal("it is not cached")
			}
		}
		if n := reported["user:1"] - 9; n < 700 || n > 1300 {
			t.Errorf("got %d samples of 10000 hits, want about a tenth", n)
		}
		p.SampleHits(0, nil)
		before := reported["user:1"]
		p.PeekSettled(p.request("user:1").Item)
		if reported["user:1"] != before {
			t.Error("a hit was reported after sampling was switched off")
		}
	})
}

// A coordinate that a response requested counts as saved if nothing was loaded for it.
func TestCoordinatesSaved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := newDatabase(1)
		p := begin(t, d, newFakeRedis(1))
		users, products := p.Meter("User"), p.Meter("Product")
		load := func(keys map[cache.Key]*cache.Meter) cache.Deps {
			ctx, collector := cache.Collect(t.Context())
			var requests []cache.Request
			for k, m := range keys {
				d.seed(k, "v")
				r := p.request(k)
				r.Meter = m
				requests = append(requests, r)
			}
			if _, err := p.NewBatch().Load(ctx, requests); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second) // so that the next operation begins later than these loads
			return collector.Deps()
		}
		for _, c := range []struct {
			keys         map[cache.Key]*cache.Meter
			asked, saved int
		}{
			{map[cache.Key]*cache.Meter{"user:1": users, "user:2": users}, 1, 0},
			{map[cache.Key]*cache.Meter{"user:1": users, "user:2": users, "product:1": products}, 2, 1},
			{map[cache.Key]*cache.Meter{"user:1": users, "product:1": products}, 2, 2},
			{map[cache.Key]*cache.Meter{"user:1": users, "user:3": users}, 1, 0},
			{map[cache.Key]*cache.Meter{"user:1": nil}, 0, 0},
		} {
			deps := load(c.keys)
			if len(deps.Asked) != c.asked || deps.Saved != c.saved {
				t.Errorf("%v: got %d coordinates asked and %d saved, want %d and %d", c.keys, len(deps.Asked), deps.Saved, c.asked, c.saved)
			}
			ctx, again := cache.Collect(t.Context())
			cache.CollectorOf(ctx).Use(deps)
			if d := again.Deps(); len(d.Asked) != c.asked || d.Saved != c.asked {
				t.Errorf("a part that is cached whole: got %d coordinates asked and %d saved, want %d", len(d.Asked), d.Saved, c.asked)
			}
		}
	})
}
