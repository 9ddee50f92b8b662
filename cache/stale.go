package cache

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// ErrSlowSource is the error of a value that no tier had when its source did not respond, while
// other values of the same batch are served stale.
var ErrSlowSource = errors.New("cache: the source did not answer within the lease")

// landFailed lands flights whose source failed: with what the tiers had last, if that is allowed, or with
// the error.
func (c *Cache) landFailed(ctx context.Context, fs []*flight, err error) {
	c.flights.unboard(fs) // who comes now may have more luck
	stale := make([]*Entry, len(fs))
	if ctx.Err() == nil {
		c.findStale(ctx, fs, stale)
	}
	for i, f := range fs {
		if e := stale[i]; e != nil {
			c.landStale(f, e)
		} else {
			c.flights.land(f, Result{Err: err})
		}
	}
}

// landStale lands a flight with what a tier had last.
func (c *Cache) landStale(f *flight, e *Entry) {
	tier := MemoryTier
	if e.Stamp == nil {
		tier = SharedTier
	}
	r := entryResult(e, tier)
	r.Stale, r.Stamp = true, nil // nothing may be made of it
	c.stats.Stale.Add(1)
	c.flights.land(f, r)
}

// landSlow lands flights while their source is being asked, with what the tiers had last, once the database has been
// silent for a lease: neither a poll nor the source was answered. Where it was found to hang a moment ago, the time for
// a poll is enough, so that a query of many levels does not wait a lease for each of them. The source goes on for
// readers for whom there is nothing at all. The function that landSlow returns ends it.
func (c *Cache) landSlow(g *group, fs []*flight) (end func()) {
	if c.follower.trust == nil || !slices.ContainsFunc(fs, func(f *flight) bool { return c.staleFor(&f.Item) > 0 }) {
		return func() {}
	}
	now := time.Now()
	s := silence{lease: c.lease, patience: c.lease, since: now, looked: now}
	if c.follower.trust.holds(now) {
		c.hangs.Store(false)
	} else if c.hangs.Load() {
		s.patience = min(c.lease, pollEvery+c.lease/10)
	}
	// A copy without what has landed, so that nothing is asked for twice.
	left := append([]*flight(nil), fs...)
	var mu sync.Mutex // guards timer and ended
	var timer *time.Timer
	ended := false
	look := func() {
		if s.lasts(time.Now()) && !c.follower.trust.holds(time.Now()) && g.ctx.Err() == nil {
			left = c.landWhatIsStale(g.ctx, &s, left)
		}
		mu.Lock()
		defer mu.Unlock()
		if !ended && len(left) > 0 && g.ctx.Err() == nil {
			timer.Reset(s.pause())
		}
	}
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(s.pause(), look)
	return func() {
		mu.Lock()
		defer mu.Unlock()
		ended = true
		timer.Stop()
	}
}

// silence is how long a source has not answered, as several looks saw it. Only time counts in which this process ran:
// when a frozen process goes on, its timers end at once, and answers have arrived that nobody has read yet. After a
// look that comes late the silence begins anew.
type silence struct {
	lease    time.Duration
	patience time.Duration // how long it has to last
	since    time.Time
	looked   time.Time // the last time
}

// pause is the time between two looks.
func (s *silence) pause() time.Duration {
	if left := s.patience - s.looked.Sub(s.since); left > 0 {
		return min(s.lease/4, left)
	}
	return s.lease / 4
}

// lasts is a look. It reports whether the silence has lasted long enough.
func (s *silence) lasts(now time.Time) bool {
	late := now.Sub(s.looked) > s.pause()+s.lease/4
	s.looked = now
	if late {
		s.since, s.patience = now, s.lease
	}
	return now.Sub(s.since) >= s.patience
}

// landWhatIsStale lands those flights for which there is something, and returns the others. It does not let a reader
// who gets some values wait for the rest: as with a database that refuses, part of an answer is better than none.
func (c *Cache) landWhatIsStale(ctx context.Context, s *silence, fs []*flight) (left []*flight) {
	found := make([]*Entry, len(fs))
	began := time.Now()
	c.findStale(ctx, fs, found)
	// Looked at again: the shared tier, or a process that does not run, may have taken long.
	quick := c.lease / 4
	if c.shared != nil {
		quick += c.shared.timeout
	}
	if now := time.Now(); now.Sub(began) <= quick {
		s.looked = now
	}
	if !s.lasts(time.Now()) || c.follower.trust.holds(time.Now()) {
		return fs
	}
	answered := map[*party]bool{}
	for i, f := range fs {
		if found[i] != nil && f.party != nil {
			c.hangs.Store(true)
			answered[f.party] = true
		}
	}
	for i, f := range fs {
		switch e := found[i]; {
		case e != nil:
			c.landStale(f, e)
		case answered[f.party]:
			c.flights.land(f, Result{Err: ErrSlowSource})
		default:
			left = append(left, f)
		}
	}
	return left
}

// staleFor is for how long after its end an item's value may be answered if its source fails.
func (c *Cache) staleFor(item *Item) time.Duration {
	if item.StaleIfError != 0 {
		return item.StaleIfError
	}
	return c.staleIfError
}

// staleAllowed reports whether the database was heard of recently enough that what is cached of an item may be
// answered in the place of an error.
func (c *Cache) staleAllowed(item *Item) bool {
	window := c.staleFor(item)
	return window > 0 && c.follower.trust != nil && c.follower.trust.age(time.Now()) <= window
}

// findStale looks for what the tiers had last, of those for whom there was nothing yet.
func (c *Cache) findStale(ctx context.Context, fs []*flight, found []*Entry) {
	var ask []*flight
	var at []int
	for i, f := range fs {
		if f.MaxAge <= 0 || !c.staleAllowed(&f.Item) {
			continue
		}
		if found[i] = c.stale(f.Item); found[i] == nil && c.shared != nil {
			ask, at = append(ask, f), append(at, i)
		}
	}
	if len(ask) == 0 {
		return
	}
	entries, err := c.getShared(ctx, ask)
	if err != nil {
		return
	}
	for i, f := range ask {
		if e := entries[i]; e != nil && time.Since(e.Ends) <= c.staleFor(&f.Item) && c.serves(f, e, true) {
			e.Stamp = nil // it is of the shared tier, and of no use to who makes something of it
			found[at[i]] = e
		}
	}
}

// stale is what memory has of an item, also if it ended a while ago, unless it was evicted.
func (c *Cache) stale(item Item) *Entry {
	e := c.memory.Ended(item.Key)
	if e == nil || time.Since(e.Ends) > c.staleFor(&item) {
		return nil
	}
	return e
}
