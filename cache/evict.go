package cache

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"fieldcache/cache/internal/protocol"
)

// errUntold says that an eviction was neither taken by the shared tier nor recorded for others to relay.
var errUntold = errors.New("cache: the shared tier did not take an eviction")

// Evict makes what a write made untrue vanish from every tier, for every later reader, and answers how many
// of its keys the shared tier held, or memory where there is none. It is called after the commit and before
// the write is acknowledged; it does not end early when ctx does, since the commit is not undone by a
// client that hangs up.
//
// Where the shared tier does not take the eviction, and the write is in the outbox, Evict returns once some
// gateway relayed it, or once every gateway knows of it or serves nothing cached: a lease after the
// commit. It waits no longer when ctx ends. Without an outbox the eviction is lost, and that is an error.
func (c *Cache) Evict(ctx context.Context, w Write) (dropped int, err error) {
	if w.Empty() {
		return 0, nil
	}
	ctx = Unwatched(ctx)
	committed := time.Now()
	c.stats.EvictedByWrite.Add(w.size())
	c.events.tell(ByMutation, w)
	return c.evict(ctx, w, committed)
}

// EvictByHand evicts what nobody wrote. It is recorded in the outbox, so that every gateway hears of it.
func (c *Cache) EvictByHand(ctx context.Context, ev Eviction) (dropped int, err error) {
	if ev.Empty() {
		return 0, nil
	}
	ctx = Unwatched(ctx)
	if ev.Soft && !c.soft.room(ev) {
		ev.Soft = false
	}
	w := Write{Eviction: ev}
	var unrecorded error
	if c.outbox != nil {
		rctx, cancel := context.WithTimeout(ctx, c.lease)
		defer cancel()
		if w.Epoch, w.Xid, unrecorded = c.outbox.Record(rctx, ev); unrecorded != nil {
			unrecorded = fmt.Errorf("cache: record an eviction: %w", unrecorded)
		}
	}
	c.stats.EvictedByHand.Add(ev.size())
	c.events.tell(ByHand, w)
	dropped, err = c.evict(ctx, w, time.Now())
	return dropped, errors.Join(err, unrecorded)
}

// evict begins here: later readers of this gateway are answered by nothing older from this moment on.
func (c *Cache) evict(ctx context.Context, w Write, committed time.Time) (dropped int, err error) {
	if w.Xid != 0 && w.Epoch == "" {
		w.Epoch = c.floors.epoch()
	}
	dropped = c.learn(w)
	if w.Soft {
		dropped = c.held(ctx, w.Keys)
	}
	if c.shared == nil {
		return dropped, nil
	}
	ectx := context.WithoutCancel(ctx)
	if w.Xid != 0 && c.outbox != nil { // what takes longer is left to the relay
		var cancel context.CancelFunc
		ectx, cancel = context.WithDeadline(ectx, committed.Add(c.lease+c.timeout))
		defer cancel()
	}
	n, err := c.evictShared(ectx, w)
	if !w.Soft {
		dropped = n
	}
	if w.Xid == 0 || c.outbox == nil {
		// No floor keeps a reader from bringing the old value back from the shared tier between the two.
		_, _ = c.memory.Evict(ctx, w) // memory does not fail
		if err != nil {
			err = fmt.Errorf("%w: %w", errUntold, err)
		}
		return dropped, err
	}
	if err == nil {
		c.taken(w)
		return dropped, nil
	}
	c.log.DebugContext(ctx, "an eviction waits for its relay", "error", err)
	c.awaitRelay(ctx, w.Xid, committed)
	return dropped, nil
}

// learn takes note of a write: floors first, so that no value of the shared tier that is older passes, then
// memory and the loads under way, whose stamps end. Only then is it known: a poll in between must not pass
// over it.
//
// A write of another epoch than was polled last has a number that says nothing here. The next poll tells
// whether the database is another one now; until then nothing cached is served.
func (c *Cache) learn(w Write) (dropped int) {
	c.learning.RLock()
	defer c.learning.RUnlock()
	if w.Soft {
		c.soft.add(w.Eviction)
		c.known.add(w)
		return 0
	}
	if w.Xid == 0 || c.outbox == nil {
		c.numberless.Add(1)
	}
	ours := w.Xid == 0 || w.Epoch == c.floors.epoch()
	if ours {
		c.floors.raise(w)
		c.stats.Floors.Add(w.size())
	} else {
		c.trust.lose()
		c.doubt()
	}
	dropped, _ = c.memory.Evict(context.Background(), w) // memory does not fail
	if ours {
		c.known.add(w)
	}
	return dropped
}

// taken notes that the shared tier took a write's eviction. A number of another epoch is not that of the
// record in the outbox.
func (c *Cache) taken(w Write) {
	c.learning.RLock()
	defer c.learning.RUnlock()
	if w.Epoch == c.floors.epoch() {
		c.marks.add(w.Xid)
	}
}

// evictAtOnce bounds the names that one call of the shared tier evicts, each of which costs it about two
// commands: so a call fits its deadline, however many names there are.
const evictAtOnce = 500

// evictShared always tries: a tier that failed a moment ago may be well again, and others read it. What names
// much is evicted in pieces; names do not depend on one another.
func (c *Cache) evictShared(ctx context.Context, w Write) (dropped int, err error) {
	for piece := range w.pieces(evictAtOnce) {
		tctx, cancel := context.WithTimeout(ctx, c.timeout)
		n, err := c.shared.Evict(tctx, piece)
		cancel()
		if dropped += n; err != nil {
			c.stats.Faults.Add(1)
			return dropped, err
		}
	}
	return dropped, nil
}

// pieces are writes of at most n names each, which name together what w names.
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

// awaitRelay returns when a write that the shared tier did not take may be acknowledged, or when ctx ends.
func (c *Cache) awaitRelay(ctx context.Context, xid uint64, committed time.Time) {
	for {
		taken, err := c.isDone(ctx, xid)
		since := time.Since(committed)
		if protocol.MayAcknowledge(err == nil && taken, since, c.lease) || ctx.Err() != nil {
			return
		}
		pause(ctx, min(c.lease/10, c.lease+protocol.AckMargin-since))
	}
}

func (c *Cache) isDone(ctx context.Context, xid uint64) (bool, error) {
	tctx, cancel := context.WithTimeout(ctx, c.lease/4)
	defer cancel()
	return c.outbox.IsDone(tctx, xid)
}

// listen drops from memory what other gateways evict. It makes their writes visible here sooner than a poll
// does.
func (c *Cache) listen(ctx context.Context, n Notifier) {
	for ctx.Err() == nil {
		err := n.Subscribe(ctx, func(w Write) {
			if w.Xid != 0 && w.Epoch != c.floors.epoch() {
				return // of another database, or of one that is to be polled first
			}
			if polled := c.floors.polled.Load(); w.Xid != 0 && polled != nil && polled.Sees(w.Xid) {
				return
			}
			if w.Eviction = c.known.news(w); !w.Empty() {
				c.stats.EvictedByNotice.Add(w.size())
				c.learn(w)
				c.events.tell(ByNotice, w)
			}
		}, func(err error) {
			if c.stats.UnreadableNotices.Add(1) == 1 {
				c.log.WarnContext(ctx, "ignored an eviction message that cannot be decoded; the next poll reads its writes from the outbox. "+
					"Further ones are counted, not logged", "error", err)
			}
		})
		if err != nil {
			c.log.DebugContext(ctx, "not listening for evictions", "error", err)
		}
		pause(ctx, time.Second)
	}
}

func (ev Eviction) size() uint64 { return uint64(len(ev.Keys) + len(ev.Tags)) }

// known is what this gateway learned of writes otherwise than by a poll, and has not polled yet. To learn
// of it a second time would void what was loaded since. A poll may bring more of the same transaction than
// was told before: its names are compared, not only its number.
type known struct {
	mu    sync.Mutex
	names map[uint64]map[string]struct{}
	size  int // of all names
}

// maxKnown bounds the names that are known; what more there is is learned of twice.
const maxKnown = 100_000

func (k *known) add(w Write) {
	if w.Xid == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.size += len(w.Keys) + len(w.Tags); k.size > maxKnown {
		k.size = maxKnown
		return
	}
	if k.names == nil {
		k.names = map[uint64]map[string]struct{}{}
	}
	names := k.names[w.Xid]
	if names == nil {
		names = make(map[string]struct{}, w.size())
		k.names[w.Xid] = names
	}
	for _, key := range w.Keys {
		names[string(key)] = struct{}{}
	}
	for _, tag := range w.Tags {
		names[string(tag)] = struct{}{}
	}
}

// news is what a write names that is not known of it.
func (k *known) news(w Write) Eviction {
	k.mu.Lock()
	defer k.mu.Unlock()
	names := k.names[w.Xid]
	if len(names) == 0 {
		return w.Eviction
	}
	news := Eviction{Soft: w.Soft}
	for _, key := range w.Keys {
		if _, ok := names[string(key)]; !ok {
			news.Keys = append(news.Keys, key)
		}
	}
	for _, tag := range w.Tags {
		if _, ok := names[string(tag)]; !ok {
			news.Tags = append(news.Tags, tag)
		}
	}
	return news
}

// polled forgets the writes that a poll's snapshot saw: no poll brings them again.
func (k *known) polled(s Snapshot) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.size = 0
	for x, names := range k.names {
		if s.Sees(x) {
			delete(k.names, x)
		} else {
			k.size += len(names)
		}
	}
}

// forget forgets all of them.
func (k *known) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.names)
	k.size = 0
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
