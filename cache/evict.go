package cache

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Evict makes what ev names vanish from every tier, for every later reader, and answers how many of
// its keys the shared tier held, or memory where there is none. It is called after the commit that made
// them untrue and before the write is acknowledged; it does not end early when ctx does, since the
// commit is not undone by a client that hangs up.
//
// An eviction that the shared tier did not take is an error that needs no more than a log line: it
// is tried again until it succeeds, and until then the shared tier is not asked for what it names.
func (c *Cache) Evict(ctx context.Context, ev Eviction) (dropped int, err error) {
	if ev.Empty() {
		return 0, nil
	}
	ctx = context.WithoutCancel(ctx)
	c.stats.Evictions.Add(uint64(len(ev.Keys) + len(ev.Tags)))
	dropped, err = c.memory.Evict(ctx, ev)
	if c.shared == nil {
		return dropped, err
	}
	dropped, err = c.evictShared(ctx, ev)
	if err != nil {
		c.lost.add(ev)
	}
	// A reader may have brought the old value back to memory between the two.
	if _, e := c.memory.Evict(ctx, ev); err == nil {
		err = e
	}
	return dropped, err
}

// evictShared always tries: a tier that failed a moment ago may be well again, and others read it.
func (c *Cache) evictShared(ctx context.Context, ev Eviction) (int, error) {
	tctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	n, err := c.shared.Evict(tctx, ev)
	if err != nil {
		c.stats.Faults.Add(1)
	}
	return n, err
}

// listen drops from memory what other processes evict. It makes their writes visible here sooner than
// the lease alone.
func (c *Cache) listen(ctx context.Context, n Notifier) {
	for ctx.Err() == nil {
		err := n.Subscribe(ctx, func(ev Eviction) {
			c.stats.Heard.Add(1)
			_, _ = c.memory.Evict(ctx, ev) // memory does not fail
		})
		if err != nil {
			c.log.DebugContext(ctx, "not listening for evictions", "error", err)
		}
		pause(ctx, time.Second)
	}
}

// lost holds the evictions that the shared tier has not taken yet.
type lost struct {
	some    atomic.Bool // whether there are any: reads look here first
	changed chan struct{}

	mu   sync.RWMutex
	keys map[Key]uint64 // the number of the newest eviction that named it
	tags map[Tag]uint64
	n    uint64
}

func (l *lost) add(ev Eviction) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.keys == nil {
		l.keys, l.tags = map[Key]uint64{}, map[Tag]uint64{}
	}
	l.n++
	for _, k := range ev.Keys {
		l.keys[k] = l.n
	}
	for _, t := range ev.Tags {
		l.tags[t] = l.n
	}
	l.some.Store(true)
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// holds reports whether the shared tier may still hold an untrue value of the item.
func (l *lost) holds(item Item) bool {
	if !l.some.Load() {
		return false
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if _, ok := l.keys[item.Key]; ok {
		return true
	}
	return slices.ContainsFunc(item.Tags, func(t Tag) bool { _, ok := l.tags[t]; return ok })
}

// all is everything that is lost, and the number of the newest eviction among it.
func (l *lost) all() (Eviction, uint64) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return Eviction{Keys: slices.Collect(maps.Keys(l.keys)), Tags: slices.Collect(maps.Keys(l.tags))}, l.n
}

// done forgets what no eviction after the numbered one named.
func (l *lost) done(upTo uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.keys, func(_ Key, n uint64) bool { return n <= upTo })
	maps.DeleteFunc(l.tags, func(_ Tag, n uint64) bool { return n <= upTo })
	l.some.Store(len(l.keys)+len(l.tags) > 0)
}

// retryLost tries lost evictions again until the shared tier takes them.
func (c *Cache) retryLost(ctx context.Context) {
	const first, last = 50 * time.Millisecond, time.Second
	for wait := first; ; {
		select {
		case <-ctx.Done():
			return
		case <-c.lost.changed:
		}
		for c.lost.some.Load() && ctx.Err() == nil {
			pause(ctx, wait)
			ev, n := c.lost.all()
			if _, err := c.evictShared(ctx, ev); err != nil {
				wait = min(2*wait, last)
				continue
			}
			c.lost.done(n)
			wait = first
		}
	}
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
