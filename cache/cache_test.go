package cache_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fieldcache/cache"
	"fieldcache/cache/memstore"
)

// table is a source with rows by key, which records its loads. Load calls pause before it returns.
type table struct {
	mu        sync.Mutex
	rows      map[cache.Key]string
	requested [][]cache.Key
	also      map[cache.Key][]cache.Request
	fail      error
	pause     func()
}

func (s *table) Load(_ context.Context, requests []cache.Request) ([]any, cache.Snapshot, error) {
	s.mu.Lock()
	values := make([]any, len(requests))
	var keys []cache.Key
	for i, r := range requests {
		keys = append(keys, r.Key)
		if row, ok := s.rows[r.Key]; ok {
			values[i] = row
		}
	}
	s.requested = append(s.requested, keys)
	err, pause := s.fail, s.pause
	s.mu.Unlock()
	if pause != nil {
		pause()
	}
	return values, cache.Snapshot{}, err
}

func (s *table) Also(r cache.Request) []cache.Request { return s.also[r.Key] }

func (s *table) Decode(_ cache.Request, data []byte) (any, error) {
	var v string
	err := json.Unmarshal(data, &v)
	return v, err
}

func (s *table) set(k cache.Key, row string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows[k] = row
}

func (s *table) request(k cache.Key, tags ...cache.Tag) cache.Request {
	return cache.Request{Item: cache.Item{Key: k, Tags: tags, MaxAge: time.Minute}, Source: s}
}

// shared is a shared tier for tests: a memory tier that records its calls, and that can be switched
// to fail.
type shared struct {
	*memstore.Store
	mu    sync.Mutex
	down  bool
	calls []string
	// evicting is called when an eviction arrives, before it is executed.
	evicting func()
}

var errDown = errors.New("down")

func (s *shared) call(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, name)
	if s.down {
		return errDown
	}
	return nil
}

func (s *shared) setDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

func (s *shared) took() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := s.calls
	s.calls = nil
	return calls
}

// Get returns copies without values, as a tier outside of the process does.
func (s *shared) Get(ctx context.Context, items []cache.Item) ([]*cache.Entry, error) {
	if err := s.call("get"); err != nil {
		return nil, err
	}
	entries, err := s.Store.Get(ctx, items)
	for i, e := range entries {
		if e != nil {
			entries[i] = &cache.Entry{Data: e.Data, Loaded: e.Loaded, Ends: e.Ends}
		}
	}
	return entries, err
}

func (s *shared) Begin(ctx context.Context, items []cache.Item) ([]cache.Ticket, error) {
	if err := s.call("begin"); err != nil {
		return nil, err
	}
	return s.Store.Begin(ctx, items)
}

func (s *shared) Fill(ctx context.Context, fills []cache.Fill) (int, error) {
	if err := s.call("fill"); err != nil {
		return 0, err
	}
	return s.Store.Fill(ctx, fills)
}

func (s *shared) Evict(ctx context.Context, w cache.Write) (int, error) {
	if s.evicting != nil {
		s.evicting()
	}
	if err := s.call("evict"); err != nil {
		return 0, err
	}
	return s.Store.Evict(ctx, w)
}

func memory(t testing.TB) *memstore.Store {
	m, err := memstore.New(memstore.Options{MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func open(t testing.TB, far cache.Store) *cache.Cache {
	c, err := cache.New(cache.Options{Memory: memory(t), Shared: far, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func users(rows ...string) *table {
	s := &table{rows: map[cache.Key]string{}}
	for _, r := range rows {
		s.rows[cache.Entity("user", r)] = r
	}
	return s
}

// want checks the result of a load of one key. An empty value means that there is none.
func want(t *testing.T, c *cache.Cache, r cache.Request, value string) {
	t.Helper()
	got := c.Load(t.Context(), []cache.Request{r})[0]
	if got.Err != nil || (value == "") != (got.Value == nil) || got.Value != nil && got.Value != value {
		t.Errorf("%s: got %v, error %v, want %q", r.Key, got.Value, got.Err, value)
	}
}

func (s *table) loads(t *testing.T, n int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.requested) != n {
		t.Errorf("got %d loads, want %d: %v", len(s.requested), n, s.requested)
	}
}

func tiers(t *testing.T, test func(t *testing.T, far *shared)) {
	t.Run("memory only", func(t *testing.T) { t.Parallel(); test(t, nil) })
	t.Run("two tiers", func(t *testing.T) { t.Parallel(); test(t, &shared{Store: memory(t)}) })
}

func openTiers(t *testing.T, far *shared) *cache.Cache {
	if far == nil {
		return open(t, nil)
	}
	return open(t, far)
}

func TestLoad(t *testing.T) {
	t.Parallel()
	tiers(t, func(t *testing.T, far *shared) {
		c, s := openTiers(t, far), users("1", "2")
		batch := []cache.Request{s.request("user:2"), s.request("user:9"), s.request("user:1")}
		for range 3 {
			got := c.Load(t.Context(), batch)
			if got[0].Value != "2" || got[1].Value != nil || got[2].Value != "1" {
				t.Errorf("got %v", got)
			}
		}
		s.loads(t, 1)
		if far != nil {
			if calls := far.took(); !slices.Equal(calls, []string{"get", "begin", "fill"}) {
				t.Errorf("got calls %v of the shared tier, want one round trip each", calls)
			}
		}
	})
}

func TestAnotherGatewaysFillIsAHit(t *testing.T) {
	t.Parallel()
	far := &shared{Store: memory(t)}
	s := users("1")
	want(t, open(t, far), s.request("user:1"), "1")
	far.took()
	other := open(t, far)
	want(t, other, s.request("user:1"), "1")
	want(t, other, s.request("user:1"), "1")
	s.loads(t, 1)
	if calls := far.took(); !slices.Equal(calls, []string{"get"}) {
		t.Errorf("got calls %v of the shared tier, want one", calls)
	}
	if n := other.Stats().SharedHits.Load(); n != 1 {
		t.Errorf("got %d hits of the shared tier, want 1", n)
	}
}

func TestSourcesAreAskedOnceEach(t *testing.T) {
	t.Parallel()
	c := open(t, nil)
	s, products := users("1", "2"), &table{rows: map[cache.Key]string{"product:7": "lamp"}}
	got := c.Load(t.Context(), []cache.Request{s.request("user:1"), products.request("product:7"), s.request("user:2")})
	if got[0].Value != "1" || got[1].Value != "lamp" || got[2].Value != "2" {
		t.Errorf("got %v", got)
	}
	s.loads(t, 1)
	products.loads(t, 1)
}

func TestOneSourcesErrorIsNotTheOthers(t *testing.T) {
	t.Parallel()
	c := open(t, nil)
	s, broken := users("1"), &table{fail: errDown}
	got := c.Load(t.Context(), []cache.Request{s.request("user:1"), broken.request("product:7")})
	if got[0].Value != "1" || got[0].Err != nil || !errors.Is(got[1].Err, errDown) {
		t.Errorf("got %v", got)
	}
	broken.fail = nil
	want(t, c, broken.request("product:7"), "") // the failed load was not cached
	broken.loads(t, 2)
}

func TestAPanicIsAnError(t *testing.T) {
	t.Parallel()
	c, s := open(t, nil), users()
	s.pause = func() { panic("boo") }
	var p *cache.PanicError
	if got := c.Load(t.Context(), []cache.Request{s.request("user:1")})[0]; !errors.As(got.Err, &p) || p.Value != "boo" || len(p.Stack) == 0 {
		t.Errorf("got %v", got)
	}
}

// A value that a statement reads besides is cached too, and loaded alone if it is evicted before
// the rest.
func TestAlso(t *testing.T) {
	t.Parallel()
	tiers(t, func(t *testing.T, far *shared) {
		s := &table{rows: map[cache.Key]string{"product:7": "lamp", "{product:7}:stock": "3"}}
		s.also = map[cache.Key][]cache.Request{"product:7": {s.request("{product:7}:stock")}}
		c := openTiers(t, far)
		want(t, c, s.request("product:7"), "lamp")
		want(t, c, s.request("{product:7}:stock"), "3")
		s.loads(t, 1)
		if _, err := c.Evict(t.Context(), cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{"{product:7}:stock"}}}); err != nil {
			t.Fatal(err)
		}
		want(t, c, s.request("{product:7}:stock"), "3")
		want(t, c, s.request("product:7"), "lamp")
		s.loads(t, 2)
	})
}

func TestMaxAgeZeroIsNotStored(t *testing.T) {
	t.Parallel()
	tiers(t, func(t *testing.T, far *shared) {
		c, s := openTiers(t, far), users("1")
		r := s.request("user:1")
		r.MaxAge = 0
		want(t, c, r, "1")
		want(t, c, r, "1")
		s.loads(t, 2)
		if far != nil && len(far.took()) > 0 {
			t.Error("the shared tier was called for a value that must not be cached")
		}
	})
}

func TestEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		key         cache.Key
		least, most time.Duration
	}{
		"a row":         {"user:1", 54 * time.Second, time.Minute},
		"an absent row": {"user:9", 9 * time.Second, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cached, s := open(t, nil), users("1")
				row := s.rows[c.key]
				want(t, cached, s.request(c.key), row)
				time.Sleep(c.least - time.Second)
				want(t, cached, s.request(c.key), row)
				s.loads(t, 1)
				time.Sleep(c.most - c.least + time.Second)
				want(t, cached, s.request(c.key), row)
				s.loads(t, 2)
			})
		})
	}
}

// Values that one call loaded expire together, so that one call loads them again.
func TestABatchEndsTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := open(t, nil), users()
		var batch []cache.Request
		for i := range 50 {
			k := cache.Entity("user", string(rune('A'+i)))
			s.set(k, "x")
			batch = append(batch, s.request(k))
		}
		for range 61 { // within a minute each expires once
			c.Load(t.Context(), batch)
			time.Sleep(time.Second)
		}
		s.loads(t, 2)
	})
}

func BenchmarkLoad(b *testing.B) {
	s := users("1")
	requests := []cache.Request{s.request("user:1", "{User}")}
	b.Run("hit in memory", func(b *testing.B) {
		c := open(b, nil)
		c.Load(b.Context(), requests)
		b.ReportAllocs()
		for b.Loop() {
			if c.Load(b.Context(), requests)[0].Value != "1" {
				b.Fatal("the cached value is wrong")
			}
		}
	})
	b.Run("miss", func(b *testing.B) {
		c := open(b, nil)
		b.ReportAllocs()
		for b.Loop() {
			if c.Load(b.Context(), requests)[0].Value != "1" {
				b.Fatal("the loaded value is wrong")
			}
			if _, err := c.Evict(b.Context(), cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{"user:1"}}}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
