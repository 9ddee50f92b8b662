package cache_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"fieldcache/cache"
)

// Memory may lag behind another gateway's write by the lease, but not longer.
func TestLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		far := &shared{Store: memory(t)}
		writer, reader, s := open(t, far), open(t, far), users("1")
		want(t, reader, s.request("user:1"), "1")
		s.set("user:1", "new")
		if _, err := writer.Evict(t.Context(), cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{"user:1"}}}); err != nil {
			t.Fatal(err)
		}
		want(t, writer, s.request("user:1"), "new")
		time.Sleep(time.Second)
		want(t, reader, s.request("user:1"), "new")
	})
}

// A load that began before a write does not fill the entry that the write evicted.
func TestALoadDuringAnEviction(t *testing.T) {
	t.Parallel()
	tiers(t, func(t *testing.T, far *shared) {
		c, s := openTiers(t, far), users("1")
		s.pause = func() { // the old row has been read; now the write happens
			s.mu.Lock()
			s.pause = nil
			s.mu.Unlock()
			s.set("user:1", "new")
			if _, err := c.Evict(t.Context(), cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{"user:1"}}}); err != nil {
				t.Error(err)
			}
		}
		want(t, c, s.request("user:1"), "1")
		want(t, c, s.request("user:1"), "new")
		want(t, c, s.request("user:1"), "new")
		s.loads(t, 2)
		if far != nil && c.Stats().Refused.Load() != 1 {
			t.Errorf("got %d refused fills, want 1", c.Stats().Refused.Load())
		}
	})
}

func TestAListDuringAnEviction(t *testing.T) {
	t.Parallel()
	tiers(t, func(t *testing.T, far *shared) {
		const key, tag = cache.Key("{users}:list:first=2"), cache.Tag("{users}")
		c, s := openTiers(t, far), &table{rows: map[cache.Key]string{key: "1,2"}}
		s.pause = func() {
			s.mu.Lock()
			s.pause = nil
			s.mu.Unlock()
			s.set(key, "2,3")
			if _, err := c.Evict(t.Context(), cache.Write{Eviction: cache.Eviction{Tags: []cache.Tag{tag}}}); err != nil {
				t.Error(err)
			}
		}
		want(t, c, s.request(key, tag), "1,2")
		want(t, c, s.request(key, tag), "2,3")
		want(t, c, s.request(key, tag), "2,3")
		s.loads(t, 2)
	})
}

// A reader may copy the old value from the shared tier back into memory, after its eviction from
// memory and before its eviction from the shared tier. That copy is not served either.
func TestAReaderBetweenTheTiersEvictions(t *testing.T) {
	t.Parallel()
	far := &shared{Store: memory(t)}
	c, s := open(t, far), users("1")
	want(t, c, s.request("user:1"), "1")
	s.set("user:1", "new")
	far.evicting = func() { want(t, c, s.request("user:1"), "1") } // the write is not acknowledged yet: the old value is correct
	if _, err := c.Evict(t.Context(), cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{"user:1"}}}); err != nil {
		t.Fatal(err)
	}
	want(t, c, s.request("user:1"), "new")
}

// With the shared tier down, every read is served from memory or from the source. The tier is
// called once, and then not called for a while.
func TestSharedTierDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		far := &shared{Store: memory(t)}
		c, s := open(t, far), users("1", "2", "3")
		far.setDown(true)
		want(t, c, s.request("user:1"), "1")
		want(t, c, s.request("user:1"), "1")
		want(t, c, s.request("user:2"), "2")
		s.loads(t, 2)
		if calls := far.took(); !slices.Equal(calls, []string{"get"}) {
			t.Errorf("got calls %v of a tier that is down, want one get", calls)
		}
		if !c.Sick() || c.Stats().Faults.Load() != 1 || c.Stats().Skipped.Load() != 1 {
			t.Errorf("got sick %v, %d faults, %d skipped calls, want true, 1, 1", c.Sick(), c.Stats().Faults.Load(), c.Stats().Skipped.Load())
		}
		far.setDown(false)
		time.Sleep(time.Second)
		want(t, c, s.request("user:3"), "3")
		if calls := far.took(); c.Sick() || !slices.Equal(calls, []string{"get", "begin", "fill"}) {
			t.Errorf("after the recovery: got sick %v, calls %v, want false and get, begin, fill", c.Sick(), calls)
		}
	})
}

// A call that its caller abandons does not open the breaker.
func TestACallerWhoGivesUp(t *testing.T) {
	t.Parallel()
	far := &shared{Store: memory(t)}
	c, s := open(t, far), users("1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	far.setDown(true)
	c.Load(ctx, []cache.Request{s.request("user:1")})
	if c.Sick() {
		t.Error("the breaker is open")
	}
}

// Without an outbox no other gateway can execute a failed eviction, so Evict returns the error.
func TestALostEviction(t *testing.T) {
	t.Parallel()
	far := &shared{Store: memory(t)}
	c, s := open(t, far), users("1")
	want(t, c, s.request("user:1"), "1")
	far.setDown(true)
	s.set("user:1", "new")
	if _, err := c.Evict(t.Context(), cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{"user:1"}}}); !errors.Is(err, errDown) {
		t.Fatalf("got error %v, want errDown", err)
	}
	want(t, c, s.request("user:1"), "new") // memory was evicted nevertheless
}

// A client that disconnects does not undo the commit, so the eviction is executed.
func TestEvictOutlivesItsCaller(t *testing.T) {
	t.Parallel()
	c, s := open(t, &shared{Store: memory(t)}), users("1")
	want(t, c, s.request("user:1"), "1")
	s.set("user:1", "new")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := c.Evict(ctx, cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{"user:1"}}}); n != 1 || err != nil {
		t.Errorf("evicted %d entries, error %v; want 1, nil", n, err)
	}
	want(t, c, s.request("user:1"), "new")
}
