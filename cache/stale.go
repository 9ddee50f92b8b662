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
var ErrSlowSource = errors.New("cache: the source did not respond within the lease")

// landFailed lands flights whose source failed: with the last known values, if that is allowed, or
// with the error.
func (c *Cache) landFailed(ctx context.Context, fs []*flight, err error, b basis) {
	c.flights.unboard(fs) // a later reader starts a new load
	stale := make([]*Entry, len(fs))
	if ctx.Err() == nil {
		c.findStale(ctx, fs, stale)
	}
	for i, f := range fs {
		if e := stale[i]; e != nil {
			c.landStale(f, e)
		} else {
			c.flights.land(f, Result{Err: err}, b)
		}
	}
}

// landStale lands a flight with the last known value.
func (c *Cache) landStale(f *flight, e *Entry) {
	tier := MemoryTier
	if e.Stamp == nil {
		tier = SharedTier
	}
	r := entryResult(e, tier)
	r.Stale, r.Stamp = true, nil // what is computed from it is not stored
	c.stats.Stale.Add(1)
	c.flights.land(f, r, basis{})
}

// landSlow lands flights while their source is still running, with the last known values, once the
// database has been silent for a lease: neither a poll nor the source returned. If the source hung
// a moment ago, the time of one poll is enough, so that a query of many levels does not wait a
// lease for each of them. The source continues for readers without any value. The returned function
// ends landSlow.
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
	// A copy without the landed flights, so that nothing is loaded twice.
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

// silence measures how long a source has not returned, by several looks. Only time in which this
// process ran counts: when a frozen process continues, its timers fire at once, and responses have
// arrived that were not read yet. A look that comes late restarts the measurement.
type silence struct {
	lease    time.Duration
	patience time.Duration // how long the silence must last
	since    time.Time
	looked   time.Time // when it was checked last
}

// pause is the time between two looks.
func (s *silence) pause() time.Duration {
	if left := s.patience - s.looked.Sub(s.since); left > 0 {
		return min(s.lease/4, left)
	}
	return s.lease / 4
}

// lasts checks once. It reports whether the silence has lasted long enough.
func (s *silence) lasts(now time.Time) bool {
	late := now.Sub(s.looked) > s.pause()+s.lease/4
	s.looked = now
	if late {
		s.since, s.patience = now, s.lease
	}
	return now.Sub(s.since) >= s.patience
}

// landWhatIsStale lands the flights for which there is a value, and returns the others. A reader
// with some values does not wait for the rest: as when the database refuses connections, part of
// the response is better than none.
func (c *Cache) landWhatIsStale(ctx context.Context, s *silence, fs []*flight) (left []*flight) {
	found := make([]*Entry, len(fs))
	began := time.Now()
	c.findStale(ctx, fs, found)
	// Checked again: the shared tier may have taken long, or the process may have been frozen.
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
			c.flights.land(f, Result{Err: ErrSlowSource}, basis{})
		default:
			left = append(left, f)
		}
	}
	return left
}

// staleFor returns for how long after its end an item's value may be served if its source fails.
func (c *Cache) staleFor(item *Item) time.Duration {
	if item.StaleIfError != 0 {
		return item.StaleIfError
	}
	return c.staleIfError
}

// staleAllowed reports whether the database responded recently enough for cached values of an item
// to be served instead of an error.
func (c *Cache) staleAllowed(item *Item) bool {
	window := c.staleFor(item)
	return window > 0 && c.follower.trust != nil && c.follower.trust.age(time.Now()) <= window
}

// findStale finds the last known values of the flights that have none yet.
func (c *Cache) findStale(ctx context.Context, fs []*flight, found []*Entry) {
	var lookups []*flight
	var at []int
	for i, f := range fs {
		if f.MaxAge <= 0 || !c.staleAllowed(&f.Item) {
			continue
		}
		if found[i] = c.stale(f.Item); found[i] == nil && c.shared != nil {
			lookups, at = append(lookups, f), append(at, i)
		}
	}
	if len(lookups) == 0 {
		return
	}
	began := c.Generations().now()
	entries, err := c.getShared(ctx, lookups)
	if err != nil {
		return
	}
	for i, f := range lookups {
		if e := entries[i]; e != nil && -Left(time.Now(), e.Ends) <= c.staleFor(&f.Item) && c.serves(f, e, true, began) {
			e.Stamp = nil // a stamp of the shared tier is of no use for what is computed from the value
			found[at[i]] = e
		}
	}
}

// stale returns the entry that memory has for an item, even if it has expired, unless it was
// evicted.
func (c *Cache) stale(item Item) *Entry {
	e := c.memory.Ended(item.Key)
	if e == nil || -Left(time.Now(), e.Ends) > c.staleFor(&item) {
		return nil
	}
	return e
}
