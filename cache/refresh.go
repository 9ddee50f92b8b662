package cache

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"time"
)

const (
	// refreshPart is the last part of an entry's age in which a hit has it read again in the background:
	// what is asked for often does not end while somebody waits.
	refreshPart = 0.1
	// refreshLeast is the age below which nothing is refreshed: there would be more of it than of hits.
	refreshLeast = 5 * time.Second
)

// auditPause is how long there is no audit after one: how many hits there are must not decide how much the database is
// asked.
const auditPause = time.Second

// hit does in the background what follows from some of the hits: what ends soon is refreshed, and one in so
// many is audited. It is called with hits in memory.
func (c *Cache) hit(ctx context.Context, r *Request, found *Result, now time.Time) {
	if found.refreshes(now) {
		c.refresh(ctx, r, found)
	}
	if c.auditEvery > 0 && (r.Audit || rand.IntN(c.auditEvery) == 0) && c.audits.Allow() {
		c.audit(ctx, r, found)
	}
}

// refreshes reports whether a hit is to be read again in the background.
func (r *Result) refreshes(now time.Time) bool {
	age := r.Ends.Sub(r.Loaded)
	return age >= refreshLeast && r.Ends.Sub(now) < time.Duration(refreshPart*float64(age))
}

// refresh loads an item anew unless somebody does already.
func (c *Cache) refresh(ctx context.Context, r *Request, found *Result) {
	// Nobody waits, and so nobody leaves: its group is carried to its end.
	if c.board(ctx, []*want{{Request: *r, newerThan: found.Ends}}, true, nil) != nil {
		c.stats.Refreshes.Add(1)
	}
}

// audit reads an item again and counts it as stale if the source says something else than the hit although
// nothing was heard of a write, not even a while later. There is one audit at a time.
func (c *Cache) audit(ctx context.Context, r *Request, found *Result) {
	select {
	case c.auditor <- struct{}{}:
	default:
		return
	}
	c.flights.mu.Lock()
	g := c.flights.begin(ctx)
	c.flights.mu.Unlock()
	go func(r Request, found Result) {
		defer func() { <-c.auditor }()
		defer c.end(g)
		stamp := Join(c.Generations().Stamp(r.Item), c.Generations().StampTags(found.Tags))
		ctx, cancel := context.WithTimeout(g.ctx, 5*c.lease)
		defer cancel()
		inside, l, _ := c.enter(ctx, 0, false)
		values, _, err := askSource(inside, r.Source, []Request{r})
		l.end()
		if err != nil {
			return
		}
		if own, ok := values[0].(*Loaded); ok {
			if own.Err != nil {
				return
			}
			values[0] = own.Value
		}
		c.stats.Audits.Add(1)
		now, err1 := json.Marshal(values[0])
		was, err2 := json.Marshal(found.Value)
		if err1 != nil || err2 != nil || bytes.Equal(now, was) {
			return
		}
		// A write may be on its way to us.
		pause(ctx, 2*c.lease)
		if c.Generations().Holds(stamp) && ctx.Err() == nil {
			c.stats.AuditsStale.Add(1)
			c.log.Error("a cached value was not what the source says", "key", string(r.Key), "loaded", found.Loaded)
		}
	}(*r, *found)
}
