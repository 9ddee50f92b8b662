package cache

import (
	"context"
	"errors"
	"time"
)

// errSourceSlow ends a load for which there is something else to answer.
var errSourceSlow = errors.New("cache: the source did not answer within the lease")

// landFailed lands flights whose source failed: with what the tiers had last, if that is allowed, or with
// the error.
func (c *Cache) landFailed(ctx context.Context, fs []*flight, err error) {
	c.unboard(fs) // who comes now may have more luck
	stale := make([]*Entry, len(fs))
	if c.staleAllowed() && ctx.Err() == nil {
		c.findStale(ctx, fs, stale)
	}
	for i, f := range fs {
		r := Result{Err: err}
		if e := stale[i]; e != nil {
			tier := MemoryTier
			if e.Stamp == nil {
				tier = SharedTier
			}
			r = entryResult(e, tier)
			r.Stale, r.Stamp = true, nil // nothing may be made of it
			c.stats.Stale.Add(1)
		}
		c.land(f, r)
	}
}

// staleAllowed reports whether the database was heard of recently enough that what is cached may be
// answered in the place of an error.
func (c *Cache) staleAllowed() bool {
	return c.staleIfError > 0 && c.trust != nil && c.trust.age(time.Now()) <= c.staleIfError
}

// findStale looks for what the tiers had last, of those for whom there was nothing yet.
func (c *Cache) findStale(ctx context.Context, fs []*flight, found []*Entry) {
	var ask []*flight
	var at []int
	for i, f := range fs {
		if f.MaxAge <= 0 {
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
		if e := entries[i]; e != nil && c.serves(f, e, true) {
			found[at[i]] = e
		}
	}
}

// stale is what memory has of an item, also if it ended a while ago, unless it was evicted.
func (c *Cache) stale(item Item) *Entry {
	e := c.memory.Ended(item.Key)
	if e == nil || time.Since(e.Ends) > c.staleIfError {
		return nil
	}
	return e
}

// allStale reports whether there is something to answer in the place of every flight.
func (c *Cache) allStale(fs []*flight) bool {
	if !c.staleAllowed() {
		return false
	}
	for _, f := range fs {
		if f.MaxAge <= 0 || c.stale(f.Item) == nil {
			return false
		}
	}
	return true
}
