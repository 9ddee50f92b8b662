package cache

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"
)

// errNotEvicted says that an eviction was neither executed by the shared tier nor recorded for other
// gateways to relay.
var errNotEvicted = errors.New("cache: the shared tier did not take an eviction")

// Evict evicts the keys and tags of a write from every tier, for every later reader. It returns how
// many of the keys the shared tier held, or memory if there is no shared tier. Call it after the
// commit and before the write is acknowledged. It does not stop early when ctx ends, since a client
// that disconnects does not undo the commit.
//
// If the shared tier does not execute the eviction, and the write is in the outbox, Evict returns
// when a gateway has relayed it, or when every gateway knows of it or serves nothing cached: a
// lease after the commit. It stops waiting when ctx ends. Without an outbox the eviction is lost,
// and Evict returns an error.
func (c *Cache) Evict(ctx context.Context, w Write) (dropped int, err error) {
	if w.Empty() {
		return 0, nil
	}
	ctx = Unwatched(ctx)
	committed := time.Now()
	c.stats.EvictedByWrite.Add(w.size())
	c.events.report(ByMutation, w)
	return c.evict(ctx, w, committed)
}

// EvictByHand evicts entries without a database write. It records the eviction in the outbox, so
// that every gateway executes it.
func (c *Cache) EvictByHand(ctx context.Context, ev Eviction) (dropped int, err error) {
	if ev.Empty() {
		return 0, nil
	}
	ctx = Unwatched(ctx)
	if ev.Soft && !c.follower.soft.room(ev) {
		ev.Soft = false
	}
	w := Write{Eviction: ev}
	var unrecorded error
	if c.follower.outbox != nil {
		rctx, cancel := context.WithTimeout(ctx, c.lease)
		defer cancel()
		if w.Epoch, w.Xid, unrecorded = c.follower.outbox.Record(rctx, ev); unrecorded != nil {
			unrecorded = fmt.Errorf("cache: record an eviction: %w", unrecorded)
		}
	}
	c.stats.EvictedByHand.Add(ev.size())
	c.events.report(ByHand, w)
	dropped, err = c.evict(ctx, w, time.Now())
	return dropped, errors.Join(err, unrecorded)
}

// evict executes an eviction. From its first step on, this gateway serves nothing older to later
// requests.
func (c *Cache) evict(ctx context.Context, w Write, committed time.Time) (dropped int, err error) {
	if w.Xid != 0 && w.Epoch == "" {
		w.Epoch = c.follower.floors.epoch()
	}
	dropped = c.follower.learn(w)
	if w.Soft {
		dropped = c.held(ctx, w.Keys)
	}
	if c.shared == nil {
		return dropped, nil
	}
	var end time.Time
	if w.Xid != 0 && c.follower.outbox != nil { // an eviction that takes longer is left to the relay
		end = committed.Add(c.lease + c.shared.timeout)
	}
	n, err := c.shared.evict(context.WithoutCancel(ctx), w, end)
	if !w.Soft {
		dropped = n
	}
	if w.Xid == 0 || c.follower.outbox == nil {
		// Without a floor, a read may have copied the old value from the shared tier back into memory meanwhile.
		_, _ = c.memory.Evict(ctx, w) // memory does not fail
		if err != nil {
			err = fmt.Errorf("%w: %w", errNotEvicted, err)
		}
		return dropped, err
	}
	if err == nil {
		c.follower.taken(w)
		return dropped, nil
	}
	c.log.DebugContext(ctx, "an eviction failed; waiting for another gateway to relay it", "error", err)
	c.follower.awaitRelay(ctx, w.Xid, committed)
	return dropped, nil
}

// pieces yields writes of at most n names each, which together have all names of w.
func (w Write) pieces(n int) iter.Seq[Write] {
	return func(yield func(Write) bool) {
		for keys, tags := w.Keys, w.Tags; len(keys)+len(tags) > 0; {
			k := min(n, len(keys))
			t := min(n-k, len(tags))
			piece := w
			piece.Keys, piece.Tags = keys[:k:k], tags[:t:t]
			keys, tags = keys[k:], tags[t:]
			if !yield(piece) {
				return
			}
		}
	}
}

func (ev Eviction) size() uint64 { return uint64(len(ev.Keys) + len(ev.Tags)) }

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
