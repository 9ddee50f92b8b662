package cache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fieldcache/cache"
)

// usual is the time that a miss may take with a healthy database and shared tier.
const usual = 2*statementTime + 3*callTime

func stale(d time.Duration) func(*cache.Options) {
	return func(o *cache.Options) { o.StaleIfError = d }
}

// A read takes no longer than the database and one timeout, no matter how the shared tier fails.
func TestASharedTierThatFails(t *testing.T) {
	for name, mode := range map[string]mode{"that refuses": refuses, "that hangs": hangs} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d, redis := newDatabase(1), newFakeRedis(1)
				p := begin(t, d, redis)
				defer redis.set(up)
				redis.set(mode)
				for i := range 20 {
					began := time.Now()
					p.reads(t, cache.Entity("user", string(rune('A'+i))), nil, cache.SourceTier)
					if took := time.Since(began); took > 150*time.Millisecond+usual {
						t.Errorf("a read took %v, want at most one timeout more than usual", took)
					}
					time.Sleep(100 * time.Millisecond)
				}
				redis.set(up)
				time.Sleep(time.Second)
				d.seed("user:1", "old")
				p.reads(t, "user:1", "old", cache.SourceTier)
				if redis.entry(cache.Item{Key: "user:1"}) != `"old"` {
					t.Error("the shared tier is not used again after it recovered")
				}
			})
		})
	}
}

// A write is not acknowledged before every gateway knows of it or has lost its lease, or another
// gateway has executed the eviction that this one could not.
func TestAcknowledgingWithoutTheSharedTier(t *testing.T) {
	for name, c := range map[string]struct {
		alone       bool
		least, most time.Duration
		by          [2]uint64 // by a relay, by the lease
	}{
		"no gateway reaches it":   {true, time.Second, 1300 * time.Millisecond, [2]uint64{0, 1}},
		"another gateway does so": {false, 200 * time.Millisecond, 900 * time.Millisecond, [2]uint64{1, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d, redis := newDatabase(1), newFakeRedis(1)
				d.seed("user:1", "old")
				writer, other := begin(t, d, redis), begin(t, d, redis)
				other.reads(t, "user:1", "old", cache.SourceTier)
				writer.redis.setCut(true)
				other.redis.setCut(c.alone)
				began := time.Now()
				writer.write(t, set("user:1", "new"))
				if took := time.Since(began); took < c.least || took > c.most {
					t.Errorf("acknowledged after %v, want %v to %v", took, c.least, c.most)
				}
				if stats := writer.Stats(); [2]uint64{stats.ByRelay.Load(), stats.ByLease.Load()} != c.by {
					t.Errorf("got %d writes acknowledged by a relay and %d by the lease, want %v", stats.ByRelay.Load(), stats.ByLease.Load(), c.by)
				}
				other.reads(t, "user:1", "new", cache.SourceTier)
				writer.reads(t, "user:1", "new", cache.SourceTier)
			})
		})
	}
}

// garbled is an outbox with an unreadable row in every page.
type garbled struct{ cache.Outbox }

func (g garbled) Poll(ctx context.Context, p cache.Page) (cache.News, error) {
	news, err := g.Outbox.Poll(ctx, p)
	news.Unreadable = 1
	return news, err
}

// Unreadable rows are logged once, and all are counted.
func TestFault31UnreadableRowsAreToldOfOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var log bytes.Buffer
		p := start(t, newDatabase(1), nil, func(o *cache.Options) {
			o.Outbox, o.Log = garbled{o.Outbox}, slog.New(slog.NewTextHandler(&log, nil))
		})
		time.Sleep(2 * time.Second)
		if n := p.Stats().Unreadable.Load(); n < 5 {
			t.Errorf("got %d unreadable rows, want at least 5", n)
		}
		p.end(t)()
		if n := strings.Count(log.String(), "cannot be decoded"); n != 1 {
			t.Errorf("logged %d times, want once: %s", n, &log)
		}
	})
}

// While the database is down, cached values are served and marked as stale, for as long as the
// options allow.
func TestStaleIfError(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := newDatabase(1)
		d.seed("user:1", "old")
		p := begin(t, d, newFakeRedis(1), stale(time.Minute))
		p.reads(t, "user:1", "old", cache.SourceTier)
		p.reads(t, "user:1", "old", cache.MemoryTier)
		d.setDown(true)
		time.Sleep(2 * time.Second)
		for range 5 {
			r := p.reads(t, "user:1", "old", cache.MemoryTier)
			if !r.Stale || r.Stamp != nil {
				t.Errorf("got %+v, want it marked as stale", r)
			}
			time.Sleep(10 * time.Second)
		}
		time.Sleep(10 * time.Second)
		if r := p.read(t, "user:1"); r.Err == nil {
			t.Errorf("got %v after more than a minute, want an error", r)
		}
		d.setDown(false)
		d.run(set("user:1", "new"))
		time.Sleep(time.Second)
		if r := p.reads(t, "user:1", "new", cache.SourceTier); r.Stale {
			t.Error("the value is marked as stale after the database recovered")
		}
		p.reads(t, "user:1", "new", cache.MemoryTier)
	})
}

func TestNothingStaleIfTheOptionsSaySo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := newDatabase(1)
		d.seed("user:1", "old")
		p := begin(t, d, newFakeRedis(1))
		p.reads(t, "user:1", "old", cache.SourceTier)
		d.setDown(true)
		time.Sleep(2 * time.Second)
		if r := p.read(t, "user:1"); r.Err == nil {
			t.Errorf("got %v, want an error", r)
		}
	})
}

// deafened starts a gateway that has read user 1, and whose polls hang from then on.
func deafened(t *testing.T) (*database, *process, *deaf) {
	d := newDatabase(1)
	d.seed("user:1", "old")
	outbox := &deaf{after: 1 << 30}
	p := begin(t, d, newFakeRedis(1), stale(time.Minute), func(o *cache.Options) { outbox.Outbox, o.Outbox = o.Outbox, outbox })
	p.reads(t, "user:1", "old", cache.SourceTier)
	outbox.respondsTo(0)
	return d, p, outbox
}

// A database that hangs returns no error. Stale values are served after a lease.
func TestStaleWhereTheDatabaseHangs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, p, _ := deafened(t)
		d.setSlow(time.Hour)
		time.Sleep(2 * time.Second)
		began := time.Now()
		if r := p.reads(t, "user:1", "old", cache.MemoryTier); !r.Stale {
			t.Error("the value is not marked as stale")
		}
		if took := time.Since(began); took > 1100*time.Millisecond {
			t.Errorf("the read took %v, want at most 1.1s", took)
		}
	})
}

// A load is to be cut short because a stale value can be served. It continues if that value is
// evicted meanwhile.
func TestWhatIsStaleIsEvictedMeanwhile(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, p, outbox := deafened(t)
		time.Sleep(2 * time.Second)
		d.setSlow(10 * time.Second)
		var wg sync.WaitGroup
		wg.Go(func() { p.reads(t, "user:1", "new", cache.SourceTier) })
		time.Sleep(time.Millisecond)
		d.run(set("user:1", "new"))
		outbox.respondsTo(1 << 30)
		wg.Wait()
	})
}

// No cached value is served when the gateway has not learned of writes for a lease. Both changes of
// state are logged, once each.
func TestTheLeaseIsLostAndFound(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, redis := newDatabase(1), newFakeRedis(1)
		d.seed("user:1", "old")
		var log safeBuffer
		outbox := &deaf{after: 1 << 30}
		p := begin(t, d, redis, func(o *cache.Options) {
			outbox.Outbox, o.Outbox = o.Outbox, outbox
			o.Log = slog.New(slog.NewTextHandler(&log, nil))
		})
		p.reads(t, "user:1", "old", cache.SourceTier)
		p.reads(t, "user:1", "old", cache.MemoryTier)
		outbox.respondsTo(0)
		time.Sleep(990 * time.Millisecond)
		d.run(set("user:1", "new")) // no gateway learns of it
		time.Sleep(5 * time.Second)
		for range 3 {
			p.reads(t, "user:1", "new", cache.SourceTier)
		}
		outbox.respondsTo(1 << 30)
		time.Sleep(time.Second)
		p.reads(t, "user:1", "new", cache.SharedTier)
		p.reads(t, "user:1", "new", cache.MemoryTier)
		if n := p.Stats().LeaseLosses.Load(); n != 1 {
			t.Errorf("got %d lease losses, want 1", n)
		}
		text := log.String()
		if strings.Count(text, "no cached values are served") != 1 || strings.Count(text, "serving cached values") != 1 {
			t.Errorf("want each change of state logged once, got:\n%s", text)
		}
	})
}

// The lease counts from the beginning of a poll, however late its result arrives.
func TestTheLeaseCountsFromThePollsBeginning(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := newDatabase(1)
		d.seed("user:1", "old")
		p := begin(t, d, nil, func(o *cache.Options) { o.Outbox = &late{o.Outbox} })
		for n := range 10 {
			value := fmt.Sprint(n)
			d.run(set("user:1", value))
			for began := time.Now(); time.Since(began) < 2500*time.Millisecond; time.Sleep(11 * time.Millisecond) {
				if r := p.read(t, "user:1"); r.Value != value && time.Since(began) > time.Second {
					t.Fatalf("%v after the write: got %v, want %s", time.Since(began), r.Value, value)
				}
			}
		}
	})
}

// late is an outbox whose results are delayed after it has read them.
type late struct{ cache.Outbox }

func (o *late) Poll(ctx context.Context, page cache.Page) (cache.News, error) {
	news, err := o.Outbox.Poll(ctx, page)
	if e := wait(ctx, 900*time.Millisecond); err == nil {
		err = e
	}
	return news, err
}

// A gateway that is frozen while it waits for the shared tier may receive a value from before a
// write. It must not serve it.
func TestAnAnswerThatWasLongOnItsWay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, redis := newDatabase(1), newFakeRedis(1)
		d.seed("user:1", "old")
		writer, frozen := begin(t, d, redis), begin(t, d, redis)
		writer.reads(t, "user:1", "old", cache.SourceTier)
		var wg sync.WaitGroup
		wg.Go(func() { frozen.reads(t, "user:1", "new", cache.SourceTier) })
		synctest.Wait() // it has called the shared tier
		frozen.gate.freeze()
		time.Sleep(time.Second)
		frozen.redis.setCut(true) // and it does not receive the message
		writer.write(t, set("user:1", "new"))
		time.Sleep(2 * time.Second)
		frozen.gate.thaw()
		wg.Wait()
	})
}

func TestTheSharedTiersStateIsToldOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, redis := newDatabase(1), newFakeRedis(1)
		var log safeBuffer
		p := begin(t, d, redis, func(o *cache.Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		redis.set(refuses)
		for i := range 20 {
			p.read(t, cache.Entity("user", string(rune('A'+i))))
			time.Sleep(200 * time.Millisecond)
		}
		redis.set(up)
		for i := range 5 {
			p.read(t, cache.Entity("user", string(rune('a'+i))))
			time.Sleep(200 * time.Millisecond)
		}
		if text := log.String(); strings.Count(text, "does not respond") != 1 || strings.Count(text, "responds again") != 1 {
			t.Errorf("want each change of state logged once, got:\n%s", text)
		}
	})
}

// safeBuffer is a buffer that is safe for concurrent use.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// The database hangs, and only the shared tier has the values, or memory has some of them. They are
// served stale after a lease. A key that neither tier has does not delay them.
func TestFault33StaleInRedisWhereTheDatabaseHangs(t *testing.T) {
	for name, c := range map[string]struct {
		read       func(t *testing.T, p *process)
		tiers      []cache.Tier
		unanswered bool
	}{
		"all in the shared tier": {func(*testing.T, *process) {}, []cache.Tier{cache.SharedTier, cache.SharedTier}, false},
		"one in memory":          {func(t *testing.T, p *process) { p.read(t, "user:1") }, []cache.Tier{cache.MemoryTier, cache.SharedTier}, false},
		"one nowhere":            {func(*testing.T, *process) {}, []cache.Tier{cache.SharedTier, cache.SharedTier}, true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d, redis := newDatabase(1), newFakeRedis(1)
				d.seed("user:1", "one")
				d.seed("user:2", "two")
				other := begin(t, d, redis)
				other.read(t, "user:1")
				other.read(t, "user:2")
				outbox := &deaf{after: 1 << 30}
				p := begin(t, d, redis, stale(time.Minute), func(o *cache.Options) { outbox.Outbox, o.Outbox = o.Outbox, outbox })
				c.read(t, p)
				outbox.respondsTo(0)
				d.setSlow(time.Hour)
				time.Sleep(2 * time.Second)
				requests := []cache.Request{p.request("user:1"), p.request("user:2")}
				if c.unanswered {
					requests = append(requests, p.request("user:3"))
				}
				for round := range 2 {
					began := time.Now()
					for i, r := range p.Cache.Load(t.Context(), requests) {
						if i == 2 && !errors.Is(r.Err, cache.ErrSlowSource) {
							t.Errorf("round %d: got %+v for the key that no tier has, want ErrSlowSource", round, r)
						}
						if i < 2 && (r.Err != nil || !r.Stale || r.Tier != c.tiers[i]) {
							t.Errorf("round %d: got %+v, want it stale from tier %v", round, r, c.tiers[i])
						}
					}
					// The first round waits for a lease. The second knows that the database hangs.
					if took := time.Since(began); took > 1200*time.Millisecond || round > 0 && took > 400*time.Millisecond {
						t.Errorf("round %d took %v", round, took)
					}
				}
				// A read of which no value is cached continues to wait for its source.
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				began := time.Now()
				if r := p.Cache.Load(ctx, []cache.Request{p.request("user:4")})[0]; r.Err == nil || time.Since(began) < 9*time.Second {
					t.Errorf("got %+v after %v for a key that no tier has, want an error after 10s", r, time.Since(began))
				}
				d.setSlow(0)
				outbox.respondsTo(1 << 30)
				time.Sleep(time.Second)
				if r := p.read(t, "user:2"); r.Err != nil || r.Stale {
					t.Errorf("after the database recovered: got %+v", r)
				}
			})
		})
	}
}

// TestSilence looks at a source that does not respond, sometimes late. A late look shows that the
// gateway was frozen, so the wait begins again.
func TestSilence(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		patience time.Duration
		looks    []time.Duration
		want     int
	}{
		"on time":                           {1000 * ms, []time.Duration{250 * ms, 500 * ms, 751 * ms, 1002 * ms}, 4},
		"somewhat late":                     {1000 * ms, []time.Duration{400 * ms, 800 * ms, 1200 * ms}, 3},
		"frozen at the end":                 {1000 * ms, []time.Duration{250 * ms, 500 * ms, 750 * ms, 5000 * ms, 5250 * ms, 5500 * ms, 5750 * ms}, 0},
		"and then a lease":                  {1000 * ms, []time.Duration{250 * ms, 5000 * ms, 5250 * ms, 5500 * ms, 5750 * ms, 6000 * ms}, 6},
		"frozen twice":                      {1000 * ms, []time.Duration{250 * ms, 5000 * ms, 5250 * ms, 5900 * ms, 6150 * ms}, 0},
		"a shorter timeout":                 {300 * ms, []time.Duration{250 * ms, 300 * ms}, 2},
		"a shorter timeout, after a freeze": {300 * ms, []time.Duration{250 * ms, 2000 * ms, 2250 * ms, 2500 * ms, 2750 * ms, 3000 * ms}, 6},
	} {
		if got := cache.LastSilence(time.Second, c.patience, c.looks); got != c.want {
			t.Errorf("%s: it lasted at look %d, want %d", name, got, c.want)
		}
	}
}

// A gateway freezes while it waits to serve stale values, and its database is slow but healthy. The
// reader waits for the database.
func TestAFrozenGatewayIsNoOutage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := newDatabase(1)
		d.seed("user:1", "one")
		p := begin(t, d, nil, stale(time.Minute))
		p.read(t, "user:1")
		d.setSlow(20 * time.Second)
		p.gate.freeze()
		time.AfterFunc(4*time.Second, p.gate.thaw)
		time.Sleep(2 * time.Second)
		requests := []cache.Request{p.request("user:1"), p.request("user:2")}
		for _, r := range p.Cache.Load(t.Context(), requests) {
			if r.Err != nil || r.Stale {
				t.Errorf("got %+v from a healthy database", r)
			}
		}
	})
}
