package cache_test

import (
	"slices"
	"testing"
	"time"

	"fieldcache/cache"
)

// next is what a watcher is told within a second of the bubble.
func next(t *testing.T, w *cache.Watcher) cache.Event {
	t.Helper()
	select {
	case e := <-w.C():
		return e
	case <-time.After(time.Second):
		t.Fatal("no eviction is told")
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
			t.Errorf("a mutation's is %+v", e)
		}
		if e := next(t, there); e.Cause != cache.ByNotice && e.Cause != cache.ByOutbox || !slices.Equal(e.Keys, []cache.Key{"user:1"}) {
			t.Errorf("that of another gateway's mutation is %+v", e)
		}
		if _, err := writer.EvictByHand(t.Context(), cache.Eviction{Tags: []cache.Tag{"{users}"}}); err != nil {
			t.Fatal(err)
		}
		if e := next(t, here); e.Cause != cache.ByHand || !slices.Equal(e.Tags, []cache.Tag{"{users}"}) {
			t.Errorf("that by hand is %+v", e)
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
			t.Errorf("a watcher that was closed is told of %d evictions and missed %d", len(there.C()), there.Missed())
		}
		if got := uint64(len(here.C())) + here.Missed(); len(here.C()) != 8 || here.Missed() < 12 {
			t.Errorf("of 20 evictions and more a slow watcher has %d, and knows of %d", len(here.C()), got)
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
		t.Error("memory does not have it")
	}
	bypass := request("user:1")
	bypass.MaxAge = 0
	load(c, bypass)
	other := open(t, far)
	r := s.request("user:1")
	r.Meter = c.Meter("User")
	load(other, r)
	load(c, s.request("user:1")) // nobody counts it

	m := c.Meter("User")
	for what, n := range map[string][2]uint64{
		"missed": {m.Missed.Load(), 2}, "from memory": {m.Memory.Load(), 2}, "bypassed": {m.Bypassed.Load(), 1},
		"from the shared tier": {m.Shared.Load(), 1}, "hits": {m.Hits(), 3}, "failed": {m.Failed.Load(), 0},
	} {
		if n[0] != n[1] {
			t.Errorf("%s: %d, want %d", what, n[0], n[1])
		}
	}
	c.Meter("Country")
	var names []string
	for _, m := range c.Meters() {
		names = append(names, m.Coordinate)
	}
	if !slices.Equal(names, []string{"Country", "User"}) {
		t.Errorf("the meters are %v", names)
	}
}

// One of so many hits is told of, of whatever tier, and no miss; nobody is told once it ends.
func TestHitsAreSampled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := newDatabase(1)
		d.seed("user:1", "v")
		d.seed("user:2", "v")
		p := begin(t, d, newFakeRedis(1))
		told := map[cache.Key]int{}
		p.SampleHits(1, func(k cache.Key) { told[k]++ })
		for range 10 {
			if _, err := p.NewBatch().Load(t.Context(), []cache.Request{p.request("user:1"), p.request("user:2")}); err != nil {
				t.Fatal(err)
			}
		}
		if told["user:1"] != 9 || told["user:2"] != 9 || len(told) != 2 {
			t.Errorf("of 10 reads of which the first is a miss %v are told of", told)
		}
		p.SampleHits(10, func(k cache.Key) { told[k]++ })
		for range 10_000 {
			if _, ok, _ := p.PeekSettled(p.request("user:1").Item); !ok {
				t.Fatal("it is not cached")
			}
		}
		if n := told["user:1"] - 9; n < 700 || n > 1300 {
			t.Errorf("of 10000 hits %d are told of, want about a tenth", n)
		}
		p.SampleHits(0, nil)
		before := told["user:1"]
		p.PeekSettled(p.request("user:1").Item)
		if told["user:1"] != before {
			t.Error("nobody wants to know any more, and is told")
		}
	})
}

// Of what a response asked for, the coordinates of which nothing was loaded are counted as saved.
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
			time.Sleep(time.Second) // what the next one finds is older than it is
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
				t.Errorf("of %v %d coordinates are asked and %d saved, want %d and %d", c.keys, len(deps.Asked), deps.Saved, c.asked, c.saved)
			}
			ctx, again := cache.Collect(t.Context())
			cache.CollectorOf(ctx).Use(deps)
			if d := again.Deps(); len(d.Asked) != c.asked || d.Saved != c.asked {
				t.Errorf("of a part that is kept whole %d coordinates are asked and %d saved, want %d", len(d.Asked), d.Saved, c.asked)
			}
		}
	})
}
