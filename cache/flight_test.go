package cache_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fieldcache/cache"
)

// bubble runs a test with a fake clock, because the fakes sleep.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Parallel()
	synctest.Test(t, test)
}

func (d *database) loadCount() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.loads
}

// loaded checks how many loads the database executed.
func (d *database) loaded(t *testing.T, want int) {
	t.Helper()
	if n := d.loadCount(); n != want {
		t.Errorf("got %d loads, want %d", n, want)
	}
}

func TestManyReadersAreOneLoad(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := newDatabase(1)
		d.seed("user:1", "old")
		p := begin(t, d, newFakeRedis(1))
		d.setSlow(time.Second)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { p.reads(t, "user:1", "old", cache.SourceTier) })
		}
		wg.Wait()
		d.loaded(t, 1)
		if n := p.Stats().Joined.Load(); n != 99 {
			t.Errorf("%d readers joined a load, want 99", n)
		}
	})
}

// When several gateways load the same row at once, one load fills the shared tier. No gateway waits
// for another.
func TestOneFillForAllGateways(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, redis := newDatabase(1), newFakeRedis(1)
		d.seed("user:1", "old")
		gateways := []*process{begin(t, d, redis), begin(t, d, redis), begin(t, d, redis)}
		d.setSlow(time.Second)
		var wg sync.WaitGroup
		for _, p := range gateways {
			wg.Go(func() { p.reads(t, "user:1", "old", cache.SourceTier) })
		}
		wg.Wait()
		fills := uint64(0)
		for _, p := range gateways {
			fills += p.Stats().Fills.Load()
		}
		if fills != 1 {
			t.Errorf("got %d fills, want 1", fills)
		}
	})
}

func TestALoadOutlivesWhoBeganIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := newDatabase(1)
		d.seed("user:1", "old")
		p := begin(t, d, newFakeRedis(1))
		d.setSlow(10 * time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if r := p.Cache.Load(ctx, []cache.Request{p.request("user:1")})[0]; !errors.Is(r.Err, context.Canceled) {
				t.Errorf("got %v for the reader that canceled, want context.Canceled", r)
			}
		})
		time.Sleep(50 * time.Millisecond)
		wg.Go(func() { p.reads(t, "user:1", "old", cache.SourceTier) })
		time.Sleep(50 * time.Millisecond)
		cancel()
		wg.Wait()
		d.loaded(t, 1)
	})
}

func TestALoadEndsWhenNobodyWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := newDatabase(1)
		p := begin(t, d, newFakeRedis(1))
		d.setSlow(time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { p.Cache.Load(ctx, []cache.Request{p.request("user:1")}) })
		}
		wg.Wait()
		synctest.Wait()
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.busy != 0 {
			t.Error("the load continues after every reader gave up")
		}
	})
}

// forgiving is a source that returns absent rows if its load ends before its row is there.
type forgiving struct{ *table }

func (s forgiving) Load(ctx context.Context, requests []cache.Request) ([]any, cache.Snapshot, error) {
	select {
	case <-ctx.Done():
		return make([]any, len(requests)), cache.Snapshot{}, nil
	case <-time.After(time.Minute):
		return s.table.Load(ctx, requests)
	}
}

// A source may turn the error of its ended context into a value, which is not stored.
func TestALoadThatNobodyWaitsForIsNotStored(t *testing.T) {
	for name, tiers := range map[string]func() cache.Store{
		"memory only": func() cache.Store { return nil }, "two tiers": func() cache.Store { return &shared{Store: memory(t)} },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c, rows := open(t, tiers()), users("1")
				r := rows.request(cache.Entity("user", "1"))
				r.Source = forgiving{rows}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if got := c.Load(ctx, []cache.Request{r})[0]; !errors.Is(got.Err, context.DeadlineExceeded) {
					t.Errorf("got %v for the reader that gave up, want context.DeadlineExceeded", got)
				}
				synctest.Wait()
				want(t, c, r, "1")
			})
		})
	}
}

// Close also ends a load that readers no longer join.
func TestCloseEndsEveryLoad(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := newDatabase(1)
		p := start(t, d, newFakeRedis(1))
		d.setSlow(time.Hour)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				if r := p.read(t, "user:1"); r.Err == nil {
					t.Errorf("got %v, want an error", r)
				}
			})
			time.Sleep(50 * time.Millisecond)
			p.write(t, set("user:1", "new"))
		}
		began := time.Now()
		p.end(t)()
		wg.Wait()
		if took := time.Since(began); took > time.Second {
			t.Errorf("Close took %v, want at most 1s", took)
		}
	})
}

func TestALoadFromBeforeAWriteIsNotJoined(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := newDatabase(1)
		d.seed("user:1", "old")
		d.seed("{users}:list", "old")
		for name, read := range map[string]struct {
			w    write
			key  cache.Key
			tags []cache.Tag
		}{
			"by its key": {set("user:1", "new"), "user:1", nil},
			"by its tag": {setList("{users}:list", "{users}", "new"), "{users}:list", []cache.Tag{"{users}"}},
		} {
			p := begin(t, d, newFakeRedis(1))
			held := newHold(p)
			request := p.request(read.key, read.tags...)
			request.Source = held
			var wg sync.WaitGroup
			wg.Go(func() {
				if r := p.Cache.Load(t.Context(), []cache.Request{request})[0]; r.Value != "old" {
					t.Errorf("%s: got %v from the load that began before the write, want old", name, r)
				}
			})
			synctest.Wait()
			time.Sleep(time.Second) // the source has read the row and does not return yet
			p.write(t, read.w)
			began := time.Now()
			p.reads(t, read.key, "new", cache.SourceTier, read.tags...)
			if took := time.Since(began); took >= time.Second {
				t.Errorf("%s: the reader took %v, so it waited for the load that began before the write", name, took)
			}
			held.release()
			wg.Wait()
			p.reads(t, read.key, "new", cache.MemoryTier, read.tags...)
		}
	})
}

// hold is a source that delays its results until they are released, or for a minute.
type hold struct {
	*client
	held    context.Context
	release context.CancelFunc
}

func newHold(p *process) *hold {
	h := &hold{client: p.client}
	h.held, h.release = context.WithTimeout(context.Background(), time.Minute)
	return h
}

func (h *hold) Load(ctx context.Context, requests []cache.Request) ([]any, cache.Snapshot, error) {
	values, seen, err := h.client.Load(ctx, requests)
	<-h.held.Done()
	return values, seen, err
}

// A reader of a gateway that lost its lease does not join a load that has already called the shared
// tier or its source.
func TestWhoTrustsNothingLoadsItself(t *testing.T) {
	for name, begins := range map[string]time.Duration{"a load from before": 0, "a load without a lease": 2 * time.Second} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d := newDatabase(1)
				d.seed("user:1", "old")
				p := begin(t, d, nil, func(o *cache.Options) { o.Outbox = &deaf{Outbox: o.Outbox, after: 1} })
				held := newHold(p)
				request := p.request("user:1")
				request.Source = held
				var wg sync.WaitGroup
				time.AfterFunc(begins, func() {
					wg.Go(func() { p.Cache.Load(t.Context(), []cache.Request{request}) })
				})
				time.Sleep(3 * time.Second)
				if p.Trusted(time.Now()) {
					t.Fatal("the lease still holds")
				}
				d.run(set("user:1", "new"))
				p.reads(t, "user:1", "new", cache.SourceTier)
				held.release()
				wg.Wait()
			})
		})
	}
}

// deaf is an outbox that answers the first few polls, and none after them.
type deaf struct {
	cache.Outbox
	mu    sync.Mutex
	after int
}

func (o *deaf) Poll(ctx context.Context, page cache.Page) (cache.News, error) {
	o.mu.Lock()
	o.after--
	silent := o.after < 0
	o.mu.Unlock()
	if silent {
		<-ctx.Done()
		return cache.News{}, ctx.Err()
	}
	return o.Outbox.Poll(ctx, page)
}

func (o *deaf) respondsTo(polls int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.after = polls
}

func TestLoadsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := newDatabase(1)
		p := begin(t, d, newFakeRedis(1), func(o *cache.Options) { o.MaxLoads = 3 })
		d.setSlow(time.Second)
		var wg sync.WaitGroup
		for i := range 50 {
			time.Sleep(2 * time.Millisecond) // loads that begin together would share one call
			wg.Go(func() { p.reads(t, cache.Entity("user", string(rune('A'+i))), nil, cache.SourceTier) })
		}
		wg.Wait()
		if d.busiest != 3 {
			t.Errorf("got at most %d concurrent loads, want 3", d.busiest)
		}
	})
}

// brittle is a value that cannot be encoded.
type brittle struct{}

func (brittle) MarshalJSON() ([]byte, error) { panic("boo") }

type brittleSource struct{ *client }

func (s brittleSource) Load(context.Context, []cache.Request) ([]any, cache.Snapshot, error) {
	return []any{brittle{}}, cache.Snapshot{}, nil
}

// A panic while a value is encoded is an error for the readers of that value only.
func TestAPanicOfAValueIsAnError(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := newDatabase(1)
		d.seed("user:1", "old")
		p := begin(t, d, newFakeRedis(1))
		bad := p.request("user:2")
		bad.Source = brittleSource{p.client}
		got := p.Cache.Load(t.Context(), []cache.Request{bad, p.request("user:1")})
		var panicked *cache.PanicError
		if !errors.As(got[0].Err, &panicked) || panicked.Value != "boo" {
			t.Errorf("got %v for the value that panics, want a PanicError", got[0])
		}
		if got[1].Value != "old" || got[1].Err != nil {
			t.Errorf("got %v for the other value, want old", got[1])
		}
	})
}

// A batch with NoCache and NoStore fills no tier, not even with the values that its source loads
// along.
func TestUnkept(t *testing.T) {
	t.Parallel()
	tiers(t, func(t *testing.T, far *shared) {
		s := &table{rows: map[cache.Key]string{"product:7": "lamp", "{product:7}:stock": "3"}}
		s.also = map[cache.Key][]cache.Request{"product:7": {s.request("{product:7}:stock")}}
		c := openTiers(t, far)
		for range 2 {
			b := c.NewBatch()
			b.NoCache, b.NoStore = true, true
			got, err := b.Load(t.Context(), []cache.Request{s.request("product:7")})
			if err != nil || got[0].Value != "lamp" || got[0].Stamp != nil {
				t.Errorf("got %v, error %v; want lamp without a stamp", got, err)
			}
		}
		s.loads(t, 2)
		if far != nil && len(far.took()) > 0 {
			t.Error("the shared tier was called")
		}
		want(t, c, s.request("{product:7}:stock"), "3")
		s.loads(t, 3)
	})
}
