package cache

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"
)

// AbsentMaxAge bounds how long it is remembered that a row is not there.
const AbsentMaxAge = 10 * time.Second

// jitter is the greatest part of an entry's age that is taken off at random, so that what came into the
// cache at about the same time, after a start say, does not end all at once. What one call of a source
// loaded does end together, and is loaded by one call again.
const jitter = 0.1

// Options are what a [Cache] is made of.
type Options struct {
	// Memory is the tier in this process. Required.
	Memory Memory
	// Shared is the tier that all processes share. Nil: there is none.
	Shared Store
	// Lease is how long memory may be trusted without asking the shared tier: another process's write
	// may be seen that much later. Without a shared tier it does not matter. Default: 1 s.
	Lease time.Duration
	// Timeout bounds each call of the shared tier. Default: 150 ms.
	Timeout time.Duration
	// Log hears about faults of the shared tier, once a change of state. Default: slog.Default().
	Log *slog.Logger
}

// Cache answers reads from its tiers and from the sources behind them. It is safe for concurrent use.
type Cache struct {
	memory  Memory
	shared  Store
	lease   time.Duration
	timeout time.Duration
	breaker breaker
	log     *slog.Logger
	lost    lost
	stats   Stats

	stop context.CancelFunc
	done sync.WaitGroup // the goroutines that Close waits for
}

// Source is where the values of some items come from. Its methods may be called concurrently.
type Source interface {
	// Load reads what the requests ask for and answers in their order, nil for what is not there, with a
	// snapshot that every statement of it saw: that of the first one. It is called once for everything
	// that a batch lacks of this source. ctx may carry what the caller's context carries, but others may
	// be given what is read for one caller: it must not depend on who asks.
	Load(ctx context.Context, requests []Request) (values []any, seen Snapshot, err error)

	// Also names what the statement that reads the request reads besides; it is cached along.
	Also(request Request) []Request

	// Decode turns the JSON of a value, as encoding/json wrote it, into the value. It is not called
	// for absent rows.
	Decode(request Request, data []byte) (any, error)
}

// Request asks for the value of an item.
type Request struct {
	Item
	Source Source
	Arg    any // what the source knows the item by
}

// Result is the answer to a [Request].
type Result struct {
	Value any // nil: there is no such thing
	Err   error

	Tier   Tier
	Loaded time.Time // when the value was read from its source
	Ends   time.Time // when it may no longer be served; zero if it is not kept
	// Unstored says why a value that was just loaded was not put into every tier; "" if it was.
	Unstored string
}

// Tier is where a value came from.
type Tier uint8

// The tiers, and what is behind them.
const (
	SourceTier Tier = iota
	MemoryTier
	SharedTier
)

// entryResult is the result that an entry of a tier is.
func entryResult(e *Entry, t Tier) Result {
	return Result{Value: e.Value, Tier: t, Loaded: e.Loaded, Ends: e.Ends}
}

// New makes a cache of its tiers. [Cache.Close] ends it.
func New(o Options) *Cache {
	if o.Lease <= 0 {
		o.Lease = time.Second
	}
	if o.Timeout <= 0 {
		o.Timeout = 150 * time.Millisecond
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &Cache{
		memory: o.Memory, shared: o.Shared, lease: o.Lease, timeout: o.Timeout,
		breaker: newBreaker(o.Log), log: o.Log, stop: stop,
	}
	c.lost.changed = make(chan struct{}, 1)
	if c.shared == nil {
		return c
	}
	c.done.Go(func() { c.retryLost(ctx) })
	if n, ok := c.shared.(Notifier); ok {
		c.done.Go(func() { c.listen(ctx, n) })
	}
	return c
}

// Close ends what runs in the background and closes the tiers.
func (c *Cache) Close() error {
	c.stop()
	c.done.Wait()
	err := c.memory.Close()
	if c.shared != nil {
		if e := c.shared.Close(); err == nil {
			err = e
		}
	}
	return err
}

// Stats are the cache's counters.
func (c *Cache) Stats() *Stats { return &c.stats }

// Peek answers an item's value from memory if it is there. It costs no allocation.
func (c *Cache) Peek(item Item) (r Result, ok bool) {
	if item.MaxAge <= 0 {
		return r, false
	}
	e := c.memory.Peek(item)
	if e == nil {
		return r, false
	}
	c.stats.MemoryHits.Add(1)
	return entryResult(e, MemoryTier), true
}

// want is a request on its way through the tiers.
type want struct {
	Request
	at     int    // its place in the results; -1 for what is only cached along
	memory Ticket // taken before anything below memory is read
	shared Ticket
}

// Load answers each request, in order: from memory, from the shared tier, or from the request's
// source. It asks the shared tier once and each source at most once. No two requests may have the same
// key. The values are shared with other readers and must not be changed.
func (c *Cache) Load(ctx context.Context, requests []Request) []Result {
	results := make([]Result, len(requests))
	wants := c.fromMemory(ctx, requests, results)
	if len(wants) == 0 {
		return results
	}
	wants, fill := c.fromShared(ctx, wants, results)
	if len(wants) > 0 {
		c.fromSources(ctx, wants, fill, results)
	}
	return results
}

// fromMemory answers what memory holds; the rest comes back with memory's tickets.
func (c *Cache) fromMemory(ctx context.Context, requests []Request, results []Result) []*want {
	wants := make([]*want, 0, len(requests))
	for i, r := range requests {
		if hit, ok := c.Peek(r.Item); ok {
			results[i] = hit
			continue
		}
		wants = append(wants, &want{Request: r, at: i})
	}
	c.beginMemory(ctx, wants)
	return wants
}

func (c *Cache) beginMemory(ctx context.Context, wants []*want) {
	if len(wants) == 0 {
		return
	}
	tickets, err := c.memory.Begin(ctx, items(wants))
	for i, w := range wants {
		if err == nil && w.MaxAge > 0 {
			w.memory = tickets[i]
		}
	}
}

// fromShared answers what the shared tier holds. The rest comes back; fill says whether the tier is
// well enough to be filled.
func (c *Cache) fromShared(ctx context.Context, wants []*want, results []Result) (rest []*want, fill bool) {
	if c.shared == nil {
		return wants, false
	}
	rest = make([]*want, 0, len(wants))
	ask := make([]*want, 0, len(wants))
	for _, w := range wants {
		if w.MaxAge <= 0 || c.lost.holds(w.Item) {
			rest = append(rest, w)
		} else {
			ask = append(ask, w)
		}
	}
	if len(ask) == 0 {
		return rest, true
	}
	var entries []*Entry
	err := c.askShared(ctx, func(ctx context.Context) (err error) {
		entries, err = c.shared.Get(ctx, items(ask))
		return err
	})
	if err != nil {
		return wants, false
	}
	fills := make([]Fill, 0, len(ask))
	for i, w := range ask {
		e := entries[i]
		if e != nil && !e.Absent() {
			if e.Value, err = w.Source.Decode(w.Request, e.Data); err != nil {
				e = nil // not ours, or of another version: the fill that follows puts it right
			}
		}
		if e == nil {
			rest = append(rest, w)
			continue
		}
		c.stats.SharedHits.Add(1)
		results[w.at] = entryResult(e, SharedTier)
		fills = append(fills, Fill{w.Item, w.memory, c.leased(e)})
	}
	c.fillMemory(ctx, fills)
	return rest, true
}

// fromSources loads what no tier holds and fills the tiers.
func (c *Cache) fromSources(ctx context.Context, wants []*want, fill bool, results []Result) {
	asked := make(map[Key]bool, len(wants))
	for _, w := range wants {
		asked[w.Key] = true
	}
	var along []*want
	for _, w := range wants {
		for _, r := range w.Source.Also(w.Request) {
			if !asked[r.Key] {
				asked[r.Key] = true
				along = append(along, &want{Request: r, at: -1})
			}
		}
	}
	c.beginMemory(ctx, along)
	wants = append(wants, along...)
	if fill {
		c.beginShared(ctx, wants)
	}

	bySource := map[Source][]*want{}
	for _, w := range wants {
		bySource[w.Source] = append(bySource[w.Source], w)
	}
	var wg sync.WaitGroup
	for source, ws := range bySource {
		load := func() { c.fromSource(ctx, source, ws, results) }
		if len(bySource) == 1 {
			load()
		} else {
			wg.Go(load)
		}
	}
	wg.Wait()
}

func (c *Cache) beginShared(ctx context.Context, wants []*want) {
	ask := make([]*want, 0, len(wants))
	for _, w := range wants {
		if w.MaxAge > 0 && !c.lost.holds(w.Item) {
			ask = append(ask, w)
		}
	}
	if len(ask) == 0 {
		return
	}
	var tickets []Ticket
	err := c.askShared(ctx, func(ctx context.Context) (err error) {
		tickets, err = c.shared.Begin(ctx, items(ask))
		return err
	})
	if err != nil {
		return
	}
	for i, w := range ask {
		w.shared = tickets[i]
	}
}

// fromSource loads the wants of one source and fills the tiers with them.
func (c *Cache) fromSource(ctx context.Context, source Source, wants []*want, results []Result) {
	requests := make([]Request, len(wants))
	for i, w := range wants {
		requests[i] = w.Request
	}
	c.stats.Loads.Add(1)
	c.stats.Misses.Add(uint64(len(wants)))
	started := time.Now()
	values, _, err := load(ctx, source, requests)
	early := rand.Float64() * jitter
	memory := make([]Fill, 0, len(wants))
	shared := make([]Fill, 0, len(wants))
	for i, w := range wants {
		if err != nil {
			if w.at >= 0 {
				results[w.at].Err = err
			}
			continue
		}
		r := Result{Value: values[i], Loaded: started}
		var e *Entry
		if w.MaxAge <= 0 {
			r.Unstored = "its max age is 0"
		} else if e, r.Err = newEntry(values[i], started, w.MaxAge, early); r.Err == nil {
			r.Ends = e.Ends
			if c.shared != nil && w.shared == nil {
				r.Unstored = "the shared tier does not answer, or another load fills it"
			}
		}
		if w.at >= 0 {
			results[w.at] = r
		}
		if e == nil {
			continue
		}
		memory = append(memory, Fill{w.Item, w.memory, c.leased(e)})
		if w.shared != nil {
			shared = append(shared, Fill{w.Item, w.shared, e})
		}
	}
	c.fillMemory(ctx, memory)
	if len(shared) == 0 {
		return
	}
	stored := 0
	err = c.askShared(ctx, func(ctx context.Context) (err error) {
		stored, err = c.shared.Fill(ctx, shared)
		return err
	})
	if err == nil {
		c.stats.Fills.Add(uint64(stored))
		c.stats.Refused.Add(uint64(len(shared) - stored))
	}
}

func (c *Cache) fillMemory(ctx context.Context, fills []Fill) {
	if len(fills) > 0 {
		// A refused fill was voided by an eviction, and memory does not fail otherwise.
		_, _ = c.memory.Fill(ctx, fills)
	}
}

// load calls the source and turns a panic into an error: it runs on a goroutine of ours, where nobody
// else would recover.
func load(ctx context.Context, source Source, requests []Request) (values []any, seen Snapshot, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	values, seen, err = source.Load(ctx, requests)
	if err == nil && len(values) != len(requests) {
		err = fmt.Errorf("cache: a source answered %d values to %d requests", len(values), len(requests))
	}
	return values, seen, err
}

// PanicError is what a load ends with whose source panicked.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic while loading: %v", e.Value) }

// newEntry is the entry of a value that was read at loaded and may be kept for maxAge, of which early is the
// part to leave out.
func newEntry(value any, loaded time.Time, maxAge time.Duration, early float64) (*Entry, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("cache: a value is no JSON: %w", err)
	}
	loaded = loaded.UTC().Truncate(time.Millisecond) // as precise as a person who reads it needs
	e := &Entry{Data: data, Value: value, Loaded: loaded}
	if e.Absent() {
		maxAge = min(maxAge, AbsentMaxAge)
	}
	e.Ends = loaded.Add(maxAge - time.Duration(early*float64(maxAge))).Truncate(time.Millisecond)
	return e, nil
}

// leased is e as memory may keep it: while there is a shared tier, no longer than the lease.
func (c *Cache) leased(e *Entry) *Entry {
	if c.shared == nil {
		return e
	}
	end := time.Now().Add(c.lease)
	if e.Ends.Before(end) {
		return e
	}
	short := *e
	short.Ends = end
	return &short
}

func items(wants []*want) []Item {
	items := make([]Item, len(wants))
	for i, w := range wants {
		items[i] = w.Item
	}
	return items
}
