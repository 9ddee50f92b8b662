package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"
)

// Defaults of [Options].
const (
	defaultLease    = time.Second
	defaultTimeout  = 150 * time.Millisecond
	defaultMaxLoads = 16
)

// Options are the options of a [Cache].
type Options struct {
	// Memory is the tier in this process. Required.
	Memory Memory
	// Shared is the tier that all processes share. If nil, there is none.
	Shared Store
	// Outbox is the record of writes in the database. If nil, memory may serve a value for a lease
	// after another process changed it, entries that other programs made stale are served until
	// they expire, and an eviction that Shared does not execute is lost.
	Outbox Outbox
	// Watch notices statements that no Source sends to the database that the sources read. Default:
	// a Watch that nothing reports to.
	Watch *Watch
	// Lease is for how long cached values may be served after the last successful poll of the outbox began; without an
	// outbox, for how long memory may be trusted beside Shared. A write of another process may be seen that much later.
	// Default: 1 s.
	Lease time.Duration
	// Timeout bounds each call of the shared tier. Default: 150 ms.
	Timeout time.Duration
	// MaxLoads limits the concurrent calls of sources; further calls wait. Default: 16.
	MaxLoads int64
	// StaleIfError is for how long, after the database last responded, a possibly stale value is
	// served if its source fails. Such a result is marked. If zero, no stale value is served. An
	// item may override it.
	StaleIfError time.Duration
	// Audit compares one in Audit hits with the source, at most one hit a second. Default: none.
	Audit int
	// Shadow reports whether a coordinate is in shadow mode: its values come from their sources,
	// and the tiers are only filled and compared. See [Stats.ShadowHits]. It is called once for
	// each [Meter]. If nil, no coordinate is in shadow mode.
	Shadow func(coordinate string) bool
	// Reconnect is called when the database is not the one that connections were made to, or must not be trusted. It
	// should close connections once they are idle. It must not block. May be nil.
	Reconnect func()
	// Trace traces round trips to the shared tier and calls of sources. May be nil.
	Trace Trace
	// Log receives faults, one line for each change of state. Default: slog.Default().
	Log *slog.Logger
}

// Cache serves reads from its tiers and from the sources behind them. It is safe for concurrent
// use.
type Cache struct {
	memory       Memory
	shared       *sharedTier // nil: there is none
	watch        *Watch
	lease        time.Duration
	staleIfError time.Duration
	auditEvery   int
	shadow       func(coordinate string) bool
	trace        Trace
	log          *slog.Logger

	follower  *follower   // knows of writes
	flights   *flights    // the loads in flight
	hangs     atomic.Bool // whether a source was found to hang since the lease was lost
	began     time.Time
	responded atomic.Int64 // when a source last responded, in nanoseconds after began
	loads     *semaphore.Weighted
	absent    *rate.Limiter
	auditor   chan struct{} // holds one element while an audit runs
	judges    chan struct{} // holds one element for each difference of shadow mode being checked
	audits    *rate.Limiter
	lacked    atomic.Uint32 // see noteLacked
	stats     Stats
	events    events
	sampled   atomic.Pointer[hitSample] // nil: hits are not sampled
	meters    meters
	late      late

	stop context.CancelFunc
	done sync.WaitGroup // the goroutine that runs fillLate
}

// New returns a cache over the tiers of o. It polls the outbox once, for at most a lease. If that
// fails, nothing cached is served until a later poll succeeds. New returns an error for options
// that cannot work. Call [Cache.Close] when the cache is no longer used.
func New(o Options) (*Cache, error) {
	switch {
	case o.Memory == nil:
		return nil, errors.New("cache: Options.Memory is required")
	case o.StaleIfError < 0 || o.Audit < 0:
		return nil, fmt.Errorf("cache: StaleIfError and Audit must not be negative, and are %v and %d", o.StaleIfError, o.Audit)
	}
	if o.Lease <= 0 {
		o.Lease = defaultLease
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.MaxLoads <= 0 {
		o.MaxLoads = defaultMaxLoads
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Reconnect == nil {
		o.Reconnect = func() {}
	}
	if o.Watch == nil {
		o.Watch = new(Watch)
	}
	ctx, stop := context.WithCancel(Unwatched(context.Background()))
	c := &Cache{
		memory: o.Memory, watch: o.Watch, lease: o.Lease, staleIfError: o.StaleIfError, auditEvery: o.Audit, shadow: o.Shadow, trace: o.Trace, log: o.Log,
		began: time.Now(), loads: semaphore.NewWeighted(o.MaxLoads),
		absent: rate.NewLimiter(rate.Limit(maxAbsent/absentMaxAge.Seconds()), maxAbsent), auditor: make(chan struct{}, 1),
		judges: make(chan struct{}, maxJudged),
		audits: rate.NewLimiter(rate.Every(auditPause), 1),
		stop:   stop,
	}
	if o.Shared != nil {
		c.shared = &sharedTier{store: o.Shared, timeout: o.Timeout, breaker: newBreaker(o.Log), stats: &c.stats, log: o.Log}
	}
	c.flights = newFlights(c.Generations(), c.carry)
	c.follower = newFollower(o, c.shared, &c.stats, &c.events)
	c.follower.start(ctx)
	if t, ok := o.Shared.(Tagger); ok && o.Outbox != nil {
		c.late.added = make(chan struct{}, 1)
		c.done.Go(func() { c.fillLate(ctx, t) })
	}
	return c, nil
}

// Close stops the work in the background, waits for it, and closes the tiers. It does not close the
// outbox.
func (c *Cache) Close() error {
	c.stop()
	c.flights.close()
	c.follower.wait()
	c.done.Wait()
	err := c.memory.Close()
	if c.shared != nil {
		if e := c.shared.store.Close(); err == nil {
			err = e
		}
	}
	return err
}

// Stats returns the counters of the cache.
func (c *Cache) Stats() *Stats { return &c.stats }

// Watch returns the Watch of the options, or the default one.
func (c *Cache) Watch() *Watch { return c.watch }

// Generations returns the table that the stamps of results refer to.
func (c *Cache) Generations() *Generations { return c.memory.Generations() }

// Trusted reports whether cached values may be served at a moment: whether this gateway learned of
// the writes of others less than a lease ago.
func (c *Cache) Trusted(now time.Time) bool { return c.follower.trust.holds(now) }

// Silent reports whether the database has not responded for a lease: neither a poll nor a source
// returned.
func (c *Cache) Silent() bool {
	now := time.Now()
	return !c.follower.trust.holds(now) && now.Sub(c.began)-time.Duration(c.responded.Load()) > c.lease
}

// Peek returns the value of an item from memory, if it is there. It does not allocate.
func (c *Cache) Peek(item Item) (r Result, ok bool) {
	ok = c.peek(&item, time.Now(), &r)
	return r, ok
}

// PeekSettled is Peek for hits that need no further work: it reports false for a value that is to
// be refreshed or audited, which [Batch.Load] does. audit reports whether the value was chosen for
// an audit: see [Request].
func (c *Cache) PeekSettled(item Item) (r Result, ok, audit bool) {
	now := time.Now()
	if item.shadow() || !c.peek(&item, now, &r) {
		return r, false, false
	}
	if audit = c.auditEvery > 0 && rand.IntN(c.auditEvery) == 0; audit || r.refreshes(now) || c.follower.soft.since(r.Loaded) {
		return Result{}, false, audit
	}
	if item.Meter != nil {
		item.Meter.Memory.Add(1)
	}
	if s := c.sampled.Load(); s != nil {
		s.reportOne(item.Key)
	}
	return r, true, false
}

// peek puts an item's value into r, which is empty, if memory has it.
func (c *Cache) peek(item *Item, now time.Time, r *Result) (ok bool) {
	if item.MaxAge <= 0 || !c.follower.trust.holds(now) {
		return false
	}
	e := c.memory.Peek(item.Key, now)
	if e == nil {
		if item.StaleWhileRevalidate <= 0 {
			return false
		}
		if e = c.memory.Ended(item.Key); e == nil || !e.revalidates(item, now) {
			return false
		}
		r.Revalidating = true
	} else {
		r.Revalidating = c.softened(item, e)
	}
	if c.stats.MemoryHits.Add(1); r.Revalidating {
		c.stats.Revalidating.Add(1)
	}
	r.Value, r.Tier, r.Loaded, r.Ends, r.until, r.Tags, r.Stamp = e.Value, MemoryTier, e.Loaded, e.Ends, e.Until, e.Tags, e.Stamp
	return true
}

// ErrRow is the error of a source that cannot read one of the requested items because of its data
// in the database.
var ErrRow = errors.New("a row cannot be read")

// Source reads the values of items. Its methods may be called concurrently.
type Source interface {
	// Load reads the values of the requests and returns them in their order, nil for each that does not exist, with a
	// snapshot that every statement of the load saw: that of the first one. A source that does not know its snapshot
	// returns the zero Snapshot: then only the writes polled before the load began count as seen. Load is called once
	// for all items of this source that a batch lacks. ctx may have the values of the caller's context, but a value
	// read for one caller may be given to others, so it must not depend on the caller. An error about one of the items
	// wraps [ErrRow]: the requests are then loaded in smaller parts, so that only the unreadable items fail. A value
	// may be a *[Loaded].
	Load(ctx context.Context, requests []Request) (values []any, seen Snapshot, err error)

	// Also returns further requests that the statement for the request serves as well. Their values are cached too.
	Also(request Request) []Request

	// Decode decodes a value from JSON that encoding/json wrote. It is not called for absent rows.
	Decode(request Request, data []byte) (any, error)
}

// Request is a request for the value of an item.
type Request struct {
	Item
	Source Source
	Arg    any // how the source identifies the item
	// Audit audits the request if it hits in memory, unless another audit ran a moment ago.
	Audit bool
}

// Result is the result of a [Request].
type Result struct {
	Value any // nil: it does not exist
	Err   error

	Tier   Tier
	Loaded time.Time // when the value was read from its source
	Ends   time.Time // when it may no longer be served; zero if it is not stored
	// Unstored says why a value that was just loaded was not stored in every tier; "" if it was.
	Unstored string
	// Stale marks a value that may be outdated and is served because its source failed.
	Stale bool
	// Revalidating marks a value that has expired, or was softly evicted, and is being loaded again in the background.
	Revalidating bool
	// Shadow marks a value of shadow mode, which came from its source. Values computed from it are not stored.
	Shadow bool
	// Standby marks a value that may be made of the rows of a standby: see [OnStandby].
	Standby bool
	// Joined marks a value that was loaded for another reader.
	Joined bool
	// Tags evict the value, in addition to the item's own tags.
	Tags []Tag
	// Stamp holds as long as the value is not evicted. It is nil if the value is not stored.
	Stamp *Stamp

	// until is Entry.Until.
	until time.Time
	// since is when the first part of the value may have been read, if that is before its reader began; otherwise nil.
	since *generationsAt
}

// Tier says where a value came from.
type Tier uint8

// The tiers, and the source.
const (
	SourceTier Tier = iota
	MemoryTier
	SharedTier
)

// entryResult returns the result of an entry of a tier.
func entryResult(e *Entry, t Tier) Result {
	return Result{Value: e.Value, Tier: t, Loaded: e.Loaded, Ends: e.Ends, until: e.Until, Tags: e.Tags, Stamp: e.Stamp}
}
