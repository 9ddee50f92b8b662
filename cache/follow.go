package cache

import (
	"context"
	"errors"
	"sync"
	"time"
)

// The rhythm of following an outbox.
const (
	// pollEvery is how often the outbox is polled.
	pollEvery = 200 * time.Millisecond
	// markAfter is for how long writes are collected that are to be noted as done.
	markAfter = 50 * time.Millisecond
	// relayAfter is the age at which a write that is not done is relayed. Who wrote it had the time.
	relayAfter = 200 * time.Millisecond
	// relayRest is how long nothing is relayed after the shared tier did not take it: the rows are locked
	// meanwhile, and on SQLite so is everything.
	relayRest = time.Second
	// sweepEvery is how often it is looked for writes that are not done, whether one is known or not.
	sweepEvery = 5 * time.Second
	// keepWrites is how long writes stay in the outbox, for gateways that start.
	keepWrites = 15 * time.Minute
	// pruneEvery is how often older ones are pruned.
	pruneEvery = time.Minute
)

// follow polls the outbox once, and begins what keeps this gateway and the shared tier informed from then
// on.
func (c *Cache) follow(ctx context.Context) {
	since, err := c.poll(ctx, Snapshot{})
	if err != nil {
		c.log.Warn("the outbox does not answer: nothing cached is served until it does", "error", err)
	}
	c.done.Go(func() { c.pollLoop(ctx, since, err == nil) })
	c.done.Go(func() { c.every(ctx, pruneEvery, c.prune) })
	if c.shared != nil {
		c.marks.added = make(chan struct{}, 1)
		c.done.Go(func() { c.markLoop(ctx) })
		c.done.Go(func() { c.every(ctx, relayAfter, c.relay) })
	}
}

// every calls do at each interval until ctx ends.
func (c *Cache) every(ctx context.Context, interval time.Duration, do func(context.Context)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do(ctx)
		}
	}
}

// pollLoop polls until ctx ends, and tells when the lease is lost and found.
func (c *Cache) pollLoop(ctx context.Context, since Snapshot, trusted bool) {
	var cause error
	c.every(ctx, pollEvery, func(ctx context.Context) {
		next, err := c.poll(ctx, since)
		if err == nil {
			since = next
		} else if ctx.Err() == nil {
			cause = err
			c.stats.PollFaults.Add(1)
		}
		switch holds := c.trust.holds(time.Now()); {
		case trusted && !holds:
			c.stats.LeaseLosses.Add(1)
			c.log.Warn("the outbox did not answer for a lease: nothing cached is served until it does", "error", cause)
			trusted = false
		case !trusted && holds:
			c.log.Info("the outbox answers again: serving what is cached")
			trusted = true
		}
	})
}

// poll learns what was committed since a snapshot and renews the lease. The lease counts from before the
// question.
func (c *Cache) poll(ctx context.Context, since Snapshot) (Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, c.lease)
	defer cancel()
	began := time.Now()
	news, err := c.outbox.Poll(ctx, since)
	if err != nil {
		return since, err
	}
	c.apply(since, news)
	c.trust.renew(began)
	return news.Snapshot, nil
}

// apply takes note of what a poll brought.
func (c *Cache) apply(since Snapshot, news News) {
	first := since.IsZero()
	switch {
	case first: // what was put into memory before may be older than what is no longer told
		c.floors.horizon.Store(&news.Horizon)
		c.Generations().EvictAll()
	case !news.Snapshot.Covers(since):
		c.log.Error("the database went back to an earlier state: everything cached is forgotten")
		c.stats.Forgotten.Add(1)
		c.floors.reset(news.Snapshot)
		c.Generations().EvictAll()
	case !since.Covers(news.Horizon):
		c.log.Warn("writes were pruned before this gateway heard of them: everything cached is forgotten")
		c.stats.Forgotten.Add(1)
		c.floors.horizon.Store(&news.Horizon)
		c.Generations().EvictAll()
	}
	for _, w := range news.Writes {
		if !w.Done && c.shared != nil {
			c.undone.add(w.Xid, time.Now().Add(-w.Age))
		}
		if w.Eviction = c.known.news(w.Write); w.Empty() {
			continue
		}
		if !first {
			c.stats.EvictedByOutbox.Add(w.size())
		}
		c.floors.raise(w.Write)
		c.stats.Floors.Add(w.size())
		_, _ = c.memory.Evict(context.Background(), w.Write) // memory does not fail
	}
	c.floors.polled.Store(&news.Snapshot)
	c.known.polled(news.Snapshot)
}

// relay evicts from the shared tier what is in the outbox and nobody has evicted there: whoever wrote it
// went around the gateways, died, or could not reach the shared tier.
func (c *Cache) relay(ctx context.Context) {
	oldest := c.undone.oldest()
	ms := int64(0)
	if !oldest.IsZero() {
		ms = oldest.UnixMilli()
	}
	c.stats.oldest.Store(ms)
	// What another gateway was relaying when we looked may have come to nothing, which no poll tells.
	sweep := time.Since(c.swept) >= sweepEvery
	if !sweep && (oldest.IsZero() || time.Since(oldest) < relayAfter) {
		return
	}
	if time.Since(c.relayFailed) < relayRest {
		return
	}
	c.swept = time.Now()
	for {
		began := time.Now()
		rctx, cancel := context.WithTimeout(ctx, c.lease)
		n, more, err := c.outbox.Relay(rctx, relayAfter, func(ctx context.Context, ws []Write) error {
			for _, w := range ws {
				if _, err := c.evictShared(ctx, w); err != nil {
					return err
				}
			}
			return nil
		})
		cancel()
		if err != nil {
			c.relayFailed = time.Now()
			c.log.DebugContext(ctx, "evictions could not be relayed", "error", err)
			return
		}
		c.stats.Relayed.Add(uint64(n)) //nolint:gosec // a count
		if !more {
			c.undone.before(began.Add(-relayAfter))
			return
		}
	}
}

// prune forgets what every gateway has long heard of. Without a shared tier nobody notes that anything is
// done.
func (c *Cache) prune(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pruneEvery/2)
	defer cancel()
	if err := c.outbox.Prune(ctx, keepWrites, c.shared != nil); err != nil && !errors.Is(err, context.Canceled) {
		c.log.DebugContext(ctx, "the outbox was not pruned", "error", err)
	}
}

// markLoop notes in the outbox what the shared tier took, many at a time. What cannot be noted is relayed
// once more, which costs a load and harms nothing.
func (c *Cache) markLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.marks.added:
		}
		pause(ctx, markAfter)
		xids := c.marks.take()
		mctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.lease)
		err := c.outbox.Done(mctx, xids)
		cancel()
		if err != nil {
			c.log.DebugContext(ctx, "evictions were not noted as done", "error", err)
			continue
		}
		c.undone.remove(xids)
	}
}

// marks is the writes that are to be noted as done.
type marks struct {
	added chan struct{} // holds one when there are some; nil if nobody collects them
	mu    sync.Mutex
	xids  []uint64
}

func (m *marks) add(xid uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.xids = append(m.xids, xid)
	select {
	case m.added <- struct{}{}:
	default:
	}
}

func (m *marks) take() []uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	xids := m.xids
	m.xids = nil
	return xids
}

// undone is the writes that a poll found not to be done, with the times they began at.
type undone struct {
	mu   sync.Mutex
	xids map[uint64]time.Time
}

func (u *undone) add(xid uint64, began time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.xids == nil {
		u.xids = map[uint64]time.Time{}
	}
	if _, ok := u.xids[xid]; !ok {
		u.xids[xid] = began
	}
}

func (u *undone) remove(xids []uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, x := range xids {
		delete(u.xids, x)
	}
}

// before forgets those that began before a moment.
func (u *undone) before(t time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for x, began := range u.xids {
		if began.Before(t) {
			delete(u.xids, x)
		}
	}
}

// oldest is when the oldest of them began; zero if there is none.
func (u *undone) oldest() (oldest time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, began := range u.xids {
		if oldest.IsZero() || began.Before(oldest) {
			oldest = began
		}
	}
	return oldest
}
