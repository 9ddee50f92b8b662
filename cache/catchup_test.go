package cache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fieldcache/cache"
)

// faltering is an outbox whose next polls fail, as many as failures says.
type faltering struct {
	cache.Outbox
	failures *atomic.Int64
}

func (f faltering) Poll(ctx context.Context, p cache.Page) (cache.News, error) {
	if f.failures.Load() > 0 && f.failures.Add(-1) >= 0 {
		return cache.News{}, errors.New("too many connections")
	}
	return f.Outbox.Poll(ctx, p)
}

// A write that only the outbox records is acknowledged by CatchUp once no gateway serves an older
// value, whatever fails meanwhile. CatchUp reports what allowed the acknowledgment.
func TestCatchingUp(t *testing.T) {
	const forever = 1 << 40
	for name, c := range map[string]struct {
		failures    int64 // of the writer's polls
		cut, alone  bool  // whether the writer, and the other gateway, cannot reach the shared tier
		least, most time.Duration
		by          string
	}{
		"all is well":                        {most: 150 * time.Millisecond},
		"a poll fails":                       {failures: 1, most: 400 * time.Millisecond},
		"polls fail":                         {failures: forever, least: time.Second, most: 1500 * time.Millisecond, by: "lease"},
		"another gateway may relay":          {cut: true, least: 200 * time.Millisecond, most: 1400 * time.Millisecond, by: "relay or lease"},
		"no gateway reaches the shared tier": {cut: true, alone: true, least: time.Second, most: 1400 * time.Millisecond, by: "lease"},
		"no gateway reaches the shared tier, and a poll fails": {failures: 1, cut: true, alone: true, least: time.Second, most: 1500 * time.Millisecond, by: "lease"},
		"a poll fails, and another gateway relays":             {failures: 1, cut: true, least: 200 * time.Millisecond, most: 1500 * time.Millisecond, by: "lease"},
		"no gateway reaches the shared tier, and polls fail":   {failures: forever, cut: true, alone: true, least: time.Second, most: 1500 * time.Millisecond, by: "lease"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d, redis := newDatabase(1), newFakeRedis(1)
				d.seed("user:1", "old")
				var failures atomic.Int64
				writer := begin(t, d, redis, func(o *cache.Options) { o.Outbox = faltering{o.Outbox, &failures} })
				other := begin(t, d, redis)
				writer.reads(t, "user:1", "old", cache.SourceTier)
				if r := other.read(t, "user:1"); r.Tier != cache.SharedTier {
					t.Fatalf("got %+v, want it from the shared tier", r)
				}
				writer.reads(t, "user:1", "old", cache.MemoryTier)
				time.Sleep(time.Second)
				writer.redis.setCut(c.cut)
				other.redis.setCut(c.alone)
				failures.Store(c.failures)
				d.run(set("user:1", "new"))
				ctx, collector := cache.Collect(t.Context())
				began := time.Now()
				err := writer.CatchUp(ctx)
				took := time.Since(began)
				if (err != nil) != (c.failures == forever) {
					t.Errorf("got error %v", err)
				}
				if took < c.least || took > c.most {
					t.Errorf("acknowledged after %v, want %v to %v", took, c.least, c.most)
				}
				by, stats := collector.Deps().Acknowledged, writer.Stats()
				if (by == "") != (c.by == "") || !strings.Contains(c.by, by) {
					t.Errorf("acknowledged by %q, want %q", by, c.by)
				}
				if relays, leases := stats.ByRelay.Load() > 0, stats.ByLease.Load() > 0; relays != (by == "relay") || leases != (by == "lease") {
					t.Errorf("got %d writes acknowledged by a relay and %d by the lease, want those that were reported", stats.ByRelay.Load(), stats.ByLease.Load())
				}
				if r := writer.read(t, "user:1"); r.Value != "new" {
					t.Errorf("the gateway that wrote serves %v from tier %v, want new", r.Value, r.Tier)
				}
				if r := other.read(t, "user:1"); r.Value != "new" && r.Tier != cache.MemoryTier {
					t.Errorf("the other gateway serves %v from tier %v, want new", r.Value, r.Tier)
				}
				failures.Store(0)
				writer.redis.setCut(false)
				other.redis.setCut(false)
				time.Sleep(8 * time.Second)
				for _, p := range []*process{writer, other} {
					if r := p.read(t, "user:1"); r.Value != "new" {
						t.Errorf("in the end: got %v from tier %v, want new", r.Value, r.Tier)
					}
				}
				ctx, collector = cache.Collect(t.Context())
				if err := writer.CatchUp(ctx); err != nil || collector.Deps().Acknowledged != "" {
					t.Errorf("with nothing to wait for: got error %v, acknowledged by %q", err, collector.Deps().Acknowledged)
				}
			})
		})
	}
}

// However long after a commit CatchUp is called, no other gateway serves an older value from the
// shared tier when it returns. A poll in between has only learned of the write, not evicted it
// there.
func TestCatchingUpAfterAPoll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, redis := newDatabase(1), newFakeRedis(1)
		writer, other := begin(t, d, redis), begin(t, d, redis)
		for i := range 40 {
			k := cache.Entity("user", fmt.Sprint(i))
			d.seed(k, "old")
			writer.reads(t, k, "old", cache.SourceTier)
			d.run(set(k, "new"))
			time.Sleep(time.Duration(i) * 5 * time.Millisecond)
			if err := writer.CatchUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			if r := other.read(t, k); r.Value != "new" {
				t.Errorf("%d ms after the commit: got %v from tier %d, want new", 5*i, r.Value, r.Tier)
			}
			time.Sleep(time.Second + time.Duration(7*i)*time.Millisecond)
		}
	})
}
