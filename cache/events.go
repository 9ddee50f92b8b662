package cache

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Cause is how a [Cache] learned of an eviction.
type Cause string

// The causes.
const (
	ByMutation Cause = "mutation" // [Cache.Evict]: a write of this process
	ByOutbox   Cause = "outbox"   // a poll: a write of another process, or of a program that is not a gateway
	ByNotice   Cause = "notice"   // a message of another process, ahead of the poll
	ByHand     Cause = "hand"     // [Cache.EvictByHand]
	ByLoss     Cause = "loss"     // writes were missed: everything was evicted
)

// Event is an eviction that a [Cache] executed. It names nothing if everything was evicted.
type Event struct {
	At    time.Time
	Cause Cause
	Xid   uint64 // of the write; 0 if it has none, or if a poll reported several writes
	Eviction
}

// events passes evictions on to watchers. The zero value has none.
type events struct {
	watched atomic.Bool // whether there are watchers: without any, an eviction costs nothing more

	mu       sync.Mutex // guards watchers and others
	watchers map[*Watcher]struct{}
	others   []func(Eviction)
}

// Watcher receives the evictions of [Cache.WatchEvictions] until Close.
type Watcher struct {
	events *events
	c      chan Event
	missed atomic.Uint64
}

// WatchEvictions reports each eviction from now on, in no particular order. Evictions do not wait
// for the reader: events that do not fit into the buffer are dropped, and [Watcher.Missed] counts
// them.
func (c *Cache) WatchEvictions(buffer int) *Watcher {
	w := &Watcher{events: &c.events, c: make(chan Event, max(buffer, 1))}
	w.events.mu.Lock()
	defer w.events.mu.Unlock()
	if w.events.watchers == nil {
		w.events.watchers = map[*Watcher]struct{}{}
	}
	w.events.watchers[w] = struct{}{}
	w.events.watched.Store(true)
	return w
}

// C returns the channel of events. It is not closed.
func (w *Watcher) C() <-chan Event { return w.c }

// Missed returns how many events have been dropped because the buffer was full.
func (w *Watcher) Missed() uint64 { return w.missed.Load() }

// Close stops the watcher. It may be called more than once.
func (w *Watcher) Close() {
	w.events.mu.Lock()
	defer w.events.mu.Unlock()
	delete(w.events.watchers, w)
	w.events.watched.Store(len(w.events.watchers)+len(w.events.others) > 0)
}

// OnOthers calls f with each later eviction that another process began, after it has been executed
// here, one at a time. None is lost, except when everything is evicted because writes were missed.
// f must neither block nor evict.
func (c *Cache) OnOthers(f func(Eviction)) {
	c.events.mu.Lock()
	defer c.events.mu.Unlock()
	c.events.others = append(c.events.others, f)
	c.events.watched.Store(true)
}

func (e *events) report(cause Cause, w Write) {
	if !e.watched.Load() {
		return
	}
	event := Event{At: time.Now(), Cause: cause, Xid: w.Xid, Eviction: w.Eviction}
	e.mu.Lock()
	defer e.mu.Unlock()
	for watcher := range e.watchers {
		select {
		case watcher.c <- event:
		default:
			watcher.missed.Add(1)
		}
	}
	if cause == ByOutbox || cause == ByNotice {
		for _, f := range e.others {
			f(w.Eviction)
		}
	}
}

// Meter counts the requests for the values of a coordinate by how they were served. Its methods are
// safe for concurrent use.
type Meter struct {
	Coordinate string // of the schema: "User", "Product.price"

	shadow bool // see Options.Shadow

	Memory, Shared atomic.Uint64 // hits
	Missed         atomic.Uint64 // loaded from the source
	Joined         atomic.Uint64 // served by a load that another reader began
	Stale          atomic.Uint64 // served although possibly stale
	Revalidating   atomic.Uint64 // served after they expired, while they were loaded again
	Shadow         atomic.Uint64 // loaded from the source in shadow mode, where a tier had a value
	Differences    atomic.Uint64 // of those, different from the source
	Bypassed       atomic.Uint64 // loaded from the source, since they must not be cached
	Failed         atomic.Uint64 // failed
}

// name returns the coordinate, or "" for a nil meter.
func (m *Meter) name() string {
	if m == nil {
		return ""
	}
	return m.Coordinate
}

// Hits returns how many values came from a tier.
func (m *Meter) Hits() uint64 { return m.Memory.Load() + m.Shared.Load() }

// count counts a result.
func (m *Meter) count(item *Item, r *Result) {
	switch {
	case r.Err != nil:
		m.Failed.Add(1)
	case r.Stale:
		m.Stale.Add(1)
	case r.Revalidating:
		m.Revalidating.Add(1)
	case r.Tier == MemoryTier:
		m.Memory.Add(1)
	case r.Tier == SharedTier:
		m.Shared.Add(1)
	case r.Joined:
		m.Joined.Add(1)
	case item.MaxAge <= 0:
		m.Bypassed.Add(1)
	default:
		m.Missed.Add(1)
	}
}

// meters are the meters of a cache.
type meters struct {
	mu sync.Mutex // guards of
	of map[string]*Meter
}

// Meter returns the meter of a coordinate. Every call returns the same one. Sources put it into
// their items.
func (c *Cache) Meter(coordinate string) *Meter {
	c.meters.mu.Lock()
	defer c.meters.mu.Unlock()
	m := c.meters.of[coordinate]
	if m == nil {
		if c.meters.of == nil {
			c.meters.of = map[string]*Meter{}
		}
		m = &Meter{Coordinate: coordinate, shadow: c.shadow != nil && c.shadow(coordinate)}
		c.meters.of[coordinate] = m
	}
	return m
}

// Meters returns all meters, by coordinate.
func (c *Cache) Meters() []*Meter {
	c.meters.mu.Lock()
	defer c.meters.mu.Unlock()
	all := make([]*Meter, 0, len(c.meters.of))
	for _, name := range slices.Sorted(maps.Keys(c.meters.of)) {
		all = append(all, c.meters.of[name])
	}
	return all
}

// meter counts how requests were served, by coordinate.
func meter(requests []Request, results []Result) {
	for i := range requests {
		if m := requests[i].Meter; m != nil {
			m.count(&requests[i].Item, &results[i])
		}
	}
}

// SampleHits calls report with the key of about one in every hits that memory or the shared tier
// serves, chosen at random, until SampleHits is called again. A nil report ends sampling. report is
// called concurrently and must be fast, since readers wait for it.
func (c *Cache) SampleHits(every int, report func(Key)) {
	if report == nil {
		c.sampled.Store(nil)
		return
	}
	c.sampled.Store(&hitSample{max(every, 1), report})
}

// hitSample has the arguments of [Cache.SampleHits].
type hitSample struct {
	every  int
	report func(Key)
}

// sample reports some of the hits among results, if hits are sampled.
func (c *Cache) sample(requests []Request, results []Result) {
	s := c.sampled.Load()
	if s == nil {
		return
	}
	for i := range results {
		if t := results[i].Tier; t == MemoryTier || t == SharedTier {
			s.reportOne(requests[i].Key)
		}
	}
}

// reportOne reports a hit if it is chosen.
func (s *hitSample) reportOne(key Key) {
	if rand.IntN(s.every) == 0 {
		s.report(key)
	}
}
