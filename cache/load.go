package cache

import (
	"context"
	"time"
)

// want is a request that memory cannot serve.
type want struct {
	Request
	at int // its index in the results
	// newerThan is set to refresh an entry: only a value that expires later is used.
	newerThan time.Time
	would     *Entry  // in shadow mode: the entry that memory holds
	flight    *flight // the flight that serves it
	joined    bool    // whether another reader began the flight
	alone     bool    // whether no flight of another reader serves it
}

// Load returns the results of the requests, in their order: from memory, from the shared tier, or
// from the source of the request. It calls the shared tier once and each source at most once. It
// waits for loads of other readers that are in flight instead of loading the same again. If another
// load began just now, Load waits for its end, for at most a millisecond, and shares its round
// trips with other readers. No two requests may have the same key. Values are shared with other
// readers and must not be changed. If ctx ends first, the results have its error.
func (c *Cache) Load(ctx context.Context, requests []Request) []Result {
	return c.load(ctx, requests, false)
}

// load implements Load; with noCache it serves no cached value.
func (c *Cache) load(ctx context.Context, requests []Request, noCache bool) []Result {
	results := c.answer(ctx, requests, noCache)
	if loadingOf(ctx) != nil {
		CollectorOf(ctx).read(requests, results) // the collector of the source that is calling
	}
	return results
}

func (c *Cache) answer(ctx context.Context, requests []Request, noCache bool) []Result {
	results := make([]Result, len(requests))
	now := time.Now()
	trusted := c.follower.trust.holds(now)
	var wants []*want
	for i, r := range requests {
		if !noCache && !r.shadow() && c.peek(&r.Item, now, &results[i]) {
			if results[i].Revalidating {
				c.refresh(ctx, &r, &results[i])
			}
			continue
		}
		w := &want{Request: r, at: i}
		if trusted && !noCache && r.shadow() {
			w.would = c.memory.Peek(r.Key, now)
		}
		wants = append(wants, w)
	}
	if len(wants) == 0 {
		return results
	}
	err := c.loadWants(ctx, wants, trusted && !noCache)
	if err == nil {
		if again := outdated(wants); len(again) > 0 {
			err = c.loadWants(ctx, again, trusted && !noCache)
		}
	}
	if err != nil {
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
		r.Shadow = w.shadow()
		results[w.at] = r
	}
	return results
}

// outdated returns the wants that got a value which is not for other readers than the one that began
// the flight. They are to be loaded again, alone.
func outdated(wants []*want) (again []*want) {
	for _, w := range wants {
		if w.joined && w.flight != nil && w.flight.result.apart {
			w.joined, w.alone = false, true
			again = append(again, w)
		}
	}
	return again
}

// loadWants finds flights for the wants and waits for them. It returns an error if ctx ends first,
// or if the load is nested too deep.
func (c *Cache) loadWants(ctx context.Context, wants []*want, trusted bool) error {
	in := loadingOf(ctx)
	if err := in.tooDeep(wants); err != nil {
		return err
	}
	if in != nil {
		in.pause()
		defer in.resume(ctx)
	}
	own := c.flights.board(ctx, wants, trusted, in)
	defer c.flights.waited(in, wants)
	if !c.flights.await(ctx, wants, own) {
		return ctx.Err()
	}
	return nil
}

// carry loads the flights of a group: from the shared tier, if it may be trusted, or from their
// sources.
func (c *Cache) carry(g *group) {
	missing, fill := g.flights, c.shared != nil
	if c.shared != nil && g.trusted {
		missing, fill = c.fromShared(g, g.flights)
	}
	if len(missing) > 0 {
		c.fromSources(g, missing, fill)
	}
}

func items(fs []*flight) []Item {
	items := make([]Item, len(fs))
	for i, f := range fs {
		items[i] = f.Item
	}
	return items
}
