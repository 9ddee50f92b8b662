package cache

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// errAbandoned is what remains of a load that ended without an answer.
var errAbandoned = errors.New("cache: the load was abandoned")

// flight is the load of one item for everyone who waits for it.
type flight struct {
	Request
	group     *group
	stamp     *Stamp        // taken before anything was read: memory's ticket
	shared    Ticket        // the shared tier's; nil fills nothing
	newerThan time.Time     // what the shared tier has is of use only if it ends later
	done      chan struct{} // made by the first who joins; guarded by flights.mu
	landed    bool          // guarded by flights.mu
	result    Result        // once it has landed
}

// group is the flights that one reader began together. It outlives the reader, and ends when nobody waits
// for any of its flights.
type group struct {
	ctx     context.Context
	cancel  context.CancelFunc
	flights []*flight
	asked   atomic.Bool   // whether anything was read: from then on it may miss a write
	done    chan struct{} // closed when all flights have landed
	waiting int           // guarded by flights.mu
}

// flights are the loads under way, at most one for each key that readers may join.
type flights struct {
	mu     sync.Mutex
	byKey  map[Key]*flight
	groups map[*group]struct{} // those that are carried
	closed bool
	ended  sync.Cond // by mu: a group has ended; made by New
}

// board finds for each want the flight that answers it: one under way that may be joined, or a new one. New
// flights make up the group, nil if there are none; the caller runs it.
func (c *Cache) board(ctx context.Context, wants []*want, trusted bool) (began *group) {
	c.flights.mu.Lock()
	defer c.flights.mu.Unlock()
	if c.flights.byKey == nil {
		c.flights.byKey = map[Key]*flight{}
	}
	for _, w := range wants {
		if f := c.flights.byKey[w.Key]; f != nil && w.MaxAge > 0 && f.group.ctx.Err() == nil &&
			MayJoin(trusted, c.Generations().Holds(f.stamp), f.group.asked.Load()) {
			if !w.newerThan.IsZero() {
				continue // somebody loads it anew already
			}
			if f.done == nil {
				f.done = make(chan struct{})
			}
			f.group.waiting++
			w.flight, w.joined = f, true
			continue
		}
		if began == nil {
			began = c.flights.begin(ctx)
		}
		f := &flight{Request: w.Request, group: began, stamp: c.Generations().Stamp(w.Item), newerThan: w.newerThan}
		f.result.Err = errAbandoned
		w.flight = f
		began.flights = append(began.flights, f)
		if w.MaxAge > 0 {
			c.flights.byKey[w.Key] = f
		}
	}
	return began
}

// begin makes a group with one who waits for it. The caller holds mu.
func (f *flights) begin(ctx context.Context) *group {
	g := &group{done: make(chan struct{}), waiting: 1}
	g.ctx, g.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if f.closed {
		g.cancel()
	}
	if f.groups == nil {
		f.groups = map[*group]struct{}{}
	}
	f.groups[g] = struct{}{}
	return g
}

// end is called when a group has nothing more to do.
func (f *flights) end(g *group) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.groups, g)
	g.cancel()
	f.ended.Broadcast()
}

// run carries a group's flights to their landing, on a goroutine of its own.
func (c *Cache) run(g *group, trusted bool) {
	defer c.flights.end(g)
	defer func() {
		var err error = errAbandoned
		if p := recover(); p != nil {
			err = &PanicError{Value: p, Stack: debug.Stack()}
		}
		for _, f := range g.flights { // those that have not landed
			c.land(f, Result{Err: err})
		}
		close(g.done)
	}()
	c.carry(g, trusted)
}

// land gives a flight its result and lets those go on who joined it. Only the first landing counts.
func (c *Cache) land(f *flight, r Result) {
	c.flights.mu.Lock()
	defer c.flights.mu.Unlock()
	if f.landed {
		return
	}
	f.result, f.landed = r, true
	if c.flights.byKey[f.Key] == f {
		delete(c.flights.byKey, f.Key)
	}
	if f.done != nil {
		close(f.done)
	}
}

// unboard keeps later readers from joining flights.
func (c *Cache) unboard(fs []*flight) {
	c.flights.mu.Lock()
	defer c.flights.mu.Unlock()
	for _, f := range fs {
		if c.flights.byKey[f.Key] == f {
			delete(c.flights.byKey, f.Key)
		}
	}
}

// await waits for the flights of wants and answers whether all have landed; otherwise ctx has ended.
func (c *Cache) await(ctx context.Context, wants []*want, began *group) bool {
	all := true
	wait := func(done <-chan struct{}) {
		select {
		case <-done:
			return
		default:
		}
		select {
		case <-done:
		case <-ctx.Done():
			all = false
		}
	}
	if began != nil {
		wait(began.done)
		c.leave(began)
	}
	for _, w := range wants {
		if w.joined {
			wait(w.flight.done)
			c.leave(w.flight.group)
		}
	}
	return all
}

// leave is called by each who waited for a group or for a flight of it. The last one to leave ends it.
func (c *Cache) leave(g *group) {
	c.flights.mu.Lock()
	defer c.flights.mu.Unlock()
	if g.waiting--; g.waiting == 0 {
		g.cancel()
	}
}

// close ends all loads and waits for them.
func (f *flights) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for g := range f.groups {
		g.cancel()
	}
	for len(f.groups) > 0 {
		f.ended.Wait()
	}
}

// PanicError is what a load ends with whose source panicked.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic while loading: %v", e.Value) }
