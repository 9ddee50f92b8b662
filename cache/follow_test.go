package cache_test

import (
	"slices"
	"testing"
	"time"

	"fieldcache/cache"
)

// A write that bypasses the gateways, or whose gateway died before it evicted, is visible
// everywhere within half a second. One gateway evicts it from the shared tier, once.
func TestAWriteThatNobodyEvicted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, redis := newDatabase(1), newFakeRedis(1)
		d.seed("user:1", "old")
		a, b := begin(t, d, redis), begin(t, d, redis)
		for range 20 {
			d.seed("user:1", "old")
			a.read(t, "user:1")
			b.read(t, "user:1")
			d.run(set("user:1", "new"))
			time.Sleep(500 * time.Millisecond)
			for _, p := range []*process{a, b} {
				if r := p.read(t, "user:1"); r.Value != "new" {
					t.Errorf("half a second after the write: got %v, want new", r.Value)
				}
			}
			time.Sleep(300 * time.Millisecond)
			d.run(set("user:1", "old"))
			time.Sleep(time.Second)
		}
		if n := d.undone(); n != 0 {
			t.Errorf("%d evictions were lost, want 0", n)
		}
		if n := a.Stats().Relayed.Load() + b.Stats().Relayed.Load(); n != 40 {
			t.Errorf("%d writes were relayed, want each of the 40 once", n)
		}
	})
}

// Any running gateway relays the evictions that the shared tier did not execute, once the tier is
// back.
func TestADeadGatewaysEvictionIsRelayed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, redis := newDatabase(1), newFakeRedis(1)
		d.seed("user:1", "old")
		writer, other := start(t, d, redis), begin(t, d, redis)
		writer.reads(t, "user:1", "old", cache.SourceTier)
		redis.set(refuses)
		writer.write(t, set("user:1", "new"))
		writer.end(t)()
		if redis.entry(cache.Item{Key: "user:1"}) != `"old"` {
			t.Fatal("the shared tier executed an eviction that it should have refused")
		}
		redis.set(up)
		time.Sleep(6 * time.Second)
		if got := redis.entry(cache.Item{Key: "user:1"}); got != "" || d.undone() != 0 {
			t.Errorf("the shared tier holds %s and %d evictions are pending, want neither", got, d.undone())
		}
		if n := other.Stats().Relayed.Load(); n != 1 {
			t.Errorf("%d writes were relayed, want 1", n)
		}
	})
}

// The evictions of a transaction may take several rows of the outbox. Each is a message of its own
// when it is relayed.
func TestATransactionInSeveralRows(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, redis := newDatabase(1), newFakeRedis(1)
		keys := []cache.Key{"user:1", "user:2", "user:3"}
		a, b := begin(t, d, redis), begin(t, d, redis)
		for n := range 20 {
			w := write{rows: map[cache.Key]string{}}
			for _, k := range keys {
				d.seed(k, "old")
				w.rows[k] = "new"
				w.evictions = append(w.evictions, cache.Eviction{Keys: []cache.Key{k}})
			}
			time.Sleep(time.Duration(n) * 17 * time.Millisecond) // at a different moment between two polls each time
			for _, p := range []*process{a, b} {
				if _, err := p.Evict(t.Context(), cache.Write{Eviction: cache.Eviction{Keys: keys}}); err != nil {
					t.Fatal(err)
				}
				for _, k := range keys {
					p.read(t, k)
				}
			}
			b.gate.freeze() // so that it receives the messages before it polls
			d.run(w)
			time.Sleep(700 * time.Millisecond)
			b.gate.thaw()
			time.Sleep(400 * time.Millisecond)
			for _, p := range []*process{a, b} {
				for _, k := range keys {
					if r := p.read(t, k); r.Value != "new" {
						t.Fatalf("more than a lease after the write: %s is %v, want new", k, r.Value)
					}
				}
			}
		}
	})
}

// A gateway that was frozen while writes were pruned cannot know which they were, so it evicts
// everything.
func TestWritesArePrunedBeforeAGatewayHeard(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, redis := newDatabase(1), newFakeRedis(1)
		d.seed("user:1", "old")
		frozen, other := begin(t, d, redis), begin(t, d, redis)
		frozen.reads(t, "user:1", "old", cache.SourceTier)
		redis.save()
		frozen.gate.freeze()
		other.write(t, set("user:1", "new"))
		time.Sleep(5 * time.Second)
		d.mu.Lock()
		d.prune(0, true)
		left := len(d.outbox)
		d.mu.Unlock()
		if left != 0 {
			t.Fatalf("got %d rows in the outbox, want 0", left)
		}
		redis.restart() // with the old entry
		frozen.gate.thaw()
		time.Sleep(time.Second)
		frozen.reads(t, "user:1", "new", cache.SourceTier)
		if n := frozen.Stats().Forgotten.Load(); n != 1 {
			t.Errorf("got Forgotten = %d, want 1", n)
		}
		begin(t, d, redis).reads(t, "user:1", "new", cache.SharedTier)
	})
}

// An old dump of Redis is not served, not even by a gateway that starts after the write was pruned.
func TestAnOldDump(t *testing.T) {
	for name, prune := range map[string]bool{"while the write is remembered": false, "after the write was pruned": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d, redis := newDatabase(1), newFakeRedis(1)
				d.seed("user:1", "old")
				d.seed("{users}:list", "old")
				p, tag := begin(t, d, redis), cache.Tag("{users}")
				p.reads(t, "user:1", "old", cache.SourceTier)
				p.reads(t, "{users}:list", "old", cache.SourceTier, tag)
				redis.save()
				p.write(t, set("user:1", "new"))
				p.write(t, setList("{users}:list", tag, "new"))
				time.Sleep(time.Second)
				if prune {
					d.mu.Lock()
					d.prune(0, true)
					d.mu.Unlock()
				}
				for range 2 {
					redis.restart()
					for _, p := range []*process{p, begin(t, d, redis)} {
						p.reads(t, "user:1", "new", cache.SourceTier)
						p.reads(t, "{users}:list", "new", cache.SourceTier, tag)
						redis.restart()
					}
					// Repeat with an empty memory tier.
					p = begin(t, d, redis)
				}
			})
		})
	}
}

// A database that goes back to an earlier state evicts everything cached.
func TestTheDatabaseGoesBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := newDatabase(1)
		d.seed("user:1", "lost")
		p := begin(t, d, nil)
		d.run(set("user:2", "x"))
		time.Sleep(time.Second)
		p.reads(t, "user:1", "lost", cache.SourceTier)
		p.reads(t, "user:1", "lost", cache.MemoryTier)
		d.mu.Lock()
		d.newest, d.next = 50, 51
		d.mu.Unlock()
		d.seed("user:1", "found")
		time.Sleep(time.Second)
		p.reads(t, "user:1", "found", cache.SourceTier)
		if n := p.Stats().Forgotten.Load(); n != 1 {
			t.Errorf("got Forgotten = %d, want 1", n)
		}
	})
}

// A value that was loaded into memory before the first poll may lack writes that the outbox has
// pruned since, so it is evicted.
func TestTheFirstPollComesLate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := newDatabase(1)
		d.seed("user:1", "old")
		outbox := &deaf{}
		p := begin(t, d, nil, func(o *cache.Options) { outbox.Outbox, o.Outbox = o.Outbox, outbox })
		p.reads(t, "user:1", "old", cache.SourceTier)
		d.run(set("user:1", "new"))
		time.Sleep(10 * time.Second)
		d.mu.Lock()
		d.prune(0, false)
		d.mu.Unlock()
		outbox.respondsTo(1 << 30)
		time.Sleep(time.Second)
		p.reads(t, "user:1", "new", cache.SourceTier)
	})
}

// Messages deliver the writes of other gateways sooner than polls do.
func TestMessages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, redis := newDatabase(1), newFakeRedis(1)
		d.seed("user:1", "old")
		writer, other := begin(t, d, redis), begin(t, d, redis)
		other.reads(t, "user:1", "old", cache.SourceTier)
		time.Sleep(time.Second)
		var took []time.Duration
		for range 20 {
			time.Sleep(130 * time.Millisecond)
			other.read(t, "user:1")
			writer.write(t, set("user:1", "new"))
			began := time.Now()
			for other.read(t, "user:1").Tier == cache.MemoryTier {
				time.Sleep(time.Millisecond)
			}
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		if took[len(took)/2] > 10*time.Millisecond {
			t.Errorf("messages took %v, want a median of at most 10ms", took)
		}
	})
}

// Requests for rows that do not exist do not fill the shared tier with entries for absent rows.
func TestAbsentRowsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, redis := newDatabase(1), newFakeRedis(1)
		p := begin(t, d, redis)
		requests := make([]cache.Request, 0, 1000)
		for i := range 20_000 {
			requests = append(requests, p.request(cache.Entity("user", string(rune('一'+i)))))
			if len(requests) == cap(requests) {
				p.Cache.Load(t.Context(), requests)
				requests = requests[:0]
			}
		}
		redis.mu.Lock()
		n := len(redis.held.entries)
		redis.mu.Unlock()
		if n < 10_000 || n > 10_200 {
			t.Errorf("the shared tier holds %d of 20000 absent rows, want about 10000", n)
		}
	})
}

// A manual eviction reaches the memory of every gateway.
func TestEvictByHand(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, redis := newDatabase(1), newFakeRedis(1)
		d.seed("user:1", "old")
		a, b := begin(t, d, redis), begin(t, d, redis)
		redis.lose(true)
		a.reads(t, "user:1", "old", cache.SourceTier)
		b.reads(t, "user:1", "old", cache.SharedTier)
		d.seed("user:1", "new") // without a record in the outbox
		if n, err := a.EvictByHand(t.Context(), cache.Eviction{Keys: []cache.Key{"user:1"}}); n != 1 || err != nil {
			t.Errorf("evicted %d entries, error %v; want 1, nil", n, err)
		}
		a.reads(t, "user:1", "new", cache.SourceTier)
		time.Sleep(time.Second)
		b.reads(t, "user:1", "new", cache.SharedTier)
	})
}
