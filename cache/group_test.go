package cache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fieldcache/cache"
)

// A reader that arrives while another load is in flight waits until that load ends, but at most a
// millisecond. It shares its group with the readers that arrived meanwhile.
func TestLoadsThatBeginTogetherAreCarriedTogether(t *testing.T) {
	for name, slow := range map[string]time.Duration{"the first ends soon": 0, "the first takes long": time.Minute} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d := newDatabase(1)
				p := begin(t, d, nil)
				d.setSlow(slow)
				var wg sync.WaitGroup
				wg.Go(func() { p.reads(t, "user:first", nil, cache.SourceTier) })
				synctest.Wait()
				for i := range 20 {
					wg.Go(func() { p.reads(t, cache.Entity("user", fmt.Sprint(i)), nil, cache.SourceTier) })
				}
				synctest.Wait()
				d.loaded(t, 1)
				time.Sleep(2 * time.Millisecond)
				synctest.Wait()
				d.loaded(t, 2)
				wg.Wait()
				d.loaded(t, 2)
			})
		})
	}
}

// If nothing is in flight, or only loads that began long ago, a reader does not wait.
func TestALoneLoadSetsOutAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := newDatabase(1)
		p := begin(t, d, nil)
		d.setSlow(time.Second)
		for i := range 3 {
			go p.reads(t, cache.Entity("user", fmt.Sprint(i)), nil, cache.SourceTier)
			synctest.Wait()
			d.loaded(t, i+1)
			time.Sleep(2 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
	})
}

// A reader that gives up does not cancel the load for the other readers of its group. A reader that
// waits for its group to depart can give up too.
func TestReadersOfAGroupComeAndGo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := newDatabase(1)
		d.seed("user:2", "two")
		p := begin(t, d, nil)
		d.setSlow(time.Second)
		var first sync.WaitGroup
		first.Go(func() { p.reads(t, "user:first", nil, cache.SourceTier) })
		defer first.Wait()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan cache.Result)
		go func() { gone <- p.Cache.Load(ctx, []cache.Request{p.request("user:1")})[0] }()
		synctest.Wait()
		go func() { cancel() }()
		if r := <-gone; !errors.Is(r.Err, context.Canceled) {
			t.Errorf("got %v, error %v for the reader that gave up, want context.Canceled", r.Value, r.Err)
		}
		p.reads(t, "user:2", "two", cache.SourceTier)
	})
}

// A reader that wants nothing cached does not join a load that looks into the shared tier first.
func TestAReaderWithNoCacheReadsTheSource(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, redis := newDatabase(1), newFakeRedis(1)
		d.seed("user:1", "old")
		begin(t, d, redis).reads(t, "user:1", "old", cache.SourceTier)
		p := begin(t, d, redis)
		d.setSlow(time.Second)
		d.seed("user:1", "new") // without a record in the outbox
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() { p.reads(t, "user:first", nil, cache.SourceTier) })
		synctest.Wait()
		wg.Go(func() { p.reads(t, "user:1", "old", cache.SharedTier) }) // it waits to share a round trip
		synctest.Wait()
		b := p.NewBatch()
		b.NoCache = true
		results, err := b.Load(t.Context(), []cache.Request{p.request("user:1")})
		if err != nil || results[0].Value != "new" || results[0].Tier != cache.SourceTier {
			t.Errorf("got %+v, error %v; want new from the source", results, err)
		}
	})
}

// picky is a source that fails if one key is among the requested ones.
type picky struct {
	*client
	fails cache.Key
}

var errPicky = errors.New("not this one")

func (s *picky) Load(ctx context.Context, requests []cache.Request) ([]any, cache.Snapshot, error) {
	for _, r := range requests {
		if r.Key == s.fails {
			return nil, cache.Snapshot{}, errPicky
		}
	}
	return s.client.Load(ctx, requests)
}

// A request of one reader that fails does not fail the other readers whose loads are in the same
// group.
func TestAFailureIsItsReadersAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := newDatabase(1)
		d.seed("user:1", "one")
		p := begin(t, d, newFakeRedis(1))
		source := &picky{p.client, "user:bad"}
		requestsFor := func(keys ...cache.Key) (requests []cache.Request) {
			for _, k := range keys {
				r := p.request(k)
				r.Source = source
				requests = append(requests, r)
			}
			return requests
		}
		var wg sync.WaitGroup
		wg.Go(func() { p.reads(t, "user:first", nil, cache.SourceTier) })
		synctest.Wait()
		wg.Go(func() {
			for _, r := range p.Cache.Load(t.Context(), requestsFor("user:bad", "user:2")) {
				if !errors.Is(r.Err, errPicky) {
					t.Errorf("got %v, error %v for the reader of the bad key, want errPicky", r.Value, r.Err)
				}
			}
		})
		wg.Go(func() {
			if r := p.Cache.Load(t.Context(), requestsFor("user:1"))[0]; r.Err != nil || r.Value != "one" {
				t.Errorf("got %v, error %v for the other reader, want one", r.Value, r.Err)
			}
		})
		wg.Wait()
	})
}

func (r *fakeRedis) callCount() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls
}

// A key that was written recently is probably not in the shared tier, so its fence is taken in the
// same round trip as the look-up.
func TestAWrittenKeyTakesARoundTripLess(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := newDatabase(1)
		d.seed("user:1", "old")
		redis := newFakeRedis(1)
		p := begin(t, d, redis)
		trips := func() int {
			before := redis.callCount()
			p.read(t, "user:1")
			return redis.callCount() - before
		}
		if n := trips(); n != 3 {
			t.Errorf("a first read took %d round trips, want 3: look-up, fence, fill", n)
		}
		p.write(t, set("user:1", "new"))
		if n := trips(); n != 2 {
			t.Errorf("a read after a write took %d round trips, want 2", n)
		}
		p.reads(t, "user:1", "new", cache.MemoryTier)
	})
}

// After many misses the fence is taken together with the look-up, and after many hits it is not.
func TestAnEmptyTierTakesARoundTripLess(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const n = 40
		d := newDatabase(1)
		key := func(i int) cache.Key { return cache.Key(fmt.Sprintf("user:%d", i)) }
		for i := range n + 1 {
			d.seed(key(i), "it")
		}
		redis := newFakeRedis(1)
		trips := func(p *process, i int) int {
			before := redis.callCount()
			p.read(t, key(i))
			return redis.callCount() - before
		}
		first, other := begin(t, d, redis), begin(t, d, redis)
		if got := trips(first, 0); got != 3 {
			t.Errorf("a first read took %d round trips, want 3", got)
		}
		for i := range n - 2 {
			first.read(t, key(i+1))
		}
		if got := trips(first, n-1); got != 2 {
			t.Errorf("a read after many misses took %d round trips, want 2", got)
		}
		for i := range n {
			other.reads(t, key(i), "it", cache.SharedTier)
		}
		if got := trips(other, n); got != 3 {
			t.Errorf("a miss among hits took %d round trips, want 3", got)
		}
	})
}
