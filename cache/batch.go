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

// Observer is called with each result of a [Batch]. ctx is the context of the field that requested
// it.
type Observer func(ctx context.Context, item Item, result Result)

// Batch collects the requests of the fields of one operation, for any source, so that the cache
// loads all of them with one call. Make one for each response: one for a query, one for each event
// of a subscription. It is safe for concurrent use.
//
// A batch does not load the same item twice until [Batch.Forget], unless the first load was a lease
// ago or the item was evicted since. A batch that lives too long is therefore slower, and stale for
// no longer than a lease.
//
// A batch loads when the last field that could still join it waits for a result. The caller that
// executes the operation reports with [Batch.Expect] how many fields are about to be resolved. A
// field that waits does not count, and counts again once it has its result. If the count is too
// high, because a field is slow for other reasons, failed before it began, or cannot begin before
// others end, as with gqlgen's worker_limit, Patience ends the wait, and is half as long the next
// time. If it is too low, or nothing is reported, batches are smaller, and still correct.
type Batch struct {
	// Patience is the longest time a batch waits for announced fields. Default: DefaultPatience.
	Patience time.Duration
	// Observe is called, concurrently, with each result. May be nil.
	Observe Observer
	// NoCache reads everything from its source; the caches are only filled.
	NoCache bool
	// NoStore stores nothing in the caches.
	NoStore bool

	cache *Cache

	running atomic.Int64 // running fields that may still request something

	mu      sync.Mutex
	calls   map[Key]*call // every request since Forget
	pending []*call       // the requests of the next load
	timer   *time.Timer   // ends the wait of the pending calls
	vain    int           // how often the patience has ended a wait
}

// maxHalved limits how often a batch halves its patience.
const maxHalved = 4

// call is one requested value. The batch's mutex guards it until it is done.
type call struct {
	request Request
	waiters []*waiter
	done    bool
	result  Result
	landed  time.Time // when it was done
}

// answers reports whether the result of the call may still be used for another request for the same
// item.
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

// PrepareBatch turns a zero Batch into one of c, as [Cache.NewBatch] does, without an allocation.
func (c *Cache) PrepareBatch(b *Batch) { b.Patience, b.cache = DefaultPatience, c }

// Observed reports whether Observe is set.
func (b *Batch) Observed() bool { return b.Observe != nil }

// Expect reports that n more fields may request something, or -n fewer if n is negative. The call
// that removes the last of them loads the batch.
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

// nested loads the requests that a source makes while it is called. It does not wait for the batch: the batch may be
// waiting for that source.
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

// notStored returns the requests with MaxAge 0.
//
//go:noinline
func notStored(requests []Request) []Request {
	requests = slices.Clone(requests)
	for i := range requests {
		requests[i].MaxAge = 0
	}
	return requests
}

// observe is not inlined: gqlgen runs each field on its own goroutine, whose stack would have to grow
// for a larger frame of [Batch.Load].
//
//go:noinline
func (b *Batch) observe(ctx context.Context, requests []Request, results []Result) {
	for i, r := range requests {
		b.Observe(ctx, r.Item, results[i])
	}
}

// peek puts values that memory has into results, and returns calls for the others at their places.
// It returns nil if memory has all of them.
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

// wait waits until all calls are done and copies their results into results.
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

// join adds the calls to the pending ones, or replaces them by earlier calls for the same key. It
// returns the waiter to wake when all are done, or nil if they are done already.
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
		b.timer = time.AfterFunc(b.Patience>>min(b.vain, maxHalved), func() {
			b.mu.Lock()
			b.vain++
			b.mu.Unlock()
			b.dispatch(ctx)
		})
	}
	if w.open == 0 {
		return nil
	}
	return w
}

// dispatch loads the pending calls, if there are any.
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
	defer func() { b.finish(calls, results) }() // also if the load panics: otherwise its readers would wait forever
	copy(results, b.cache.load(ctx, requests, b.NoCache))
}

// finish sets the results and wakes the waiters whose calls are all done. It counts all of them as
// running before it wakes the first, which might otherwise count as the only running field and
// dispatch alone.
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

// Forget makes later requests load again. Loads in flight still serve the requests made before.
func (b *Batch) Forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = nil
}
