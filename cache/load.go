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
)

// want is a request that memory does not answer, on its way to a flight.
type want struct {
	Request
	at int // its place in the results
	// newerThan is set to refresh: what ends no later is of no use.
	newerThan time.Time
	flight    *flight // what answers it
	joined    bool    // whether somebody else began the flight
}

// Load answers each request, in order: from memory, from the shared tier, or from the request's
// source. It asks the shared tier once and each source at most once; what another reader is loading
// already is waited for and not loaded again. While another load that began just now is under way it waits for its end, for
// at most a millisecond, and shares its round trips with whoever comes meanwhile. No two requests may have the same key. The values are shared
// with other readers and must not be changed. Where ctx ends before they are there the results say so.
func (c *Cache) Load(ctx context.Context, requests []Request) []Result {
	return c.load(ctx, requests, false)
}

// load is Load; with fresh no value is answered that a cache holds.
func (c *Cache) load(ctx context.Context, requests []Request, fresh bool) []Result {
	results := c.answer(ctx, requests, fresh)
	if loadingOf(ctx) != nil {
		DepsOf(ctx).read(requests, results) // the source's
	}
	return results
}

func (c *Cache) answer(ctx context.Context, requests []Request, fresh bool) []Result {
	results := make([]Result, len(requests))
	now := time.Now()
	trusted := c.trust.holds(now)
	var wants []*want
	for i, r := range requests {
		if !fresh && c.peek(&r.Item, now, &results[i]) {
			continue
		}
		wants = append(wants, &want{Request: r, at: i})
	}
	if len(wants) == 0 {
		return results
	}
	if err := c.loadWants(ctx, wants, trusted && !fresh); err != nil {
		for _, w := range wants {
			results[w.at].Err = err
		}
		return results
	}
	for _, w := range wants {
		r := w.flight.result
		if r.Joined = w.joined; r.Joined {
			c.stats.Joined.Add(1)
		}
		results[w.at] = r
	}
	return results
}

// loadWants has flights answer the wants and waits for them. An error says that ctx ended first, or that the load
// is nested too deep.
func (c *Cache) loadWants(ctx context.Context, wants []*want, trusted bool) error {
	in := loadingOf(ctx)
	if err := in.tooDeep(wants); err != nil {
		return err
	}
	if in != nil {
		in.pause()
		defer in.resume(ctx)
	}
	own := c.board(ctx, wants, trusted, in)
	defer c.waited(in, wants)
	if !c.await(ctx, wants, own) {
		return ctx.Err()
	}
	return nil
}

// carry answers the flights of a group: from the shared tier, if it may be trusted, or from their sources.
func (c *Cache) carry(g *group) {
	missing, fill := g.flights, c.shared != nil
	if c.shared != nil && g.trusted {
		missing, fill = c.fromShared(g, g.flights)
	}
	if len(missing) > 0 {
		c.fromSources(g, missing, fill)
	}
}

// fromShared lands the flights whose values the shared tier holds. The rest comes back; fill says whether
// the tier is well enough to be filled.
func (c *Cache) fromShared(g *group, fs []*flight) (rest []*flight, fill bool) {
	ask := make([]*flight, 0, len(fs))
	for _, f := range fs {
		if f.MaxAge <= 0 {
			rest = append(rest, f)
		} else {
			ask = append(ask, f)
		}
	}
	if len(ask) == 0 {
		return rest, false
	}
	g.asked.Store(true)
	entries, err := c.getOrBegin(g.ctx, ask)
	if err != nil {
		return fs, false
	}
	// Looked at again: the answer may have been long on its way.
	trusted := c.trust.holds(time.Now())
	fills := make([]Fill, 0, len(ask))
	landed := make([]Result, 0, len(ask))
	hit := ask[:0]
	for i, f := range ask {
		e := entries[i]
		if e == nil || !e.Ends.After(f.newerThan) || !c.serves(f, e, trusted) {
			rest = append(rest, f)
			continue
		}
		fills = append(fills, Fill{Item: f.Item, Ticket: e.Stamp, Entry: c.inMemory(e)})
		landed = append(landed, entryResult(e, SharedTier))
		hit = append(hit, f)
	}
	c.noteLacked(len(entries)-len(hit), len(entries))
	c.stats.SharedHits.Add(uint64(len(hit)))
	c.fillMemory(g.ctx, fills)
	for i, f := range hit {
		c.land(f, landed[i])
	}
	return rest, true
}

func (c *Cache) getShared(ctx context.Context, fs []*flight) (entries []*Entry, err error) {
	err = c.askShared(ctx, func(ctx context.Context) (err error) {
		entries, err = c.shared.Get(ctx, items(fs))
		return err
	})
	return entries, err
}

// getOrBegin asks the shared tier for what flights are about, and for tickets at once where most of it is likely
// not there.
func (c *Cache) getOrBegin(ctx context.Context, fs []*flight) (entries []*Entry, err error) {
	announcer, ok := c.shared.(Announcer)
	if !ok || !c.likelyMissing(fs) {
		return c.getShared(ctx, fs)
	}
	var tickets []Ticket
	err = c.askShared(ctx, func(ctx context.Context) (err error) {
		entries, tickets, err = announcer.GetOrBegin(ctx, items(fs))
		return err
	})
	if err != nil {
		return nil, err
	}
	for i, f := range fs {
		f.begun, f.shared = true, tickets[i]
	}
	return entries, nil
}

// likelyMissing guesses whether the shared tier lacks most of what flights are about: because it lacked most of what
// it was asked for lately, or because that was written since this gateway began or ended in memory a moment ago, by
// some of them.
func (c *Cache) likelyMissing(fs []*flight) bool {
	if c.lacked.Load() > lackedMost {
		return true
	}
	const some = 8
	step := (len(fs) + some - 1) / some
	asked, missing := 0, 0
	for i := 0; i < len(fs); i += step {
		asked++
		if f := fs[i]; c.floors.has(f.Key) || c.memory.Ended(f.Key) != nil {
			missing++
		}
	}
	return 2*missing > asked
}

// What the shared tier lacked lately is a moving average, in thousandths: each answer counts for an eighth. Above
// lackedMost it is guessed to lack the next as well.
const (
	lackedAll  = 1000
	lackedMost = 750
)

// noteLacked notes how much of an answer of the shared tier was missing. Of two notes at the same time one may be lost:
// it is a guess.
func (c *Cache) noteLacked(missing, asked int) {
	c.lacked.Store((c.lacked.Load()*7 + uint32(lackedAll*missing/asked)) / 8)
}

// serves reports whether an entry of the shared tier may be served, and decodes it.
func (c *Cache) serves(f *flight, e *Entry, trusted bool) bool {
	e.Stamp = f.stamp
	if len(e.Tags) > 0 {
		own, ok := c.stampOf(e.Tags, e.Seen)
		if !ok {
			c.stats.BelowFloor.Add(1)
			return false
		}
		e.Stamp = Join(f.stamp, own)
	}
	if c.outbox != nil {
		switch c.floors.judge(f.Item, e.Seen, trusted) {
		case Serve:
		case BelowFloor, PastHorizon:
			c.stats.BelowFloor.Add(1)
			return false
		case OtherEpoch:
			c.stats.Foreign.Add(1)
			return false
		default:
			return false
		}
	}
	if e.Shape != shapeOf(f.Request) {
		return false // of another release
	}
	if e.Absent() {
		return !e.Ends.After(e.Loaded.Add(AbsentMaxAge))
	}
	var err error
	e.Value, err = f.Source.Decode(f.Request, e.Data)
	return err == nil // else it is not ours, or of another version: the fill that follows puts it right
}

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

// along adds what the sources read besides. Nobody waits for it.
func (c *Cache) along(fs []*flight) []*flight {
	asked := make(map[Key]bool, len(fs))
	for _, f := range fs {
		asked[f.Key] = true
	}
	for _, f := range fs {
		if f.MaxAge <= 0 {
			continue // what is read besides may not be meant to be kept either
		}
		for _, r := range f.Source.Also(f.Request) {
			if !asked[r.Key] {
				asked[r.Key] = true
				fs = append(fs, &flight{Request: r, group: f.group, stamp: c.Generations().Stamp(r.Item)})
			}
		}
	}
	return fs
}

func (c *Cache) beginShared(ctx context.Context, fs []*flight) {
	ask := make([]*flight, 0, len(fs))
	for _, f := range fs {
		if f.MaxAge > 0 && !f.begun {
			ask = append(ask, f)
		}
	}
	if len(ask) == 0 {
		return
	}
	var tickets []Ticket
	err := c.askShared(ctx, func(ctx context.Context) (err error) {
		tickets, err = c.shared.Begin(ctx, items(ask))
		return err
	})
	if err != nil {
		return
	}
	for i, f := range ask {
		f.shared = tickets[i]
	}
}

// fromSource loads the flights of one source, fills the tiers, and lands them.
func (c *Cache) fromSource(g *group, source Source, fs []*flight) {
	defer func() {
		if p := recover(); p != nil { // this may be a goroutine on which nobody else would
			for _, f := range fs {
				c.land(f, Result{Err: &PanicError{Value: p, Stack: debug.Stack()}})
			}
		}
	}()
	defer c.landSlow(g, fs)()
	loaded, err := c.ask(g, source, fs)
	if err != nil {
		if parts := apart(fs, err); len(parts) > 0 && g.ctx.Err() == nil {
			var wg sync.WaitGroup
			for _, part := range parts {
				wg.Go(func() { c.fromSource(g, source, part) })
			}
			wg.Wait()
			return
		}
		c.landFailed(g.ctx, fs, err)
		return
	}
	keep := c.keeps(loaded.seen)
	early := rand.Float64() * jitter
	fs = c.landOwn(g.ctx, fs, &loaded)
	results := make([]Result, len(fs))
	memory := make([]Fill, 0, len(fs))
	shared := make([]Fill, 0, len(fs))
	for i, f := range fs {
		r := &results[i]
		*r = Result{Value: loaded.values[i], Loaded: loaded.started}
		own, maxAge := loaded.own[i], f.MaxAge
		if own.MaxAge > 0 {
			maxAge = min(maxAge, own.MaxAge)
		}
		if maxAge <= 0 {
			r.Unstored = "its max age is 0"
			continue
		}
		if !keep {
			r.Unstored = "it was read from another database than the one whose writes are polled"
			continue
		}
		made, seen := loaded.made, loaded.seen
		if own.Made != nil {
			made = *own.Made
		}
		if r.Stale = made.Stale; r.Stale {
			own.Unstored = cmp.Or(own.Unstored, "a part may no longer be true")
		}
		if r.Unstored = cmp.Or(own.Unstored, made.Unkept); r.Unstored != "" {
			continue
		}
		stamp := f.stamp
		if len(made.Names) > 0 {
			stamp = Join(stamp, made.Stamp)
		}
		if len(own.Tags) > 0 {
			tags, ok := c.stampOf(own.Tags, seen)
			if !ok || loaded.numberless != c.numberless.Load() {
				r.Unstored = "a write came in between"
				continue
			}
			stamp = Join(stamp, tags)
		}
		e, err := newEntry(loaded.values[i], shapeOf(f.Request), loaded.started, maxAge, early, seen, stamp)
		if err != nil && own.Local == "" {
			r.Err = err
			continue
		}
		if err != nil {
			e = localEntry(loaded.values[i], loaded.started, maxAge, early, seen, stamp)
		}
		e.Ends, e.Tags = earlier(e.Ends, made.Ends), own.Tags
		r.Ends, r.Stamp, r.Tags = e.Ends, stamp, own.Tags
		memory = append(memory, Fill{Item: f.Item, Ticket: stamp, Entry: c.inMemory(e)})
		fill := Fill{Item: f.Item, Ticket: f.shared, Entry: e}
		switch {
		case c.shared == nil:
		case own.Local != "":
			r.Unstored = own.Local
		case !f.names(made.Names):
			r.Unstored = "its tags do not name all that its source read through the cache"
		case f.shared == nil:
			r.Unstored = "the shared tier does not answer, or another load fills it"
		case e.Absent() && !c.absent.Allow():
			r.Unstored = "too many rows that are not there were asked for"
		case len(own.Tags) > 0 && (c.late.added == nil || !c.late.add(fill)):
			r.Unstored = "what it holds cannot be followed in the shared tier"
		case len(own.Tags) == 0:
			shared = append(shared, fill)
		}
	}
	c.fillMemory(g.ctx, memory)
	c.fillShared(g.ctx, shared)
	for i, f := range fs {
		c.land(f, results[i])
	}
}

// keeps reports whether what a load read may be kept.
func (c *Cache) keeps(seen Snapshot) bool {
	if c.outbox == nil || MayKeep(seen, c.floors.epoch()) {
		return true
	}
	if c.floors.polled.Load() != nil {
		c.doubt()
	}
	return false
}

// apart parts the flights of a load that failed, nil where parts would fail as well: what one reader asks for, or
// one of the things asked for, may be what the source fails on. What nobody waits for is not loaded again.
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

// byParty parts flights by the readers who began them, without those that nobody waits for.
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

// loaded is what a source answered.
type loaded struct {
	started time.Time
	values  []any
	seen    Snapshot
	made    Made     // of what the source read through a cache
	own     []Loaded // what the source said of each value
	// numberless is how many evictions there were, before the source was asked, of which no snapshot tells.
	numberless uint64
}

// landOwn takes apart what the source said of single values, and lands those that failed by themselves. The
// others come back.
func (c *Cache) landOwn(ctx context.Context, fs []*flight, l *loaded) []*flight {
	l.own = make([]Loaded, len(fs))
	left, n := fs, 0
	for i, f := range fs {
		own, ok := l.values[i].(*Loaded)
		if ok && own.Err != nil {
			if n == i { // the first one: the flights are the group's
				left = slices.Clone(fs[:i])
			}
			c.landFailed(ctx, []*flight{f}, own.Err)
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

// ask calls the source, when it is its turn.
func (c *Cache) ask(g *group, source Source, fs []*flight) (loaded, error) {
	ctx := g.ctx
	if err := c.loads.Acquire(ctx, 1); err != nil {
		return loaded{}, errors.Join(err, context.Cause(ctx))
	}
	ctx, l, deps := c.enter(ctx, deepest(fs), true)
	defer l.end()
	c.fly(l, fs)
	g.asked.Store(true)
	c.stats.Loads.Add(1)
	c.stats.Misses.Add(uint64(len(fs)))
	requests := make([]Request, len(fs))
	for i, f := range fs {
		requests[i] = f.Request
	}
	polled := c.floors.polled.Load()
	a := loaded{started: time.Now(), numberless: c.numberless.Load()}
	var err error
	a.values, a.seen, err = askSource(ctx, source, requests)
	if deps.isRead() {
		// What came from a cache is as new as what was polled, not as what the source's statements saw.
		a.made, a.seen = deps.Made(), Snapshot{}
	}
	if a.seen.IsZero() && polled != nil {
		a.seen = c.unsaid(*polled)
	}
	if err == nil {
		c.heard.Store(int64(time.Since(c.began)))
	}
	return a, err
}

// unsaid is the snapshot of a load whose source does not say it: the one polled before the load began. If a poll brought
// another epoch not a lease ago, connections to the old database may still be open, and it is none that is polled.
func (c *Cache) unsaid(polled Snapshot) Snapshot {
	if at := c.floors.changed.Load(); at != nil && time.Since(*at) < c.lease {
		polled.Epoch = mixedEpoch
	}
	return polled
}

// fillShared puts entries into the shared tier. What it refuses was evicted meanwhile, or another load
// fills it.
func (c *Cache) fillShared(ctx context.Context, fills []Fill) {
	if len(fills) == 0 {
		return
	}
	stored := 0
	err := c.askShared(ctx, func(ctx context.Context) (err error) {
		stored, err = c.shared.Fill(ctx, fills)
		return err
	})
	if err == nil {
		c.stats.Fills.Add(uint64(stored))
		c.stats.Refused.Add(uint64(len(fills) - stored))
	}
}

func (c *Cache) fillMemory(ctx context.Context, fills []Fill) {
	if len(fills) > 0 {
		// A refused fill was voided by an eviction, and memory does not fail otherwise.
		_, _ = c.memory.Fill(ctx, fills)
	}
}

// askSource calls the source and turns a panic into an error: it runs on a goroutine of ours, where nobody
// else would recover.
func askSource(ctx context.Context, source Source, requests []Request) (values []any, seen Snapshot, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	values, seen, err = source.Load(ctx, requests)
	if err == nil && len(values) != len(requests) {
		err = fmt.Errorf("cache: a source answered %d values to %d requests", len(values), len(requests))
	}
	return values, seen, err
}

func items(fs []*flight) []Item {
	items := make([]Item, len(fs))
	for i, f := range fs {
		items[i] = f.Item
	}
	return items
}
