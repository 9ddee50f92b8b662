package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"fieldcache/cache/internal/protocol"
)

// fromSources loads what no tier holds and fills the tiers.
func (c *Cache) fromSources(g *group, fs []*flight, fill bool) {
	fs = c.along(fs)
	if fill {
		c.beginShared(g.ctx, fs)
	}
	bySource := map[Source][]*flight{}
	for _, f := range fs {
		bySource[f.Source] = append(bySource[f.Source], f)
	}
	var wg sync.WaitGroup
	for source, fs := range bySource {
		load := func() { c.fromSource(g, source, fs) }
		if len(bySource) == 1 {
			load()
		} else {
			wg.Go(load)
		}
	}
	wg.Wait()
}

// along adds flights for further values that the sources read along. No reader waits for them.
func (c *Cache) along(fs []*flight) []*flight {
	requested := make(map[Key]bool, len(fs))
	for _, f := range fs {
		requested[f.Key] = true
	}
	for _, f := range fs {
		if f.MaxAge <= 0 {
			continue // such a value may have MaxAge 0 as well
		}
		for _, r := range f.Source.Also(f.Request) {
			if !requested[r.Key] {
				requested[r.Key] = true
				fs = append(fs, &flight{Request: r, group: f.group, stamp: c.Generations().Stamp(r.Item)})
			}
		}
	}
	return fs
}

// fromSource loads the flights of one source, fills the tiers, and lands them.
func (c *Cache) fromSource(g *group, source Source, fs []*flight) {
	defer func() {
		if p := recover(); p != nil { // this goroutine may have no caller that recovers
			for _, f := range fs {
				c.flights.land(f, Result{Err: &PanicError{Value: p, Stack: debug.Stack()}}, basis{})
			}
		}
	}()
	defer c.landSlow(g, fs)()
	loaded, err := c.callInTurn(g, source, fs)
	if err != nil {
		if parts := apart(fs, err); len(parts) > 0 && g.ctx.Err() == nil {
			var wg sync.WaitGroup
			for _, part := range parts {
				wg.Go(func() { c.fromSource(g, source, part) })
			}
			wg.Wait()
			return
		}
		c.landFailed(g.ctx, fs, err, loaded.basis(&Loaded{}, false))
		return
	}
	early := rand.Float64() * jitter
	unstorable := ""
	switch {
	case !c.mayStore(loaded.seen):
		unstorable = "it was read from another database than the one whose writes are polled"
	case g.ctx.Err() != nil: // the source may have noticed, and made a value of the error
		unstorable = "nobody waited for it any longer"
	}
	fs = c.landOwn(g.ctx, fs, &loaded)
	results := make([]Result, len(fs))
	memory := make([]Fill, 0, len(fs))
	shared := make([]Fill, 0, len(fs))
	for i, f := range fs {
		r := &results[i]
		if unstorable != "" {
			*r = Result{Value: loaded.values[i], Loaded: loaded.started, Unstored: unstorable}
			continue
		}
		e := c.entryOf(f, i, &loaded, early, r)
		if e == nil {
			continue
		}
		memory = append(memory, Fill{Item: f.Item, Ticket: e.Stamp, Entry: c.inMemory(e)})
		if c.shared == nil {
			continue
		}
		fill := Fill{Item: f.Item, Ticket: f.shared, Entry: e}
		if r.Unstored = c.unshared(f, i, &loaded, fill); r.Unstored == "" && len(e.Tags) == 0 {
			shared = append(shared, fill)
		}
	}
	c.fillMemory(g.ctx, memory)
	c.fillShared(g.ctx, shared)
	for i, f := range fs {
		c.flights.land(f, results[i], loaded.basis(&loaded.own[i], results[i].Stamp != nil))
		if f.would != nil && !results[i].Standby {
			c.compare(g.ctx, f, results[i].Value, &loaded.own[i])
		}
	}
}

// entryOf returns the result of the flight at i, and the entry in which its value is stored, or nil
// if it is not stored.
func (c *Cache) entryOf(f *flight, i int, l *loaded, early float64, r *Result) *Entry {
	*r = Result{Value: l.values[i], Loaded: l.started}
	own, maxAge := &l.own[i], f.MaxAge
	if own.MaxAge > 0 {
		maxAge = min(maxAge, own.MaxAge)
	}
	if maxAge <= 0 {
		r.Unstored = "its max age is 0"
		return nil
	}
	deps := &l.deps
	if own.Deps != nil {
		deps = own.Deps
	}
	if until := earlier(l.started.Add(maxAge), deps.Until); until.Before(l.started.Add(f.MaxAge)) {
		r.until = until
	}
	if r.Stale = deps.Stale; r.Stale {
		own.Unstored = cmp.Or(own.Unstored, "a part may be outdated")
	}
	r.Revalidating = deps.Revalidating
	if r.Standby = deps.Standby || l.deps.Standby; r.Standby {
		own.Unstored = cmp.Or(own.Unstored, StandbyReason)
	}
	if r.Unstored = cmp.Or(own.Unstored, deps.Unstorable); r.Unstored == "" && own.Alone {
		r.Unstored = "it is for one reader"
	}
	if r.Unstored != "" {
		return nil
	}
	stamp, seen := f.stamp, l.seen
	if len(deps.Names) > 0 {
		stamp = Join(stamp, deps.Stamp)
	}
	since := own.Since
	if since != nil && since.polled != nil {
		seen = c.impliedSnapshot(*since.polled)
	}
	if len(own.Tags) > 0 {
		tags, ok := c.stampOf(own.Tags, seen)
		if !ok || since == nil && l.numberless != c.follower.numberless.Load() {
			r.Unstored = "a write came in between"
			return nil
		}
		stamp = Join(stamp, tags)
	}
	// All stamps were taken before this check, and later evictions end them.
	if since != nil && !(c.Generations().quiet(since.generations, f.Key, nil, f.Tags, own.Tags) &&
		c.follower.soft.quiet(since.softs, f.Key, deps.Names, f.Tags, own.Tags)) {
		r.Unstored = "a write came in between"
		return nil
	}
	e, err := newEntry(l.values[i], shapeOf(f.Request), l.started, maxAge, early, seen, stamp)
	if err != nil && own.Local == "" {
		r.Err = err
		return nil
	}
	if err != nil {
		e = localEntry(l.values[i], l.started, maxAge, early, seen, stamp)
	}
	e.Ends, e.Until, e.Tags = earlier(e.Ends, deps.Ends), r.until, own.Tags
	if !f.names(deps.Names) { // it stays in this process: see unshared
		e.Tags = slices.Clip(e.Tags)
		for _, name := range deps.Names {
			e.Tags = append(e.Tags, Tag(name))
		}
	}
	if !e.Absent() { // there may be any number of absent rows
		e.Keep = f.Keep()
	}
	r.Ends, r.Stamp, r.Tags = e.Ends, stamp, e.Tags
	return e
}

// unshared returns why the shared tier is not filled with the value of the flight at i; "" if it is
// filled, now or, for entries with their own tags, after a poll.
func (c *Cache) unshared(f *flight, i int, l *loaded, fill Fill) string {
	own, deps := &l.own[i], &l.deps
	if own.Deps != nil {
		deps = own.Deps
	}
	switch {
	case own.Local != "":
		return own.Local
	case !f.names(deps.Names):
		return "its tags do not name all that its source read through the cache"
	case f.shared == nil:
		return "the shared tier does not answer, or another load fills it"
	case fill.Entry.Absent() && !c.absent.Allow():
		return "too many rows that are not there were asked for"
	case len(own.Tags) > 0 && (c.late.added == nil || !c.late.add(fill)):
		return "what it holds cannot be followed in the shared tier"
	}
	return ""
}

// mayStore reports whether what a load read may be stored.
func (c *Cache) mayStore(seen Snapshot) bool {
	if c.follower.outbox == nil || protocol.MayKeep(seen, c.follower.floors.epoch()) {
		return true
	}
	if c.follower.floors.polled.Load() != nil {
		c.follower.doubt()
	}
	return false
}

// apart splits the flights of a failed load, or returns nil if the parts would fail as well: the
// source may fail only for one reader's requests, or for one of the items. Flights that no reader
// waits for are not loaded again.
func apart(fs []*flight, err error) [][]*flight {
	parts := byParty(fs)
	if len(parts) > 1 {
		return parts
	}
	if !errors.Is(err, ErrRow) || len(parts) == 0 {
		return nil
	}
	waited := parts[0]
	switch n := len(waited); {
	case n < len(fs):
		return parts
	case n > 1:
		return [][]*flight{waited[:n/2], waited[n/2:]}
	}
	return nil
}

// byParty groups flights by the readers that began them, without those that no reader waits for.
func byParty(fs []*flight) (parts [][]*flight) {
	at := map[*party]int{}
	for _, f := range fs {
		if f.party == nil {
			continue
		}
		i, ok := at[f.party]
		if !ok {
			i = len(parts)
			at[f.party] = i
			parts = append(parts, nil)
		}
		parts[i] = append(parts[i], f)
	}
	return parts
}

// loaded is the result of a call of a source.
type loaded struct {
	started time.Time
	values  []any
	seen    Snapshot
	deps    Deps     // of what the source read through a cache, or from a standby
	own     []Loaded // what the source returned about each value
	// numberless is the number of evictions without a transaction's number before the source was called.
	numberless uint64
	began      generationsAt // before the source was called
}

// basis returns what a value, or an error, depends on. known says that the source returned all of it.
func (l *loaded) basis(own *Loaded, known bool) basis {
	deps := &l.deps
	if own.Deps != nil {
		deps = own.Deps
	}
	b := basis{noted: !l.started.IsZero(), alone: own.Alone, began: l.began, known: known, tags: own.Tags, names: deps.Names}
	if own.Since != nil {
		b.began = own.Since.generations
	}
	if deps.since != nil && deps.since.before(b.began) {
		b.began = *deps.since
	}
	return b
}

// landOwn unpacks what the source returned about single values, and lands those that failed alone.
// It returns the others.
func (c *Cache) landOwn(ctx context.Context, fs []*flight, l *loaded) []*flight {
	l.own = make([]Loaded, len(fs))
	left, n := fs, 0
	for i, f := range fs {
		own, ok := l.values[i].(*Loaded)
		if ok && own.Err != nil {
			if n == i { // copied once: the flights belong to the group
				left = slices.Clone(fs[:i])
			}
			c.landFailed(ctx, []*flight{f}, own.Err, l.basis(own, false))
			continue
		}
		if ok {
			l.own[n], l.values[n] = *own, own.Value
		} else {
			l.values[n] = l.values[i]
		}
		if n++; n <= i {
			left = append(left, f)
		}
	}
	return left[:n]
}

// callInTurn calls the source when it is its turn.
func (c *Cache) callInTurn(g *group, source Source, fs []*flight) (loaded, error) {
	ctx := g.ctx
	if err := c.loads.Acquire(ctx, 1); err != nil {
		return loaded{}, errors.Join(err, context.Cause(ctx))
	}
	ctx, l, collector := c.enter(ctx, deepest(fs), true)
	defer l.end()
	c.flights.fly(l, fs)
	g.reading.Store(true)
	c.stats.Loads.Add(1)
	c.stats.Misses.Add(uint64(len(fs)))
	requests := make([]Request, len(fs))
	for i, f := range fs {
		requests[i] = f.Request
	}
	polled := c.follower.floors.polled.Load()
	a := loaded{started: time.Now(), numberless: c.follower.numberless.Load(), began: c.Generations().now()}
	var err error
	traced, end := c.begin(ctx, loadSpan, fs)
	a.values, a.seen, err = callSource(traced, source, requests)
	end(err)
	if collector.collected() {
		// Values from a cache are as recent as the last poll, not as the snapshot of the source's statements.
		a.deps, a.seen = collector.Deps(), Snapshot{}
	}
	if a.seen.IsZero() && polled != nil {
		a.seen = c.impliedSnapshot(*polled)
	}
	if err == nil {
		c.responded.Store(int64(time.Since(c.began)))
	}
	return a, err
}

// impliedSnapshot returns the snapshot of a load whose source returns none: the one polled before the load
// began. If a poll found another epoch less than a lease ago, connections to the old database may
// still be open, and the snapshot belongs to no polled epoch.
func (c *Cache) impliedSnapshot(polled Snapshot) Snapshot {
	if at := c.follower.floors.changed.Load(); at != nil && time.Since(*at) < c.lease {
		polled.Epoch = protocol.MixedEpoch
	}
	return polled
}

func (c *Cache) fillMemory(ctx context.Context, fills []Fill) {
	if len(fills) > 0 {
		// An eviction voided a refused fill, and memory does not fail otherwise.
		_, _ = c.memory.Fill(ctx, fills)
	}
}

// callSource calls the source and turns a panic into an error, since nothing else recovers on this
// goroutine.
func callSource(ctx context.Context, source Source, requests []Request) (values []any, seen Snapshot, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	values, seen, err = source.Load(ctx, requests)
	if err == nil && len(values) != len(requests) {
		err = fmt.Errorf("cache: a source returned %d values for %d requests", len(values), len(requests))
	}
	return values, seen, err
}
