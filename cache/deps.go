package cache

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Collector collects the dependencies of a value while it is computed: of a whole response, or of
// part of one. It is safe for concurrent use.
type Collector struct {
	parent *Collector
	began  time.Time // truncated like the times of entries

	watch      *Watch // that of the whole operation; nil: statements are not watched
	strays     uint64 // the watch's count at the beginning
	where      func(context.Context) fmt.Stringer
	statements *statementsSince // where it begins in the logs of statements; nil if they are not remembered
	listed     bool             // statements are listed, and do not prevent the value from being stored
	known      bool             // statements belong to a source, or to a value that is not stored

	mu     sync.Mutex
	stamps []*Stamp
	names  []string
	tags   []Tag     // of the item that was added last
	until  time.Time // the earliest moment at which a dependency reaches its max age
	ends   time.Time // the earliest end of a dependency
	reason string    // why the value must not be stored; "" if it may be
	cached int
	loaded int
	reads  []coordinateRead // the coordinates of the values read, each once
	stale  bool
	// revalidating, passing and standby are those of Deps.
	revalidating, passing, standby bool

	unknown []fmt.Stringer // where statements ran outside of a source, each place once
	// acknowledged is that of Deps.
	acknowledged string
	since        *generationsAt // that of Deps

	// room is the first memory of names, stamps and reads: enough for most values.
	room struct {
		names  [6]string
		stamps [4]*Stamp
		reads  [3]coordinateRead
	}
}

// Deps is what a computed value depends on.
type Deps struct {
	// Began is when the computation began.
	Began time.Time
	// Stamp holds until one of the dependencies is evicted.
	Stamp *Stamp
	// Ends is when the first of them expires; zero if there are none.
	Ends time.Time
	// Until is when the first of them reaches its max age. Ends is earlier by a random part. Zero if there are none.
	Until time.Time
	// Names are their keys and tags, each once.
	Names []string
	// Unstorable says why the value must not be stored; "" if it may be.
	Unstorable string
	// Cached and Loaded are how many of them came from a cache and how many from their source.
	Cached, Loaded int
	// Asked are the coordinates of the values, each once. Saved counts those of which no value came from its source:
	// without a cache, each of them takes at least one statement.
	Asked []*Meter
	Saved int
	// Stale reports whether one of them may be outdated, because its source failed.
	Stale bool
	// Revalidating reports whether one of them has expired and is loaded again in the background.
	Revalidating bool
	// Passing reports whether HTTP caches must not store the value either: one of the dependencies has expired, is in
	// shadow mode, or is not trusted.
	Passing bool
	// Standby reports whether it may be made of the rows of a standby, which may lag behind: see [OnStandby].
	Standby bool
	// Unknown are places at which statements ran outside of a source, a few at most. If there are any, neither this
	// process nor an HTTP cache may store the value.
	Unknown []fmt.Stringer
	// Acknowledged says what allowed the acknowledgement of a write whose eviction the shared tier did not execute, or
	// whose record could not be polled: "relay", another gateway relayed it; or "lease", by then no gateway serves
	// older entries. "" if there was no such write.
	Acknowledged string
	// Statements are the texts of the statements that the value may depend on: see [Watch.CollectStatements].
	Statements []string

	since *generationsAt // the earliest since of the results
}

// coordinateRead is a coordinate whose values were read.
type coordinateRead struct {
	meter  *Meter
	loaded bool // whether one of its values came from the source
}

type collectorKey struct{}

// Collect returns a context whose reads are collected, by the returned Collector and by those of
// ctx.
func Collect(ctx context.Context) (context.Context, *Collector) {
	d := &Collector{parent: CollectorOf(ctx)}
	if p := d.parent; p != nil {
		d.watch, d.where = p.watch, p.where
	}
	return collect(ctx, d)
}

func collect(ctx context.Context, c *Collector) (context.Context, *Collector) {
	c.began, c.strays = time.Now().Truncate(time.Millisecond), c.watch.seen()
	c.names, c.stamps, c.reads = c.room.names[:0], c.room.stamps[:0], c.room.reads[:0]
	return context.WithValue(ctx, collectorKey{}, c), c
}

// CollectorOf returns the Collector of ctx, or nil if it has none.
func CollectorOf(ctx context.Context) *Collector {
	d, _ := ctx.Value(collectorKey{}).(*Collector)
	return d
}

// read adds the results of a batch. c may be nil.
func (c *Collector) read(requests []Request, results []Result) {
	for ; c != nil; c = c.parent {
		c.mu.Lock()
		for i := range requests {
			c.note(&requests[i].Item, &results[i])
		}
		c.mu.Unlock()
	}
}

// Hit adds an item that [Cache.PeekSettled] found in memory. c may be nil.
func (c *Collector) Hit(item Item, r Result) {
	for ; c != nil; c = c.parent {
		c.mu.Lock()
		c.note(&item, &r)
		c.mu.Unlock()
	}
}

func (c *Collector) note(item *Item, r *Result) {
	c.names = append(c.names, string(item.Key))
	if !sameTags(item.Tags, c.tags) { // items of one kind share their tags
		c.tags = item.Tags
		for _, t := range item.Tags {
			c.names = append(c.names, string(t))
		}
	}
	for _, t := range r.Tags {
		c.names = append(c.names, string(t))
	}
	loaded := r.Tier == SourceTier || !r.Loaded.Before(c.began) // or loaded together with another item
	if loaded {
		c.loaded++
	} else {
		c.cached++
	}
	if item.Meter != nil {
		c.noteRead(item.Meter, loaded)
	}
	if r.since != nil && (c.since == nil || r.since.before(*c.since)) {
		c.since = r.since
	}
	c.until = earlier(c.until, r.until)
	switch {
	case r.Err != nil:
		c.reason = "a read failed"
		return
	case r.Stale:
		c.reason, c.stale = "a part may be outdated", true
		return
	case r.Revalidating:
		c.reason, c.revalidating, c.passing = "a part has expired and is loaded again", true, true
		return
	case r.Standby:
		c.noteStandby()
		return
	case r.Shadow:
		c.reason, c.passing = "a part is in shadow mode", true
		return
	case r.Stamp == nil:
		c.reason = "a part is not stored: " + string(item.Key)
		return
	}
	c.stamps = append(c.stamps, r.Stamp)
	age := item.MaxAge
	if r.Value == nil {
		age = min(age, absentMaxAge)
	}
	c.until = earlier(c.until, r.Loaded.Add(age))
	c.ends = earlier(c.ends, r.Ends)
}

// noteRead records that a value of a coordinate was read.
func (c *Collector) noteRead(m *Meter, loaded bool) {
	for i := len(c.reads) - 1; i >= 0; i-- { // usually the last one
		if a := &c.reads[i]; a.meter == m {
			a.loaded = a.loaded || loaded
			return
		}
	}
	c.reads = append(c.reads, coordinateRead{m, loaded})
}

// sameTags reports whether two lists are the same slice. It may return false for different slices
// with the same tags.
func sameTags(a, b []Tag) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// Unknown returns places at which statements have run outside of a source so far, a few at most. c may be nil.
func (c *Collector) Unknown() []fmt.Stringer {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.unknown)
}

// collected reports whether a source read anything through a cache, or from a standby.
func (c *Collector) collected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.names) > 0 || c.standby
}

// Use adds the dependencies of a stored value that is used.
func (c *Collector) Use(m Deps) {
	for ; c != nil; c = c.parent {
		c.mu.Lock()
		c.names = append(c.names, m.Names...)
		if m.Unstorable != "" {
			c.reason = m.Unstorable
		}
		c.cached++
		for _, meter := range m.Asked {
			c.noteRead(meter, false)
		}
		c.stamps = append(c.stamps, m.Stamp)
		if !m.Ends.IsZero() {
			c.until, c.ends = earlier(c.until, m.Until), earlier(c.ends, m.Ends)
		}
		c.mu.Unlock()
	}
}

// NoStore prevents the value being computed from being stored by this process.
func (c *Collector) NoStore(reason string) {
	for ; c != nil; c = c.parent {
		c.mu.Lock()
		c.reason = reason
		c.mu.Unlock()
	}
}

// Distrust prevents the value being computed from being stored by any cache, including those
// downstream.
func (c *Collector) Distrust(reason string) {
	for ; c != nil; c = c.parent {
		c.mu.Lock()
		c.reason, c.passing = reason, true
		c.mu.Unlock()
	}
}

// acknowledge records what allowed a late acknowledgement. A lease replaces a relay: that write waited longer.
func (c *Collector) acknowledge(by string) {
	for ; c != nil; c = c.parent {
		c.mu.Lock()
		if c.acknowledged != ByLease {
			c.acknowledged = by
		}
		c.mu.Unlock()
	}
}

// Deps returns what was collected so far.
func (c *Collector) Deps() Deps {
	c.mu.Lock()
	defer c.mu.Unlock()
	var statements []string
	if c.statements != nil && c.statements.standby(c.watch) {
		c.noteStandby()
	}
	if c.listed {
		var all bool
		if statements, all = c.statements.list(c.watch); !all {
			c.noteUnknown(nil)
		}
	} else if c.watch.seen() != c.strays {
		c.noteUnknown(nil)
	}
	slices.Sort(c.names)
	c.names = slices.Compact(c.names)
	meters, saved := make([]*Meter, len(c.reads)), 0
	for i, a := range c.reads {
		meters[i] = a.meter
		if !a.loaded {
			saved++
		}
	}
	return Deps{
		Began: c.began, Asked: meters, Saved: saved,
		Stamp: Join(c.stamps...), Ends: c.ends, Until: c.until,
		Names: slices.Clone(c.names), Unstorable: c.reason, Cached: c.cached, Loaded: c.loaded, Stale: c.stale,
		Revalidating: c.revalidating, Passing: c.passing, Standby: c.standby, Acknowledged: c.acknowledged,
		Unknown: slices.Clone(c.unknown), Statements: statements, since: c.since,
	}
}

// earlier returns the earlier of two times, ignoring zero ones.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

type (
	noCacheKey struct{}
	noStoreKey struct{}
)

// NoCache returns a context whose operation reads everything from its source. The caches are only
// filled. See [Batch.NoCache].
func NoCache(ctx context.Context) context.Context { return context.WithValue(ctx, noCacheKey{}, true) }

// IsNoCache reports whether ctx comes from [NoCache].
func IsNoCache(ctx context.Context) bool { return ctx.Value(noCacheKey{}) != nil }

// NoStore returns a context whose operation stores nothing in the caches. See [Batch.NoStore].
func NoStore(ctx context.Context) context.Context { return context.WithValue(ctx, noStoreKey{}, true) }

// IsNoStore reports whether ctx comes from [NoStore].
func IsNoStore(ctx context.Context) bool { return ctx.Value(noStoreKey{}) != nil }
