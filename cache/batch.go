package cache

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultPatience is long enough for trivial resolvers to finish, and too short to notice.
const DefaultPatience = 5 * time.Millisecond

// Observer is called with everything that a [Batch] returned. ctx is that of the field that asked.
type Observer func(ctx context.Context, item Item, result Result)

// Batch collects what the fields of one operation ask for, from whatever source, so that the cache
// is asked once for all of it. Make one for each response: one for a query, one for each event of a
// subscription. It is safe for concurrent use.
//
// A batch does not ask twice for the same item until [Batch.Forget], unless the first time was a
// lease ago or the item was evicted since. A batch that lives too long is therefore slower, and
// stale for no longer than a lease.
//
// A batch loads when the last field that could still join it waits for a result. Whoever executes
// the operation reports by [Batch.Expect] how many fields are about to be resolved. A field that
// waits does not count, and counts again once it has its result. If the count is too high, because
// a field is slow for other reasons or failed before it began, patience ends the wait. If it is too
// low, or nobody counts, batches are smaller, and as correct.
type Batch struct {
	// Patience is how long a batch waits at most for announced fields. Default: DefaultPatience.
	Patience time.Duration
	// Observe is called, concurrently, with each result. May be nil.
	Observe Observer
	// NoCache makes everything be read from its source; the caches are only filled.
	NoCache bool
	// NoStore stores nothing in the caches.
	NoStore bool

	cache *Cache

	running atomic.Int64 // fields that may yet ask for something

	mu      sync.Mutex
	calls   map[Key]*call // everything asked since Forget
	pending []*call       // what is to be asked next
	timer   *time.Timer   // ends the wait of the pending calls
}

// call is one value that was asked for. The batch's mutex guards it until it is done.
type call struct {
	request Request
	waiters []*waiter
	done    bool
	result  Result
	landed  time.Time // when it was done
}

// answers reports whether the call still answers who asks for the same.
func (c *call) answers(cache *Cache, now time.Time) bool {
	return !c.done || now.Sub(c.landed) < cache.lease &&
		(c.result.Stamp == nil || cache.Generations().Holds(c.result.Stamp))
}

// waiter is a field that waits for one or more calls.
type waiter struct {
	open  int // calls that are not done
	ready chan struct{}
}

// NewBatch returns the batch of a response. With gqlgen, call it in AroundResponses:
// AroundOperations is called once for all events of a subscription.
func (c *Cache) NewBatch() *Batch {
	b := new(Batch)
	c.PrepareBatch(b)
	return b
}

// PrepareBatch makes a zero Batch one of c, as [Cache.NewBatch] does, without an allocation.
func (c *Cache) PrepareBatch(b *Batch) { b.Patience, b.cache = DefaultPatience, c }

// Observed reports whether there is an observer.
func (b *Batch) Observed() bool { return b.Observe != nil }

// Expect reports that n more fields, or -n fewer, may ask for something. The call that ends the
// last of them loads the batch that waits for it.
func (b *Batch) Expect(ctx context.Context, n int) {
	if b.running.Add(int64(n)) <= 0 && n < 0 {
		b.dispatch(ctx)
	}
}

// Load returns the results of the requests, in their order. It returns an error if ctx ends first.
func (b *Batch) Load(ctx context.Context, requests []Request) ([]Result, error) {
	if b.NoStore {
		requests = notStored(requests)
	}
	if loadingOf(ctx) != nil {
		return b.nested(ctx, requests)
	}
	results := make([]Result, len(requests))
	if calls := b.peek(ctx, requests, results); calls != nil {
		if err := b.wait(ctx, calls, results); err != nil {
			return nil, err
		}
	}
	CollectorOf(ctx).read(requests, results)
	meter(requests, results)
	b.cache.sample(requests, results)
	if b.Observe != nil {
		b.observe(ctx, requests, results)
	}
	return results, nil
}

// nested loads for a source what it needs meanwhile, by itself: among what the batch waits for may be what the source
// was asked for.
//
//go:noinline
func (b *Batch) nested(ctx context.Context, requests []Request) ([]Result, error) {
	results := b.cache.load(ctx, requests, b.NoCache)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	meter(requests, results)
	if b.Observe != nil {
		b.observe(ctx, requests, results)
	}
	return results, nil
}

// notStored is requests whose answers are not kept.
//
//go:noinline
func notStored(requests []Request) []Request {
	requests = slices.Clone(requests)
	for i := range requests {
		requests[i].MaxAge = 0
	}
	return requests
}

// observe is not inlined, as notStored: gqlgen loads each field on a goroutine of its own, whose stack has to grow for what
// [Batch.Load] takes of it.
//
//go:noinline
func (b *Batch) observe(ctx context.Context, requests []Request, results []Result) {
	for i, r := range requests {
		b.Observe(ctx, r.Item, results[i])
	}
}

// peek puts into results what memory has, and makes calls of the others, at their places; nil if there are none.
func (b *Batch) peek(ctx context.Context, requests []Request, results []Result) (calls []*call) {
	now := time.Now()
	for i := range requests {
		r := &requests[i]
		if !b.NoCache && !r.shadow() && b.cache.peek(&r.Item, now, &results[i]) {
			b.cache.hit(ctx, r, &results[i], now)
			continue
		}
		if calls == nil {
			calls = make([]*call, len(requests))
		}
		calls[i] = &call{request: *r}
	}
	return calls
}

// wait waits until all calls are done, and puts their answers into results.
func (b *Batch) wait(ctx context.Context, calls []*call, results []Result) error {
	if w := b.join(ctx, calls); w != nil {
		b.Expect(ctx, -1)
		select {
		case <-w.ready:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for i, c := range calls {
		if c != nil {
			results[i] = c.result
			b.cache.loaded(ctx, &c.request, &results[i])
		}
	}
	return nil
}

// join puts the calls among those pending, or exchanges them for earlier calls of the same key. It
// answers whom to wake when all are done, nil if they are.
func (b *Batch) join(ctx context.Context, calls []*call) *waiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.calls == nil {
		b.calls = make(map[Key]*call, len(calls))
	}
	w := &waiter{ready: make(chan struct{})}
	now := time.Now()
	for i, c := range calls {
		if c == nil {
			continue
		}
		same, ok := b.calls[c.request.Key]
		if ok && same.answers(b.cache, now) {
			c, calls[i] = same, same
		} else {
			b.calls[c.request.Key] = c
			b.pending = append(b.pending, c)
		}
		if !c.done {
			c.waiters = append(c.waiters, w)
			w.open++
		}
	}
	if len(b.pending) > 0 && b.timer == nil {
		b.timer = time.AfterFunc(b.Patience, func() { b.dispatch(ctx) })
	}
	if w.open == 0 {
		return nil
	}
	return w
}

// dispatch loads what is pending, if anything is.
func (b *Batch) dispatch(ctx context.Context) {
	b.mu.Lock()
	calls := b.pending
	b.pending = nil
	if b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
	b.mu.Unlock()
	if len(calls) == 0 {
		return
	}
	requests := make([]Request, len(calls))
	for i, c := range calls {
		requests[i] = c.request
	}
	results := make([]Result, len(calls))
	for i := range results {
		results[i].Err = errAbandoned
	}
	defer func() { b.finish(calls, results) }() // also when the load panics: nobody may wait for ever
	copy(results, b.cache.load(ctx, requests, b.NoCache))
}

// finish hands out the results and wakes who has all theirs. It counts them all before it wakes the
// first, which might otherwise find nobody running beside it and set out alone.
func (b *Batch) finish(calls []*call, results []Result) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var ready []*waiter
	now := time.Now()
	for i, c := range calls {
		c.result, c.done, c.landed = results[i], true, now
		for _, w := range c.waiters {
			if w.open--; w.open == 0 {
				ready = append(ready, w)
			}
		}
		c.waiters = nil
	}
	b.running.Add(int64(len(ready)))
	for _, w := range ready {
		close(w.ready)
	}
}

// Forget makes later loads ask again. Loads in flight still serve those who asked before.
func (b *Batch) Forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = nil
}
