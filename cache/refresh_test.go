package cache_test

import (
	"testing"
	"time"

	"fieldcache/cache"
)

// hit reads by way of a batch, as fields do: that is what refreshes and audits.
func (p *process) hit(t testing.TB, k cache.Key) cache.Result {
	t.Helper()
	got, err := p.NewBatch().Load(t.Context(), []cache.Request{p.request(k)})
	if err != nil {
		t.Fatal(err)
	}
	return got[0]
}

// An entry with many hits is loaded again before it expires, by one load, and no reader waits for
// it.
func TestRefresh(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, redis := newDatabase(1), newFakeRedis(1)
		d.seed("user:1", "old")
		p := begin(t, d, redis)
		first := p.reads(t, "user:1", "old", cache.SourceTier)
		age := first.Ends.Sub(first.Loaded)
		time.Sleep(age * 85 / 100)
		p.hit(t, "user:1")
		d.loaded(t, 1)
		time.Sleep(age * 7 / 100)
		for range 50 {
			if r := p.hit(t, "user:1"); r.Tier != cache.MemoryTier {
				t.Errorf("a reader waited for tier %d", r.Tier)
			}
		}
		time.Sleep(age / 10)
		if r := p.hit(t, "user:1"); r.Tier != cache.MemoryTier || !r.Ends.After(first.Ends) {
			t.Errorf("after the first one's end: %+v", r)
		}
		d.loaded(t, 2)
		if n := p.Stats().Refreshes.Load(); n != 1 {
			t.Errorf("%d refreshes, want 1", n)
		}
	})
}

func TestAudit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, redis := newDatabase(1), newFakeRedis(1)
		d.seed("user:1", "old")
		p := begin(t, d, redis, func(o *cache.Options) { o.Audit = 1 })
		counts := func(audits, stale uint64) {
			t.Helper()
			time.Sleep(5 * time.Second)
			if a, s := p.Stats().Audits.Load(), p.Stats().AuditsStale.Load(); a != audits || s != stale {
				t.Errorf("%d audits, %d stale; want %d, %d", a, s, audits, stale)
			}
		}
		p.reads(t, "user:1", "old", cache.SourceTier)
		for range 3 { // there is one audit a second
			p.hit(t, "user:1")
			time.Sleep(100 * time.Millisecond)
		}
		counts(1, 0)
		// A write that is heard of a moment later is no fault.
		d.run(set("user:1", "new"))
		p.hit(t, "user:1")
		counts(2, 0)
		p.reads(t, "user:1", "new", cache.SourceTier)
		// Triggers that are switched off are one.
		d.seed("user:1", "newer")
		p.hit(t, "user:1")
		counts(3, 1)
	})
}
