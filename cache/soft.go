package cache

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// maxSoft limits how many names of soft evictions are remembered. An eviction that exceeds it is a
// hard one.
const maxSoft = 10_000

// soft is the names that were softly evicted, each with its time: an entry that was loaded earlier
// is served once more while it is loaded again. The zero value has no names. It is safe for
// concurrent use.
type soft struct {
	newest atomic.Int64  // the latest time, in Unix nanoseconds; 0: there is none
	count  atomic.Uint64 // how many soft evictions there were

	mu sync.RWMutex
	at map[string]softly
}

// softly is a soft eviction of a name.
type softly struct {
	at     time.Time
	number uint64 // among all soft evictions
}

// room reports whether there is room for the names of an eviction.
func (s *soft) room(ev Eviction) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.at)+int(ev.size()) <= maxSoft //nolint:gosec // far below
}

// add adds an eviction that happens now. If there are too many names, the oldest are forgotten:
// their entries are served until they expire.
func (s *soft) add(ev Eviction) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == nil {
		s.at = map[string]softly{}
	}
	last := softly{now, s.count.Add(1)}
	for _, k := range ev.Keys {
		s.at[string(k)] = last
	}
	for _, t := range ev.Tags {
		s.at[string(t)] = last
	}
	for len(s.at) > maxSoft {
		var oldest string
		first := time.Unix(math.MaxInt32, 0)
		for name, e := range s.at {
			if e.at.Before(first) {
				oldest, first = name, e.at
			}
		}
		delete(s.at, oldest)
	}
	s.newest.Store(now.UnixNano())
}

// since reports whether there was any soft eviction after loaded.
func (s *soft) since(loaded time.Time) bool { return loaded.UnixNano() <= s.newest.Load() }

// named reports whether a name was softly evicted after loaded. The caller holds mu.
func (s *soft) named(name string, loaded time.Time) bool {
	e, ok := s.at[name]
	return ok && !loaded.After(e.at)
}

// quiet reports whether none of the names was softly evicted after the first n soft evictions.
func (s *soft) quiet(n uint64, key Key, names []string, tags ...[]Tag) bool {
	if s.count.Load() == n {
		return true
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.at[string(key)].number > n {
		return false
	}
	for _, name := range names {
		if s.at[name].number > n {
			return false
		}
	}
	for _, list := range tags {
		for _, t := range list {
			if s.at[string(t)].number > n {
				return false
			}
		}
	}
	return true
}

// softened reports whether an entry of the item was softly evicted.
func (c *Cache) softened(item *Item, e *Entry) bool {
	if !c.follower.soft.since(e.Loaded) {
		return false
	}
	c.follower.soft.mu.RLock()
	defer c.follower.soft.mu.RUnlock()
	if c.follower.soft.named(string(item.Key), e.Loaded) {
		return true
	}
	for _, tags := range [][]Tag{item.Tags, e.Tags} {
		for _, t := range tags {
			if c.follower.soft.named(string(t), e.Loaded) {
				return true
			}
		}
	}
	return false
}

// Softened reports whether one of the names, which are keys and tags, was softly evicted after
// computed. What was computed from them must then be computed again.
func (c *Cache) Softened(names []string, computed time.Time) bool {
	if !c.follower.soft.since(computed) {
		return false
	}
	c.follower.soft.mu.RLock()
	defer c.follower.soft.mu.RUnlock()
	for _, name := range names {
		if c.follower.soft.named(name, computed) {
			return true
		}
	}
	return false
}

// forever is longer than any age.
const forever = 100 * 365 * 24 * time.Hour

// held returns how many of the keys memory or the shared tier holds.
func (c *Cache) held(ctx context.Context, keys []Key) (n int) {
	var lookups []Item
	now := time.Now()
	for _, k := range keys {
		switch {
		case c.memory.Peek(k, now) != nil:
			n++
		case c.shared != nil:
			lookups = append(lookups, Item{Key: k, MaxAge: forever})
		}
	}
	if len(lookups) == 0 {
		return n
	}
	_ = c.shared.call(ctx, func(ctx context.Context) error {
		entries, err := c.shared.store.Get(ctx, lookups)
		for _, e := range entries {
			if e != nil {
				n++
			}
		}
		return err
	})
	return n
}
