package cache

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"fieldcache/cache/internal/protocol"
)

// The intervals of following an outbox.
const (
	// pollEvery is how often the outbox is polled.
	pollEvery = 200 * time.Millisecond
	// markAfter is for how long writes are collected before they are marked as done.
	markAfter = 50 * time.Millisecond
	// keepWrites is how long writes stay in the outbox, for gateways that start.
	keepWrites = 15 * time.Minute
	// pruneEvery is how often writes older than keepWrites are pruned.
	pruneEvery = time.Minute
	// doubtPause is the shortest time between two calls of Reconnect.
	doubtPause = time.Second
)

// follower tracks which writes this gateway has learned of, and so which cached values may be
// served. It learns of them from the mutations that run here, from the messages of other gateways,
// and by polling the outbox. It evicts what they changed from memory, and from the shared tier what
// no gateway has evicted there yet. It is safe for concurrent use.
type follower struct {
	outbox    Outbox      // nil: there is none
	shared    *sharedTier // nil: there is none
	memory    Memory
	lease     time.Duration
	reconnect func()
	stats     *Stats
	events    *events
	log       *slog.Logger

	trust    *trust // nil without an outbox
	floors   *floors
	learning sync.RWMutex // held to forget floors and known; read-locked to add to both
	known    known
	soft     soft
	marks    marks
	undone   undone
	doubts   *rate.Limiter // limits calls of Reconnect
	rival    string        // the other database that was logged last; used by the goroutine that claims
	catchUps chan *catchUp
	// numberless counts the evictions without a transaction's number, which no snapshot covers.
	numberless atomic.Uint64

	done sync.WaitGroup // the goroutines that the method wait waits for
}

// newFollower returns a follower that is not started: see start.
func newFollower(o Options, shared *sharedTier, stats *Stats, events *events) *follower {
	f := &follower{
		outbox: o.Outbox, shared: shared, memory: o.Memory, lease: o.Lease, reconnect: o.Reconnect,
		stats: stats, events: events, log: o.Log,
		floors: newFloors(), doubts: rate.NewLimiter(rate.Every(doubtPause), 1),
	}
	if f.outbox != nil {
		f.catchUps = make(chan *catchUp)
		f.trust = newTrust(o.Lease)
	}
	return f
}

// start follows the outbox until ctx ends. If there is one, it polls once, and waits for at most a
// lease until the retained writes are known.
func (f *follower) start(ctx context.Context) {
	if f.outbox != nil {
		f.follow(ctx)
	}
	if f.shared != nil {
		if n, ok := f.shared.store.(Notifier); ok {
			f.done.Go(func() { f.listen(ctx, n) })
		}
	}
}

// wait waits for the goroutines of start, after its context has ended.
func (f *follower) wait() { f.done.Wait() }

// follow polls the outbox once, and starts the goroutines that poll, relay and prune. It waits for
// at most a lease until the retained writes are known.
func (f *follower) follow(ctx context.Context) {
	p := &poller{follower: f, retained: make(chan struct{})}
	err := p.poll(ctx)
	if err != nil {
		f.log.Warn("the outbox does not respond; no cached values are served until it does", "error", err)
	}
	retained := p.retained
	f.done.Go(func() { p.loop(ctx, err == nil) })
	f.done.Go(func() { f.every(ctx, pruneEvery, f.prune) })
	if f.shared == nil {
		return
	}
	f.marks.added = make(chan struct{}, 1)
	f.done.Go(func() { f.markLoop(ctx) })
	r := newRelayer(f)
	f.done.Go(func() { f.every(ctx, relayAfter, r.run) })
	f.done.Go(func() {
		f.claim(ctx)
		f.every(ctx, claimEvery, f.claim)
	})
	if err == nil {
		p.awaitRetained(ctx, retained)
	}
}

// every calls do at each interval until ctx ends.
func (f *follower) every(ctx context.Context, interval time.Duration, do func(context.Context)) {
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

// doubt is called if a database that must not be trusted executed a statement.
func (f *follower) doubt() {
	if f.doubts.Allow() {
		f.reconnect()
	}
}

// prune deletes writes that every gateway has known for long. Without a shared tier no write is
// marked as done.
func (f *follower) prune(ctx context.Context) {
	for more := true; more && ctx.Err() == nil; {
		pctx, cancel := context.WithTimeout(ctx, pruneEvery/6)
		var err error
		more, err = f.outbox.Prune(pctx, keepWrites, f.shared != nil)
		cancel()
		if err != nil && !errors.Is(err, context.Canceled) {
			f.log.DebugContext(ctx, "cannot prune the outbox", "error", err)
		}
	}
}

// learn records a write. It raises floors first, so that no older value of the shared tier passes,
// then evicts from memory and ends the stamps of loads in flight. Only then is the write added to
// known: a poll in between must not skip it. A write of another epoch than the polled one has a
// number that cannot be compared. The next poll shows whether the database is another one now;
// until then nothing cached is served.
func (f *follower) learn(w Write) (dropped int) {
	f.learning.RLock()
	defer f.learning.RUnlock()
	ours := w.Xid == 0 || w.Epoch == f.floors.epoch()
	if w.Soft {
		f.soft.add(w.Eviction)
		if ours {
			f.known.add(w)
		}
		return 0
	}
	if w.Xid == 0 || f.outbox == nil {
		f.numberless.Add(1)
	}
	if ours {
		f.floors.raise(w)
		f.stats.Floors.Add(w.size())
	} else {
		f.trust.lose()
		f.doubt()
	}
	dropped, _ = f.memory.Evict(context.Background(), w) // memory does not fail
	if ours {
		f.known.add(w)
	}
	return dropped
}

// taken records that the shared tier executed a write's eviction. It ignores a number of another
// epoch: a row of the outbox with that number is another write.
func (f *follower) taken(w Write) {
	f.learning.RLock()
	defer f.learning.RUnlock()
	if w.Epoch == f.floors.epoch() {
		f.marks.add(w.Xid)
	}
}

// The conditions that allow the acknowledgement of a write whose eviction the shared tier did not execute, or whose
// record could not be polled: see [Deps].
const (
	ByRelay = "relay"
	ByLease = "lease"
)

// awaitRelay returns when a write whose eviction the shared tier did not execute may be
// acknowledged, or when ctx ends. It records which of the two conditions was met. Xid 0 is a write
// whose record is unknown, so that it is not known whether it was relayed.
func (f *follower) awaitRelay(ctx context.Context, xid uint64, committed time.Time) {
	for {
		taken, err := false, error(nil)
		if xid != 0 {
			taken, err = f.isDone(ctx, xid)
			taken = taken && err == nil
		}
		since := time.Since(committed)
		if protocol.MayAcknowledge(taken, since, f.lease) {
			f.acknowledged(ctx, taken, "transaction", xid, "after", since)
			return
		}
		if ctx.Err() != nil {
			return
		}
		pause(ctx, min(f.lease/10, f.lease+protocol.AckMargin-since))
	}
}

// acknowledged counts and logs a late acknowledgement, and reports it to the collector of ctx.
func (f *follower) acknowledged(ctx context.Context, relayed bool, about ...any) {
	by, count := ByLease, &f.stats.ByLease
	if relayed {
		by, count = ByRelay, &f.stats.ByRelay
	}
	count.Add(1)
	CollectorOf(ctx).acknowledge(by)
	f.log.DebugContext(ctx, "acknowledged a write late", append([]any{"by", by}, about...)...)
}

func (f *follower) isDone(ctx context.Context, xid uint64) (bool, error) {
	tctx, cancel := context.WithTimeout(ctx, f.lease/4)
	defer cancel()
	return f.outbox.IsDone(tctx, xid)
}

// listen evicts from memory the keys and tags that other gateways evict. Their writes become
// visible here sooner than by a poll.
func (f *follower) listen(ctx context.Context, n Notifier) {
	for ctx.Err() == nil {
		err := n.Subscribe(ctx, func(w Write) {
			if w.Xid != 0 && w.Epoch != f.floors.epoch() {
				return // of another database, or of one that must be polled first
			}
			if polled := f.floors.polled.Load(); w.Xid != 0 && polled != nil && polled.Sees(w.Xid) {
				return
			}
			if w.Eviction = f.known.news(w); !w.Empty() {
				f.stats.EvictedByNotice.Add(w.size())
				f.learn(w)
				f.events.report(ByNotice, w)
			}
		}, func(err error) {
			if f.stats.UnreadableNotices.Add(1) == 1 {
				f.log.WarnContext(ctx, "ignored an eviction message that cannot be decoded; the next poll reads its writes from the outbox. "+
					"Further ones are counted, not logged", "error", err)
			}
		})
		if err != nil {
			f.log.DebugContext(ctx, "not listening for evictions", "error", err)
		}
		pause(ctx, time.Second)
	}
}
