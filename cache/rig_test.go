package cache_test

import (
	"log/slog"
	"sync"
	"testing"
	"time"

	"fieldcache/cache"
	"fieldcache/cache/memstore"
)

// gate blocks a gateway at its calls of the database and the shared tier, like a frozen process.
// Its timers continue.
type gate struct {
	mu     sync.Mutex
	frozen chan struct{} // closed when it continues
	thawed time.Time     // the last time
}

// frozenSince reports whether the gateway has been frozen at any time since t.
func (g *gate) frozenSince(t time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.frozen != nil || g.thawed.After(t)
}

func (g *gate) pass() {
	for {
		g.mu.Lock()
		frozen := g.frozen
		g.mu.Unlock()
		if frozen == nil {
			return
		}
		<-frozen
	}
}

func (g *gate) freeze() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.frozen == nil {
		g.frozen = make(chan struct{})
	}
}

func (g *gate) thaw() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.frozen != nil {
		close(g.frozen)
		g.frozen, g.thawed = nil, time.Now()
	}
}

// frozenMemory is the memory of a gateway that may be frozen: then it does not find expired entries
// either.
type frozenMemory struct {
	cache.Memory
	gate *gate
}

func (m frozenMemory) Ended(k cache.Key) *cache.Entry {
	m.gate.pass()
	return m.Memory.Ended(k)
}

// process is a gateway: the real cache over fakes.
type process struct {
	*cache.Cache
	*client
	gate  *gate
	redis *connection
}

// start starts a gateway. If redis is nil, the gateway has no shared tier.
func start(t testing.TB, d *database, redis *fakeRedis, change ...func(*cache.Options)) *process {
	g := &gate{}
	p := &process{client: &client{database: d, gate: g}, gate: g}
	m, err := memstore.New(memstore.Options{MaxBytes: 1 << 20, Keep: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	o := cache.Options{Memory: frozenMemory{m, g}, Outbox: p.client, Log: slog.New(slog.DiscardHandler)}
	if redis != nil {
		p.redis = redis.connect(g)
		o.Shared = p.redis
	}
	for _, c := range change {
		c(&o)
	}
	if p.Cache, err = cache.New(o); err != nil {
		t.Fatal(err)
	}
	return p
}

// begin is like start, and closes the gateway when the test ends.
func begin(t *testing.T, d *database, redis *fakeRedis, change ...func(*cache.Options)) *process {
	p := start(t, d, redis, change...)
	t.Cleanup(p.end(t))
	return p
}

func (p *process) end(t testing.TB) func() {
	return func() {
		p.gate.thaw()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

// write runs a transaction at the gateway and returns once it is acknowledged.
func (p *process) write(t testing.TB, w write) cache.Write {
	all := p.run(w)
	if _, err := p.Evict(t.Context(), all); err != nil {
		t.Errorf("evict %v: %v", all, err)
	}
	return all
}

// set returns a write that sets the value of a row.
func set(k cache.Key, value string) write {
	return write{map[cache.Key]string{k: value}, []cache.Eviction{{Keys: []cache.Key{k}}}}
}

// setList returns a write that changes the contents of a list. The list is evicted by its tag.
func setList(k cache.Key, tag cache.Tag, value string) write {
	return write{map[cache.Key]string{k: value}, []cache.Eviction{{Tags: []cache.Tag{tag}}}}
}

// read returns the result of one request.
func (p *process) read(t testing.TB, k cache.Key, tags ...cache.Tag) cache.Result {
	return p.Cache.Load(t.Context(), []cache.Request{p.request(k, tags...)})[0]
}

// reads checks the value of a request and the tier that it came from.
func (p *process) reads(t testing.TB, k cache.Key, value any, tier cache.Tier, tags ...cache.Tag) cache.Result {
	t.Helper()
	r := p.read(t, k, tags...)
	if r.Err != nil || r.Value != value || r.Tier != tier {
		t.Errorf("%s: got %v from tier %d, error %v; want %v from tier %d", k, r.Value, r.Tier, r.Err, value, tier)
	}
	return r
}
