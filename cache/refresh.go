package cache

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	// refreshPart is the last part of an entry's age in which a hit starts a load in the background, so that an entry
	// with many hits does not expire.
	refreshPart = 0.1
	// refreshLeast is the age below which entries are not refreshed: there would be more refreshes than hits.
	refreshLeast = 5 * time.Second
)

// hit refreshes an entry that is about to expire, and audits one in auditEvery hits, in the
// background. It is called with hits in memory.
func (c *Cache) hit(ctx context.Context, r *Request, found *Result, now time.Time) {
	if found.refreshes(now) {
		c.refresh(ctx, r, found)
	}
	if c.auditEvery > 0 && (r.Audit || rand.IntN(c.auditEvery) == 0) && c.audits.Allow() {
		c.audit(ctx, r, found)
	}
}

// refreshes reports whether a hit is to be refreshed in the background.
func (r *Result) refreshes(now time.Time) bool {
	age := r.Ends.Sub(r.Loaded)
	return r.Revalidating || age >= refreshLeast && r.Ends.Sub(now) < time.Duration(refreshPart*float64(age))
}

// refresh loads an item again, unless another load already does.
func (c *Cache) refresh(ctx context.Context, r *Request, found *Result) {
	// No reader waits, so none leaves: the group runs to its end.
	if c.flights.board(ctx, []*want{{Request: *r, newerThan: found.Ends}}, true, nil) != nil {
		c.stats.Refreshes.Add(1)
	}
}
