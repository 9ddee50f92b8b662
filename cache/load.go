package cache

import (
	"context"
	"slices"
	"time"
)

// want is a request that memory cannot serve.
type want struct {
	Request
	at    int           // its index in the results
	began generationsAt // when its reader began, or later
	// newerThan is set to refresh an entry: only a value that expires later is used.
	newerThan time.Time
	would     *Entry  // in shadow mode: the entry that memory holds
	flight    *flight // the flight that serves it
	joined    bool    // whether another reader began the flight
	alone     bool    // whether no flight of another reader may serve it
	served    bool    // whether it was in memory after all
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
	var began generationsAt
	for i, r := range requests {
		if !noCache && c.fromMemory(ctx, &requests[i], now, &results[i]) {
			continue
		}
		if wants == nil {
			began = c.Generations().now()
		}
		w := &want{Request: r, at: i, began: began}
		if trusted && !noCache && r.shadow() {
			w.would = c.memory.Peek(r.Key, now)
		}
		wants = append(wants, w)
	}
	if len(wants) == 0 {
		return results
	}
	err := c.loadWants(ctx, wants, trusted && !noCache)
	for again, round := wants, 1; err == nil; round++ {
		again = c.outdated(again, round > 1)
		again = slices.DeleteFunc(again, func(w *want) bool { // another reader may have loaded it meanwhile
			w.served = !noCache && c.fromMemory(ctx, &w.Request, time.Now(), &results[w.at])
			return w.served
		})
		if len(again) == 0 {
			break
		}
		err = c.loadWants(ctx, again, trusted && !noCache)
	}
	if err != nil {
		for _, w := range wants {
			results[w.at].Err = err
		}
		return results
	}
	for _, w := range wants {
		if w.served {
			continue
		}
		r := w.flight.result
		if r.Joined = w.joined; r.Joined {
			c.stats.Joined.Add(1)
		} else if b := &w.flight.basis; r.Stamp == nil && b.noted && b.began.before(w.began) {
			r.since = &b.began
		}
		r.Shadow = w.shadow()
		results[w.at] = r
	}
	return results
}

// fromMemory puts the value of a request into result if memory has it.
func (c *Cache) fromMemory(ctx context.Context, r *Request, now time.Time, result *Result) bool {
	if r.shadow() || !c.peek(&r.Item, now, result) {
		return false
	}
	if result.Revalidating {
		c.refresh(ctx, r, result)
	}
	return true
}

// outdated returns the wants that got a value of another reader's flight which may be older than a
// write before their reader began: a part of the value was read before. They are to be loaded again;
// with alone, by flights of their own. Those that got an error which is not for them may share
// another load: the next one may succeed.
func (c *Cache) outdated(wants []*want, alone bool) (again []*want) {
	for _, w := range wants {
		if w.joined && c.flights.predates(w.flight, w.began) {
			w.joined, w.alone = false, alone || w.flight.basis.alone && w.flight.result.Err == nil
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
