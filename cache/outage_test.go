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

// usual is what a read may take that finds nothing, of database and shared tier as they are.
const usual = 2*statementTime + 3*callTime

func stale(d time.Duration) func(*cache.Options) {
	return func(o *cache.Options) { o.StaleIfError = d }
}

// However badly the shared tier fares, a read takes no longer than the database and one deadline.
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
						t.Errorf("a read took %v", took)
					}
					time.Sleep(100 * time.Millisecond)
				}
				redis.set(up)
				time.Sleep(time.Second)
				d.seed("user:1", "old")
				p.reads(t, "user:1", "old", cache.SourceTier)
				if redis.entry(cache.Item{Key: "user:1"}) != `"old"` {
					t.Error("it is not used again")
				}
			})
		})
	}
}

// A write is not acknowledged before every gateway knows of it or trusts its caches no more, or another gateway has
// evicted what this one could not.
func TestAcknowledgingWithoutTheSharedTier(t *testing.T) {
	for name, c := range map[string]struct {
		alone       bool
		least, most time.Duration
		by          [2]uint64 // by a relay, by the lease
	}{
		"nobody reaches it":       {true, time.Second, 1300 * time.Millisecond, [2]uint64{0, 1}},
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
					t.Errorf("acknowledged %d by a relay, %d by the lease; want %v", stats.ByRelay.Load(), stats.ByLease.Load(), c.by)
				}
				other.reads(t, "user:1", "new", cache.SourceTier)
				writer.reads(t, "user:1", "new", cache.SourceTier)
			})
		})
	}
}

// garbled is an outbox with a row that cannot be read in every page.
type garbled struct{ cache.Outbox }

func (g garbled) Poll(ctx context.Context, p cache.Page) (cache.News, error) {
	news, err := g.Outbox.Poll(ctx, p)
	news.Unreadable = 1
	return news, err
}

// Unreadable rows are logged once, and counted.
func TestFault31UnreadableRowsAreToldOfOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var log bytes.Buffer
		p := start(t, newDatabase(1), nil, func(o *cache.Options) {
			o.Outbox, o.Log = garbled{o.Outbox}, slog.New(slog.NewTextHandler(&log, nil))
		})
		time.Sleep(2 * time.Second)
		if n := p.Stats().Unreadable.Load(); n < 5 {
			t.Errorf("%d are counted", n)
		}
		p.end(t)()
		if n := strings.Count(log.String(), "cannot be decoded"); n != 1 {
			t.Errorf("told of %d times: %s", n, &log)
		}
	})
}

// While the database is gone, what is cached is answered and marked for as long as the options say.
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
				t.Errorf("%+v is not marked as stale", r)
			}
			time.Sleep(10 * time.Second)
		}
		time.Sleep(10 * time.Second)
		if r := p.read(t, "user:1"); r.Err == nil {
			t.Errorf("got %v after more than a minute", r)
		}
		d.setDown(false)
		d.run(set("user:1", "new"))
		time.Sleep(time.Second)
		if r := p.reads(t, "user:1", "new", cache.SourceTier); r.Stale {
			t.Error("marked as stale after the database is back")
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
			t.Errorf("got %v", r)
		}
	})
}

// deafened starts a gateway that has read user 1, and then hears nothing more from the outbox.
func deafened(t *testing.T) (*database, *process, *deaf) {
	d := newDatabase(1)
	d.seed("user:1", "old")
	outbox := &deaf{after: 1 << 30}
	p := begin(t, d, newFakeRedis(1), stale(time.Minute), func(o *cache.Options) { outbox.Outbox, o.Outbox = o.Outbox, outbox })
	p.reads(t, "user:1", "old", cache.SourceTier)
	outbox.hears(0)
	return d, p, outbox
}

// Of the database's end nothing is known where it does not answer at all: what there is comes after a lease.
func TestStaleWhereTheDatabaseHangs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, p, _ := deafened(t)
		d.setSlow(time.Hour)
		time.Sleep(2 * time.Second)
		began := time.Now()
		if r := p.reads(t, "user:1", "old", cache.MemoryTier); !r.Stale {
			t.Error("not marked")
		}
		if took := time.Since(began); took > 1100*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

// A load that was to be cut short because there is something stale goes on where that was evicted meanwhile.
func TestWhatIsStaleIsEvictedMeanwhile(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, p, outbox := deafened(t)
		time.Sleep(2 * time.Second)
		d.setSlow(10 * time.Second)
		var wg sync.WaitGroup
		wg.Go(func() { p.reads(t, "user:1", "new", cache.SourceTier) })
		time.Sleep(time.Millisecond)
		d.run(set("user:1", "new"))
		outbox.hears(1 << 30)
		wg.Wait()
	})
}

// Nothing cached is served once others' writes have been unknown for a lease; both changes are logged, once each.
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
		outbox.hears(0)
		time.Sleep(990 * time.Millisecond)
		d.run(set("user:1", "new")) // nobody hears of it
		time.Sleep(5 * time.Second)
		for range 3 {
			p.reads(t, "user:1", "new", cache.SourceTier)
		}
		outbox.hears(1 << 30)
		time.Sleep(time.Second)
		p.reads(t, "user:1", "new", cache.SharedTier)
		p.reads(t, "user:1", "new", cache.MemoryTier)
		if n := p.Stats().LeaseLosses.Load(); n != 1 {
			t.Errorf("%d losses are counted", n)
		}
		text := log.String()
		if strings.Count(text, "no cached values are served") != 1 || strings.Count(text, "serving cached values") != 1 {
			t.Errorf("told:\n%s", text)
		}
	})
}

// What a poll brings is as old as its question, however late its answer comes.
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
					t.Fatalf("%v after the write it is %v, want %s", time.Since(began), r.Value, value)
				}
			}
		}
	})
}

// late is an outbox whose answers take a while after it has read what they say.
type late struct{ cache.Outbox }

func (o *late) Poll(ctx context.Context, page cache.Page) (cache.News, error) {
	news, err := o.Outbox.Poll(ctx, page)
	if e := wait(ctx, 900*time.Millisecond); err == nil {
		err = e
	}
	return news, err
}

// An answer of the shared tier that a gateway gets to see only after it was frozen may be from before a write.
func TestAnAnswerThatWasLongOnItsWay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, redis := newDatabase(1), newFakeRedis(1)
		d.seed("user:1", "old")
		writer, frozen := begin(t, d, redis), begin(t, d, redis)
		writer.reads(t, "user:1", "old", cache.SourceTier)
		var wg sync.WaitGroup
		wg.Go(func() { frozen.reads(t, "user:1", "new", cache.SourceTier) })
		synctest.Wait() // it has asked
		frozen.gate.freeze()
		time.Sleep(time.Second)
		frozen.redis.setCut(true) // nor does it hear the message
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
			t.Errorf("told:\n%s", text)
		}
	})
}

// safeBuffer is a buffer that many may write to.
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

// TestFault33StaleInRedisWhereTheDatabaseHangs has values in the shared tier alone, or some here and some there, and a
// database that hangs: what there is comes after a lease, and what there is not does not hold it up.
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
				outbox.hears(0)
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
							t.Errorf("round %d: what is nowhere is %+v", round, r)
						}
						if i < 2 && (r.Err != nil || !r.Stale || r.Tier != c.tiers[i]) {
							t.Errorf("round %d: %+v, want it stale from tier %v", round, r, c.tiers[i])
						}
					}
					// The first waited for a lease, the second knows that the database hangs.
					if took := time.Since(began); took > 1200*time.Millisecond || round > 0 && took > 400*time.Millisecond {
						t.Errorf("round %d took %v", round, took)
					}
				}
				// For whom there is nothing the source goes on.
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				began := time.Now()
				if r := p.Cache.Load(ctx, []cache.Request{p.request("user:4")})[0]; r.Err == nil || time.Since(began) < 9*time.Second {
					t.Errorf("what is nowhere is %+v after %v", r, time.Since(began))
				}
				d.setSlow(0)
				outbox.hears(1 << 30)
				time.Sleep(time.Second)
				if r := p.read(t, "user:2"); r.Err != nil || r.Stale {
					t.Errorf("once the database is back: %+v", r)
				}
			})
		})
	}
}

// TestSilence has looks at a source that does not answer, some of them late.
func TestSilence(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		patience time.Duration
		looks    []time.Duration
		want     int
	}{
		"on time":             {1000 * ms, []time.Duration{250 * ms, 500 * ms, 751 * ms, 1002 * ms}, 4},
		"somewhat late":       {1000 * ms, []time.Duration{400 * ms, 800 * ms, 1200 * ms}, 3},
		"frozen at the end":   {1000 * ms, []time.Duration{250 * ms, 500 * ms, 750 * ms, 5000 * ms, 5250 * ms, 5500 * ms, 5750 * ms}, 0},
		"and then a lease":    {1000 * ms, []time.Duration{250 * ms, 5000 * ms, 5250 * ms, 5500 * ms, 5750 * ms, 6000 * ms}, 6},
		"frozen twice":        {1000 * ms, []time.Duration{250 * ms, 5000 * ms, 5250 * ms, 5900 * ms, 6150 * ms}, 0},
		"less patience":       {300 * ms, []time.Duration{250 * ms, 300 * ms}, 2},
		"less until a freeze": {300 * ms, []time.Duration{250 * ms, 2000 * ms, 2250 * ms, 2500 * ms, 2750 * ms, 3000 * ms}, 6},
	} {
		if got := cache.LastSilence(time.Second, c.patience, c.looks); got != c.want {
			t.Errorf("%s: it lasted at look %d, want %d", name, got, c.want)
		}
	}
}

// TestAFrozenGatewayIsNoOutage has a gateway frozen in the middle of its look for something stale, while its database is
// slow and well: the reader waits for the database.
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
				t.Errorf("%+v from a database that is well", r)
			}
		}
	})
}
