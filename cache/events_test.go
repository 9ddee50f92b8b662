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
