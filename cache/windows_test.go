package cache_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"fieldcache/cache"
)

// windowed reads an item that may be served after it expired.
func (p *process) windowed(t testing.TB, k cache.Key, revalidate, ifError time.Duration, tags ...cache.Tag) cache.Result {
	t.Helper()
	r := p.request(k, tags...)
	r.StaleWhileRevalidate, r.StaleIfError = revalidate, ifError
	got, err := p.NewBatch().Load(t.Context(), []cache.Request{r})
	if err != nil {
		t.Fatal(err)
	}
	return got[0]
}

// An expired value is served immediately within its window, from either tier, and loaded again by
// one load.
func TestStaleWhileRevalidate(t *testing.T) {
	const window = 10 * time.Minute
	for name, from := range map[string]cache.Tier{"from memory": cache.MemoryTier, "from the shared tier": cache.SharedTier} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d, redis := newDatabase(1), newFakeRedis(1)
				d.seed("user:1", "old")
				p := begin(t, d, redis)
				first := p.windowed(t, "user:1", window, 0)
				d.loaded(t, 1)
				time.Sleep(time.Until(first.Ends) + time.Minute)
				if from == cache.SharedTier {
					p = begin(t, d, redis)
				}
				for i := range 20 {
					r := p.windowed(t, "user:1", window, 0)
					if r.Value != "old" || !r.Revalidating && i == 0 || i == 0 && r.Tier != from {
						t.Fatalf("read %d after the expiry: got %+v, want old, revalidating", i, r)
					}
				}
				time.Sleep(time.Second)
				d.loaded(t, 2)
				if r := p.windowed(t, "user:1", window, 0); r.Revalidating || !r.Ends.After(first.Ends) || r.Tier != cache.MemoryTier {
					t.Errorf("after the refresh: got %+v, want a new value from memory", r)
				}
				if n := p.Stats().Revalidating.Load(); n == 0 || n > 20 {
					t.Errorf("got %d reads counted as revalidating, want 1 to 20", n)
				}
			})
		})
	}
}

func TestNothingIsAnsweredAfterItsWindow(t *testing.T) {
	for name, test := range map[string]struct {
		window  time.Duration
		after   time.Duration
		evict   bool
		restart bool
		tier    cache.Tier
	}{
		"no window":                    {0, time.Second, false, false, cache.SourceTier},
		"within":                       {time.Minute, 50 * time.Second, false, false, cache.MemoryTier},
		"after it":                     {time.Minute, 61 * time.Second, false, false, cache.SourceTier},
		"after it, in another process": {time.Minute, 61 * time.Second, false, true, cache.SourceTier},
		"evicted":                      {time.Minute, time.Second, true, false, cache.SourceTier},
		"evicted, at another process":  {time.Minute, time.Second, true, true, cache.SourceTier},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d, redis := newDatabase(1), newFakeRedis(1)
				d.seed("user:1", "old")
				p := begin(t, d, redis)
				first := p.windowed(t, "user:1", test.window, 0, "{users}")
				time.Sleep(time.Until(first.Ends) + test.after)
				if test.evict {
					p.write(t, setList("user:1", "{users}", "new"))
				}
				if test.restart {
					p = begin(t, d, redis)
				}
				r := p.windowed(t, "user:1", test.window, 0, "{users}")
				if r.Tier != test.tier || r.Revalidating != (test.tier == cache.MemoryTier) || test.evict && r.Value != "new" {
					t.Errorf("got %+v", r)
				}
				time.Sleep(time.Second) // a refresh may be in flight
			})
		})
	}
}

// Without an outbox memory is trusted for a lease beside the shared tier, regardless of windows.
func TestWindowsDoNotOutliveTheLeaseWithoutAnOutbox(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, redis := newDatabase(1), newFakeRedis(1)
		d.seed("user:1", "old")
		alone := func(o *cache.Options) { o.Outbox = nil }
		p, other := begin(t, d, redis, alone), begin(t, d, redis, alone)
		p.windowed(t, "user:1", time.Hour, 0)
		if _, err := other.EvictByHand(t.Context(), cache.Eviction{Keys: []cache.Key{"user:1"}}); err != nil {
			t.Fatal(err)
		}
		d.seed("user:1", "new")
		time.Sleep(2 * time.Second)
		if r := p.windowed(t, "user:1", time.Hour, 0); r.Value != "new" {
			t.Errorf("two leases after an eviction: got %+v, want new", r)
		}
	})
}

// An item may set for how long it is served stale if its source fails.
func TestStaleIfErrorOfAnItem(t *testing.T) {
	for name, test := range map[string]struct {
		option, item time.Duration
		after        time.Duration // after the expiry
		stale        bool
	}{
		"the option":           {time.Minute, 0, 30 * time.Second, true},
		"more than the option": {time.Minute, time.Hour, 20 * time.Minute, true},
		"but not beyond":       {time.Minute, time.Hour, 61 * time.Minute, false},
		"without the option":   {0, time.Hour, time.Minute, true},
		"less":                 {time.Minute, 10 * time.Second, 30 * time.Second, false},
		"never":                {time.Minute, -1, time.Second, false},
		"neither":              {0, 0, time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d, redis := newDatabase(1), newFakeRedis(1)
				d.seed("user:1", "old")
				p := begin(t, d, redis, func(o *cache.Options) { o.StaleIfError = test.option })
				first := p.windowed(t, "user:1", 0, test.item)
				time.Sleep(time.Until(first.Ends) + test.after)
				d.setDown(true)
				r := p.windowed(t, "user:1", 0, test.item)
				if got := r.Err == nil && r.Stale && r.Value == "old"; got != test.stale {
					t.Errorf("got stale %v, want %v: %+v", got, test.stale, r)
				}
			})
		})
	}
}

// After a soft eviction every process serves the value once more and loads it again.
func TestSoftEvictions(t *testing.T) {
	for name, ev := range map[string]cache.Eviction{
		"by key": {Keys: []cache.Key{"user:1"}, Soft: true},
		"by tag": {Tags: []cache.Tag{"{users}"}, Soft: true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d, redis := newDatabase(1), newFakeRedis(1)
				d.seed("user:1", "old")
				d.seed("user:2", "other")
				p, q := begin(t, d, redis), begin(t, d, redis)
				p.windowed(t, "user:1", 0, 0, "{users}")
				p.windowed(t, "user:2", 0, 0)
				q.windowed(t, "user:1", 0, 0, "{users}")
				d.loaded(t, 2)
				d.seed("user:1", "new")
				time.Sleep(time.Second)
				n, err := p.EvictByHand(t.Context(), ev)
				if err != nil || n != len(ev.Keys) {
					t.Errorf("evicted %d entries, error %v", n, err)
				}
				time.Sleep(time.Second)
				if r := p.windowed(t, "user:1", 0, 0, "{users}"); r.Value != "old" || !r.Revalidating {
					t.Errorf("next read: got %+v, want old, revalidating", r)
				}
				time.Sleep(time.Second)
				if r := p.windowed(t, "user:1", 0, 0, "{users}"); r.Value != "new" || r.Revalidating {
					t.Errorf("second read: got %+v, want new", r)
				}
				if r := q.windowed(t, "user:1", 0, 0, "{users}"); r.Value != "old" || !r.Revalidating {
					t.Errorf("next read at another process: got %+v, want old, revalidating", r)
				}
				time.Sleep(time.Second)
				if r := q.windowed(t, "user:1", 0, 0, "{users}"); r.Value != "new" || r.Revalidating {
					t.Errorf("second read at another process: got %+v, want new", r)
				}
				// The other process gets it from the shared tier or loads it: at most one load
				// each.
				if n := d.loadCount(); n < 3 || n > 4 {
					t.Errorf("got %d loads, want 3 or 4", n)
				}
				if r := p.windowed(t, "user:2", 0, 0); r.Revalidating {
					t.Errorf("another key: got %+v, want it not revalidating", r)
				}
				if n := d.undone(); n != 0 {
					t.Errorf("got %d writes to relay, want 0", n)
				}
				// A write evicts regardless of earlier soft evictions.
				p.EvictByHand(t.Context(), ev)
				p.write(t, setList("user:1", "{users}", "newest"))
				if r := p.windowed(t, "user:1", 0, 0, "{users}"); r.Value != "newest" {
					t.Errorf("after a write: got %+v, want newest", r)
				}
			})
		})
	}
}

// In shadow mode the source's value is served, and the tiers are filled and compared with it.
func TestShadow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, redis := newDatabase(1), newFakeRedis(1)
		d.seed("user:1", "a")
		user := func(o *cache.Options) { o.Shadow = func(coordinate string) bool { return coordinate == "User" } }
		p := begin(t, d, redis, user)
		read := func(want string, hits, differences uint64) {
			t.Helper()
			r := p.request("user:1")
			r.Meter = p.Meter("User")
			ctx, collector := cache.Collect(t.Context())
			if _, ok, _ := p.PeekSettled(r.Item); ok {
				t.Error("PeekSettled returned a value")
			}
			got, err := p.NewBatch().Load(ctx, []cache.Request{r})
			if err != nil || got[0].Value != want || got[0].Tier != cache.SourceTier || !got[0].Shadow {
				t.Errorf("got %+v, error %v; want %q from the source", got[0], err, want)
			}
			if deps := collector.Deps(); deps.Unstorable == "" || !deps.Passing {
				t.Errorf("a response that depends on it may be cached: %+v", deps)
			}
			time.Sleep(5 * time.Second)
			s, m := p.Stats(), p.Meter("User")
			if s.ShadowHits.Load() != hits || s.ShadowDifferences.Load() != differences || m.Shadow.Load() != hits || m.Differences.Load() != differences {
				t.Errorf("got %d hits, %d differences; want %d, %d", s.ShadowHits.Load(), s.ShadowDifferences.Load(), hits, differences)
			}
		}
		read("a", 0, 0)
		read("a", 1, 0)
		p.write(t, set("user:1", "b"))
		read("b", 1, 0) // it was evicted
		read("b", 2, 0)
		d.seed("user:1", "c") // a write without a record in the outbox
		read("c", 3, 1)
		read("c", 4, 1)
		p = begin(t, d, redis, user) // the shared tier is compared as well
		read("c", 1, 0)
	})
}

// perViewer is a source whose values depend on the viewer.
type perViewer struct {
	*client
	viewer string
	faults []cache.Fault
}

func (s *perViewer) Load(ctx context.Context, requests []cache.Request) ([]any, cache.Snapshot, error) {
	values, seen, err := s.client.Load(ctx, requests)
	if err == nil && s.viewer != "" {
		for i, r := range requests {
			if r.Arg == s.viewer {
				values[i] = "for " + s.viewer
			}
		}
	}
	return values, seen, err
}

func (s *perViewer) Anonymous(r cache.Request) (cache.Request, bool) {
	r.Arg = nil
	return r, true
}

func (s *perViewer) Found(_ cache.Request, f cache.Fault) { s.faults = append(s.faults, f) }

func TestAuditsOfOtherViewers(t *testing.T) {
	for name, test := range map[string]struct {
		viewer, arg string
		forget      bool
		want        cache.Fault
	}{
		"the same for all":       {"", "ann", false, ""},
		"another one's when hit": {"ann", "ann", false, cache.Leaked},
		"outdated":               {"", "ann", true, cache.Outdated},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d, redis := newDatabase(1), newFakeRedis(1)
				d.seed("user:1", "old")
				p := begin(t, d, redis, func(o *cache.Options) { o.Audit = 1 })
				s := &perViewer{client: p.client, viewer: test.viewer}
				read := func() {
					r := p.request("user:1")
					r.Source, r.Arg = s, test.arg
					if _, err := p.NewBatch().Load(t.Context(), []cache.Request{r}); err != nil {
						t.Fatal(err)
					}
					time.Sleep(10 * time.Second)
				}
				read() // a loaded value is audited as well
				if test.forget {
					d.seed("user:1", "new")
					read()
				}
				synctest.Wait() // an audit may be about to report
				leaks, stale := p.Stats().AuditsLeaks.Load(), p.Stats().AuditsStale.Load()
				switch {
				case test.want == "" && leaks+stale+uint64(len(s.faults)) != 0,
					test.want == cache.Leaked && (leaks != 1 || stale != 0 || len(s.faults) != 1 || s.faults[0] != test.want),
					test.want == cache.Outdated && (leaks != 0 || stale != 1 || len(s.faults) != 1 || s.faults[0] != test.want):
					t.Errorf("got %d leaks, %d outdated, faults %v; want %q", leaks, stale, s.faults, test.want)
				}
				if p.Stats().Audits.Load() == 0 {
					t.Error("got no audit")
				}
			})
		})
	}
}
