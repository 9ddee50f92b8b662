package cache_test

import (
	"testing"
	"time"

	"fieldcache/cache"
)

// hit reads through a batch, as fields do: only batches refresh and audit.
func (p *process) hit(t testing.TB, k cache.Key) cache.Result {
	t.Helper()
	got, err := p.NewBatch().Load(t.Context(), []cache.Request{p.request(k)})
	if err != nil {
		t.Fatal(err)
	}
	return got[0]
}

// An entry with many hits is loaded again before it expires, by one load. No reader waits for it.
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
				t.Errorf("got tier %d, want memory: a reader waited", r.Tier)
			}
		}
		time.Sleep(age / 10)
		if r := p.hit(t, "user:1"); r.Tier != cache.MemoryTier || !r.Ends.After(first.Ends) {
			t.Errorf("after the first expiry: got %+v, want the new value from memory", r)
		}
		d.loaded(t, 2)
		if n := p.Stats().Refreshes.Load(); n != 1 {
			t.Errorf("got %d refreshes, want 1", n)
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
				t.Errorf("got %d audits, %d stale; want %d, %d", a, s, audits, stale)
			}
		}
		p.reads(t, "user:1", "old", cache.SourceTier)
		for range 3 { // at most one audit runs in a second
			p.hit(t, "user:1")
			time.Sleep(100 * time.Millisecond)
		}
		counts(1, 0)
		// A write that the gateway learns of a moment later is not counted as stale.
		d.run(set("user:1", "new"))
		p.hit(t, "user:1")
		counts(2, 0)
		p.reads(t, "user:1", "new", cache.SourceTier)
		// A write without a record in the outbox, as with triggers switched off, is.
		d.seed("user:1", "newer")
		p.hit(t, "user:1")
		counts(3, 1)
	})
}
