package cache_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"fieldcache/cache"
)

// paged is an outbox that records the requested pages, and may fail them.
type paged struct {
	cache.Outbox
	mu        sync.Mutex
	requested []cache.Page
	fail      func(cache.Page) error
}

func (o *paged) Poll(ctx context.Context, p cache.Page) (cache.News, error) {
	o.mu.Lock()
	o.requested = append(o.requested, p)
	fail := o.fail
	o.mu.Unlock()
	if fail != nil {
		if err := fail(p); err != nil {
			return cache.News{}, err
		}
	}
	return o.Outbox.Poll(ctx, p)
}

func (o *paged) failing(fail func(cache.Page) error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fail = fail
}

func inPages(o *paged) func(*cache.Options) {
	return func(options *cache.Options) { o.Outbox, options.Outbox = options.Outbox, o }
}

var errSlow = errors.New("the page took too long")

// A transaction of many rows is read in pages. A page that fails is requested again, without those
// before it. Nothing cached is served before the last page has been read.
func TestFault10AManyRowTransaction(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const rows = 40
		d, redis, o := newDatabase(1), newFakeRedis(1), &paged{}
		p := begin(t, d, redis, inPages(o))
		w := write{rows: map[cache.Key]string{}}
		for i := range rows {
			k := cache.Entity("user", fmt.Sprint(i))
			d.seed(k, "old")
			p.reads(t, k, "old", cache.SourceTier)
			w.rows[k] = "new"
			w.evictions = append(w.evictions, cache.Eviction{Keys: []cache.Key{k}})
		}
		last := cache.Entity("user", fmt.Sprint(rows-1))
		d.run(w)
		o.failing(func(p cache.Page) error {
			if p.After.ID >= rows/2 {
				return errSlow
			}
			return nil
		})
		time.Sleep(3 * time.Second)
		if r := p.read(t, last); r.Value != "new" {
			t.Errorf("got %v for a row whose page was not read yet, want new", r.Value)
		}
		o.failing(nil)
		o.mu.Lock()
		o.requested = nil
		o.mu.Unlock()
		time.Sleep(500 * time.Millisecond)
		o.mu.Lock()
		if len(o.requested) == 0 || o.requested[0].After.ID < rows/2 {
			t.Errorf("after a failed page: got requests for pages %v, want to continue with that page", o.requested)
		}
		o.mu.Unlock()
		for k := range w.rows {
			if r := p.read(t, k); r.Value != "new" {
				t.Errorf("%s: got %v, want new", k, r.Value)
			}
		}
		p.reads(t, last, "new", cache.MemoryTier)
		if n := d.undone(); n != 0 {
			t.Errorf("got %d rows to relay, want 0", n)
		}
	})
}

// A gateway that starts serves its own loads from memory immediately, however many writes the
// outbox has retained. It serves the shared tier once it has read those writes.
func TestFault28AGatewayStarts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, redis, o := newDatabase(1), newFakeRedis(1), &paged{}
		for _, k := range []cache.Key{"user:1", "user:2", "user:3"} {
			d.seed(k, "old")
		}
		before := begin(t, d, redis)
		for _, k := range []cache.Key{"user:1", "user:2"} {
			before.reads(t, k, "old", cache.SourceTier)
		}
		redis.save()
		for i := range 20 {
			before.write(t, set(cache.Entity("user", fmt.Sprint("other ", i)), "x"))
		}
		before.write(t, set("user:1", "new")) // on a later page than the one that can be read
		redis.restart()                       // with the old value of user:1
		o.fail = func(p cache.Page) error {
			if p.Detail == cache.ByName && p.After.Xid > 0 {
				return errSlow
			}
			return nil
		}
		p := begin(t, d, redis, inPages(o))
		p.reads(t, "user:3", "old", cache.SourceTier)
		p.reads(t, "user:3", "old", cache.MemoryTier)
		p.reads(t, "user:1", "new", cache.SourceTier)
		p.reads(t, "user:1", "new", cache.MemoryTier)
		redis.restart()
		o.failing(nil)
		time.Sleep(2 * time.Second)
		p.reads(t, "user:2", "old", cache.SharedTier)
		other := begin(t, d, redis)
		other.reads(t, "user:1", "new", cache.SourceTier)
	})
}

// choosy is a shared tier that fails to evict some keys.
type choosy struct {
	*connection
	refuse string
	mu     sync.Mutex
	most   int // the most names in one call
}

var errChoosy = errors.New("NOPERM")

func (s *choosy) Evict(ctx context.Context, w cache.Write) (int, error) {
	s.mu.Lock()
	s.most = max(s.most, len(w.Keys)+len(w.Tags))
	s.mu.Unlock()
	for _, k := range w.Keys {
		if strings.Contains(string(k), s.refuse) {
			return 0, errChoosy
		}
	}
	return s.connection.Evict(ctx, w)
}

// Rows whose evictions fail do not delay other rows. They are logged once, and relayed when that is
// possible.
func TestFault27RowsThatFail(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, redis := newDatabase(1), newFakeRedis(1)
		var log safeBuffer
		tier := &choosy{refuse: "poison"}
		p := begin(t, d, redis, func(o *cache.Options) {
			tier.connection, _ = o.Shared.(*connection)
			o.Shared = tier
			o.Log = slog.New(slog.NewTextHandler(&log, nil))
		})
		const rows, poison = 400, 5
		for i := range rows {
			name := fmt.Sprint(i)
			if i < poison {
				name = fmt.Sprint("poison", i)
			}
			d.run(set(cache.Entity("user", name), "x"))
		}
		time.Sleep(30 * time.Second)
		if n := d.undone(); n != poison {
			t.Errorf("got %d rows to relay, want the %d that fail", n, poison)
		}
		if p.Stats().Backlog() != poison || p.Stats().Lag() < 29*time.Second {
			t.Errorf("got backlog %d and lag %v, want the rows that fail and at least 29s", p.Stats().Backlog(), p.Stats().Lag())
		}
		faults := p.Stats().Faults.Load()
		time.Sleep(time.Minute)
		if n := p.Stats().Faults.Load() - faults; n > 150 {
			t.Errorf("got %d faults in a minute, want at most 150", n)
		}
		if n := strings.Count(log.String(), "retrying it separately"); n != 1 {
			t.Errorf("logged %d times, want once:\n%s", n, log.String())
		}
		d.run(set("user:later", "x"))
		time.Sleep(5 * time.Second)
		if n := d.undone(); n != poison {
			t.Errorf("got %d rows to relay, want only those that fail", n)
		}
		tier.mu.Lock()
		tier.refuse = "nothing"
		tier.mu.Unlock()
		time.Sleep(2 * time.Minute)
		if n := d.undone(); n != 0 || p.Stats().Backlog() != 0 || p.Stats().Lag() != 0 {
			t.Errorf("got %d rows to relay, backlog %d, lag %v; want 0", n, p.Stats().Backlog(), p.Stats().Lag())
		}
	})
}

// While the shared tier is down the rows wait, without a busy loop. They are relayed soon after it
// recovers.
func TestFault27TheSharedTierIsAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, redis := newDatabase(1), newFakeRedis(1)
		var log safeBuffer
		p := begin(t, d, redis, func(o *cache.Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		redis.set(refuses)
		const rows = 3000
		for i := range rows {
			d.run(set(cache.Entity("user", fmt.Sprint(i)), "x"))
		}
		time.Sleep(time.Minute)
		faults := p.Stats().Faults.Load()
		time.Sleep(time.Minute)
		if n := p.Stats().Faults.Load() - faults; n > 60 {
			t.Errorf("got %d faults in a minute, want at most 60", n)
		}
		if p.Stats().Backlog() != rows || p.Stats().Lag() < 2*time.Minute-time.Second {
			t.Errorf("got backlog %d and lag %v, want every row and about 2 minutes", p.Stats().Backlog(), p.Stats().Lag())
		}
		redis.set(up)
		time.Sleep(15 * time.Second)
		if n := d.undone(); n != 0 || p.Stats().Backlog() != 0 {
			t.Errorf("got %d rows to relay and backlog %d, want 0", n, p.Stats().Backlog())
		}
		text := log.String()
		if strings.Count(text, "cannot be sent to Redis") != 1 || strings.Count(text, "sent to Redis again") != 1 || !strings.Contains(text, errDown.Error()) {
			t.Errorf("want each change of state logged once, with the error; got:\n%s", text)
		}
	})
}

// An eviction of many names is sent in pieces, each within a timeout.
func TestFault27AnEvictionOfManyNames(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, redis := newDatabase(1), newFakeRedis(1)
		tier := &choosy{refuse: "nothing"}
		p := begin(t, d, redis, func(o *cache.Options) {
			tier.connection, _ = o.Shared.(*connection)
			o.Shared = tier
		})
		var ev cache.Eviction
		for i := range 5000 {
			ev.Keys = append(ev.Keys, cache.Entity("user", fmt.Sprint(i)))
		}
		last := ev.Keys[len(ev.Keys)-1]
		d.seed(last, "old")
		p.reads(t, last, "old", cache.SourceTier)
		ev.Tags = []cache.Tag{"{users}"}
		if n, err := p.EvictByHand(t.Context(), ev); n != 1 || err != nil {
			t.Errorf("evicted %d entries, error %v; want 1, nil", n, err)
		}
		if redis.entry(cache.Item{Key: last}) != "" {
			t.Error("the last name was not evicted")
		}
		if tier.most > 500 {
			t.Errorf("got %d names in one call, want at most 500", tier.most)
		}
	})
}

// A gateway that starts reports the lag and the backlog that it finds immediately.
func TestFault27TheBacklogIsToldAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, redis := newDatabase(1), newFakeRedis(1)
		redis.set(refuses)
		defer redis.set(up)
		for i := range 20 {
			d.run(set(cache.Entity("user", fmt.Sprint(i)), "x"))
		}
		time.Sleep(time.Hour)
		p := begin(t, d, redis)
		time.Sleep(500 * time.Millisecond)
		if p.Stats().Backlog() != 20 || p.Stats().Lag() < time.Hour {
			t.Errorf("got backlog %d and lag %v, want 20 rows and at least 1h", p.Stats().Backlog(), p.Stats().Lag())
		}
	})
}
