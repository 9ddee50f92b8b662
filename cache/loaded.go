package cache

import (
	"context"
	"sync"
	"time"
)

// Loaded is a value with properties that are known only after the read. A [Source] may return it
// instead of the value. The Loaded itself is not cached.
type Loaded struct {
	Value any
	// Err is the error of this request alone.
	Err error
	// Tags evict the value in addition to the item's own tags, for example the tags of the rows that it contains.
	Tags []Tag
	// MaxAge is for how long the value may be cached, if that is less than the MaxAge of the item. 0: not set.
	MaxAge time.Duration
	// Deps is what the value read through the cache, if that was collected for this value alone.
	Deps *Deps
	// Unstored says why the value may not be stored; "" if it may.
	Unstored string
	// Since is the earliest moment at which something that the value depends on may have been read. Nil: when the
	// source was called.
	Since *Moment
	// Local says why the value must not leave this process; "" if it may.
	Local string
	// Alone says that the value or the error is only for the reader for which it was loaded: readers that wait for it
	// load their own. It is not stored.
	Alone bool
}

// maxLate limits the entries that wait for a poll before they fill the shared tier.
const maxLate = 1000

// late is the entries with tags that were known only after the read. No load was announced under these tags, so an
// eviction of one during the load left no trace in the shared tier. They are filled in three steps:
//
//  1. The tags' generations are read, and created where there are none.
//  2. The outbox is polled.
//  3. Entries that a write known by now evicts are dropped; the others are filled, with the generations of step 1.
//
// An eviction before step 1 is of a write that committed before step 2 and is known in step 3. One without a number, which
// only this process knows, ended the entry's stamp. An eviction after step 1 ends the generation, and so the entry.
type late struct {
	mu      sync.Mutex
	waiting []Fill
	added   chan struct{} // holds one element when there are entries
}

// add schedules an entry to be filled after the next poll. It reports whether there was room for
// it.
func (l *late) add(f Fill) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) >= maxLate {
		return false
	}
	l.waiting = append(l.waiting, f)
	select {
	case l.added <- struct{}{}:
	default:
	}
	return true
}

func (l *late) take() []Fill {
	l.mu.Lock()
	defer l.mu.Unlock()
	fills := l.waiting
	l.waiting = nil
	return fills
}

// fillLate fills the shared tier with the waiting entries, until ctx ends.
func (c *Cache) fillLate(ctx context.Context, tagger Tagger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.late.added:
		}
		fills := c.late.take()
		if len(fills) == 0 {
			continue
		}
		var tags []Tag
		for _, f := range fills {
			tags = append(tags, f.Entry.Tags...)
		}
		var generations map[Tag]string
		err := c.shared.call(ctx, func(ctx context.Context) (err error) {
			generations, err = tagger.Generations(ctx, tags)
			return err
		})
		if err != nil || !c.follower.trust.awaitPoll(ctx, time.Now()) {
			continue
		}
		left := fills[:0]
		for _, f := range fills {
			if c.Generations().Holds(f.Entry.Stamp) && c.follower.floors.admit(f.Entry.Tags, f.Entry.Seen) {
				f.Generations = generations
				left = append(left, f)
			} else {
				c.stats.Refused.Add(1)
			}
		}
		c.fillShared(ctx, left)
	}
}

// stampOf returns the stamp of tags that were known only after the read. It reports whether the
// value is valid: its snapshot must have seen every known write.
func (c *Cache) stampOf(tags []Tag, seen Snapshot) (*Stamp, bool) {
	// The stamp is taken first: a write that becomes known afterwards ends it.
	stamp := c.Generations().stampTags(tags)
	return stamp, c.follower.outbox == nil || c.follower.floors.admit(tags, seen)
}
