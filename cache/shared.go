package cache

import (
	"context"
	"log/slog"
	"time"

	"fieldcache/cache/internal/protocol"
)

// fromShared lands the flights whose values the shared tier holds, and returns the rest. fill
// reports whether the tier may be filled.
func (c *Cache) fromShared(g *group, fs []*flight) (rest []*flight, fill bool) {
	lookups := make([]*flight, 0, len(fs))
	for _, f := range fs {
		if f.MaxAge <= 0 {
			rest = append(rest, f)
		} else {
			lookups = append(lookups, f)
		}
	}
	if len(lookups) == 0 {
		return rest, false
	}
	g.reading.Store(true)
	began := c.Generations().now()
	ctx, end := c.begin(g.ctx, lookSpan, lookups)
	entries, err := c.getOrBegin(ctx, lookups)
	end(err, slog.Int("cache.found", found(entries)))
	if err != nil {
		return fs, false
	}
	now := time.Now()
	// Checked again: the call may have taken long.
	trusted := c.follower.trust.holds(time.Now())
	fills := make([]Fill, 0, len(lookups))
	landed := make([]Result, 0, len(lookups))
	hit := lookups[:0]
	for i, f := range lookups {
		e := entries[i]
		expired := e != nil && !now.Before(e.Ends)
		if e == nil || !e.Ends.After(f.newerThan) || expired && (!f.newerThan.IsZero() || !e.revalidates(&f.Item, now)) || !c.serves(f, e, trusted, began) {
			rest = append(rest, f)
			continue
		}
		softened := c.softened(&f.Item, e)
		if softened && !f.newerThan.IsZero() {
			rest = append(rest, f)
			continue
		}
		if f.shadow() {
			if f.would == nil && !expired {
				f.would = e
			}
			rest = append(rest, f)
			continue
		}
		e.Keep = f.Keep()
		fills = append(fills, Fill{Item: f.Item, Ticket: e.Stamp, Entry: c.inMemory(e)})
		r := entryResult(e, SharedTier)
		r.Revalidating = expired || softened
		landed = append(landed, r)
		hit = append(hit, f)
	}
	c.noteLacked(len(entries)-len(hit), len(entries))
	c.stats.SharedHits.Add(uint64(len(hit)))
	c.fillMemory(g.ctx, fills)
	for i, f := range hit {
		c.flights.land(f, landed[i], basis{noted: true, began: began, known: true, tags: landed[i].Tags})
		if landed[i].Revalidating {
			c.stats.Revalidating.Add(1)
			c.refresh(g.ctx, &f.Request, &landed[i])
		}
	}
	return rest, true
}

func (c *Cache) getShared(ctx context.Context, fs []*flight) (entries []*Entry, err error) {
	err = c.shared.call(ctx, func(ctx context.Context) (err error) {
		entries, err = c.shared.store.Get(ctx, items(fs))
		return err
	})
	return entries, err
}

// found returns how many of the entries exist.
func found(entries []*Entry) (n int) {
	for _, e := range entries {
		if e != nil {
			n++
		}
	}
	return n
}

// getOrBegin reads the values of flights from the shared tier. If most of them are likely missing,
// it takes tickets in the same round trip.
func (c *Cache) getOrBegin(ctx context.Context, fs []*flight) (entries []*Entry, err error) {
	announcer, ok := c.shared.store.(Announcer)
	if !ok || !c.likelyMissing(fs) {
		return c.getShared(ctx, fs)
	}
	var tickets []Ticket
	err = c.shared.call(ctx, func(ctx context.Context) (err error) {
		entries, tickets, err = announcer.GetOrBegin(ctx, items(fs))
		return err
	})
	if err != nil {
		return nil, err
	}
	for i, f := range fs {
		f.requested, f.shared = true, tickets[i]
	}
	return entries, nil
}

// likelyMissing guesses whether the shared tier lacks most of the flights' values: because it
// lacked most of the recently requested ones, or because some of the values were written since this
// gateway began or have just expired in memory.
func (c *Cache) likelyMissing(fs []*flight) bool {
	if c.lacked.Load() > lackedMost {
		return true
	}
	const some = 8
	step := (len(fs) + some - 1) / some
	looked, missing := 0, 0
	for i := 0; i < len(fs); i += step {
		looked++
		if f := fs[i]; c.follower.floors.has(f.Key) || c.memory.Ended(f.Key) != nil {
			missing++
		}
	}
	return 2*missing > looked
}

// The share of values that the shared tier lacked recently is a moving average, in thousandths:
// each response counts for an eighth. Above lackedMost the next values are likely missing too.
const (
	lackedAll  = 1000
	lackedMost = 750
)

// noteLacked records how many values of a response of the shared tier were missing. Concurrent
// calls may overwrite each other: the average is only a guess.
func (c *Cache) noteLacked(missing, requested int) {
	c.lacked.Store((c.lacked.Load()*7 + uint32(lackedAll*missing/requested)) / 8)
}

// serves reports whether an entry of the shared tier may be served, and decodes it. The call of the
// tier began at the moment began.
func (c *Cache) serves(f *flight, e *Entry, trusted bool, began generationsAt) bool {
	e.Stamp = f.stamp
	if len(e.Tags) > 0 {
		own, ok := c.stampOf(e.Tags, e.Seen)
		if !ok || !c.Generations().quiet(began, f.Key, nil, e.Tags) { // some writes have no floor
			c.stats.BelowFloor.Add(1)
			return false
		}
		e.Stamp = Join(f.stamp, own)
	}
	if c.follower.outbox != nil {
		switch c.follower.floors.judge(f.Item, e.Seen, trusted) {
		case protocol.Serve:
		case protocol.BelowFloor, protocol.PastHorizon:
			c.stats.BelowFloor.Add(1)
			return false
		case protocol.OtherEpoch:
			c.stats.Foreign.Add(1)
			return false
		default:
			return false
		}
	}
	if e.Shape != shapeOf(f.Request) {
		return false // of another release
	}
	if !e.Absent() && e.Ends.Before(e.Loaded.Add(f.MaxAge-time.Duration(jitter*float64(f.MaxAge))-rounding)) {
		e.Until = e.Ends // the tier does not know it
	}
	if e.Absent() {
		return !e.Ends.After(e.Loaded.Add(absentMaxAge))
	}
	var err error
	e.Value, err = f.Source.Decode(f.Request, e.Data)
	return err == nil // otherwise it belongs to another key or version; the fill that follows replaces it
}

func (c *Cache) beginShared(ctx context.Context, fs []*flight) {
	missing := make([]*flight, 0, len(fs))
	for _, f := range fs {
		if f.MaxAge > 0 && !f.requested {
			missing = append(missing, f)
		}
	}
	if len(missing) == 0 {
		return
	}
	var tickets []Ticket
	err := c.shared.call(ctx, func(ctx context.Context) (err error) {
		tickets, err = c.shared.store.Begin(ctx, items(missing))
		return err
	})
	if err != nil {
		return
	}
	for i, f := range missing {
		f.shared = tickets[i]
	}
}

// fillShared fills the shared tier with entries. It refuses those that were evicted meanwhile, or
// that another load fills.
func (c *Cache) fillShared(ctx context.Context, fills []Fill) {
	if len(fills) == 0 {
		return
	}
	stored := 0
	err := c.shared.call(ctx, func(ctx context.Context) (err error) {
		stored, err = c.shared.store.Fill(ctx, fills)
		return err
	})
	if err == nil {
		c.stats.Fills.Add(uint64(stored))
		c.stats.Refused.Add(uint64(len(fills) - stored))
	}
}
