package cache

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"fieldcache/cache/internal/protocol"
)

// errAbandoned is what remains of a load that ended without an answer.
var errAbandoned = errors.New("cache: the load was abandoned")

// pace is for how long loads are collected at most while others are under way, to be carried together: what
// each of them costs, the round trips most of all, is then paid once for all. Where nothing is under way nobody
// waits. It is Nagle's algorithm (RFC 896) with an end.
const pace = time.Millisecond

// flight is the load of one item for everyone who waits for it.
type flight struct {
	Request
	group     *group
	party     *party        // whose reader began it; nil if nobody waits for it
	stamp     *Stamp        // taken before anything was read: memory's ticket
	begun     bool          // whether the shared tier was asked for a ticket
	shared    Ticket        // the shared tier's; nil fills nothing
	newerThan time.Time     // what the shared tier has is of use only if it ends later
	depth     int           // in how many calls of sources it is nested
	loading   *loading      // the call that loads it, nil before it begins; guarded by flights.mu
	done      chan struct{} // made by the first who joins; guarded by flights.mu
	landed    bool          // guarded by flights.mu
	would     *Entry        // of shadow mode: what a tier would have answered
	result    Result        // once it has landed
}

// party is the flights that one reader began together.
type party struct {
	group *group
	open  int           // flights that have not landed; guarded by flights.mu
	done  chan struct{} // closed when there are none
}

// group is the flights that are carried together, of one reader or of several. It outlives its readers, and ends
// when nobody waits for any of its flights.
type group struct {
	ctx      context.Context
	cancel   context.CancelFunc
	trusted  bool // whether the shared tier may be asked
	flights  []*flight
	asked    atomic.Bool // whether anything was read: from then on it may miss a write
	waiting  int         // guarded by flights.mu, as the rest
	departed bool
	timer    *time.Timer // ends the wait for its departure; nil: it does not wait
}

// flights are the loads under way, at most one for each key that readers may join.
type flights struct {
	mu     sync.Mutex
	byKey  map[Key]*flight
	groups map[*group]struct{} // those that have not ended
	next   *group              // waits for its departure, and takes more readers; nil: there is none
	last   *group              // the last that departed; nil: it has ended
	lastAt time.Time
	closed bool
	ended  sync.Cond // by mu: a group has ended; made by New
}

// board finds for each want the flight that answers it: one under way that may be joined, or a new one, which sets
// out by itself. The new ones are the reader's party, nil if there are none.
func (c *Cache) board(ctx context.Context, wants []*want, trusted bool, in *loading) *party {
	c.flights.mu.Lock()
	defer c.flights.mu.Unlock()
	if c.flights.byKey == nil {
		c.flights.byKey = map[Key]*flight{}
	}
	var own *party
	for _, w := range wants {
		if f := c.flights.byKey[w.Key]; f != nil && w.MaxAge > 0 && f.group.ctx.Err() == nil &&
			protocol.MayJoin(trusted, c.Generations().Holds(f.stamp), f.group.asked.Load()) && !f.waitsFor(in) {
			if !w.newerThan.IsZero() {
				continue // somebody loads it anew already
			}
			if f.done == nil {
				f.done = make(chan struct{})
			}
			f.group.waiting++
			w.flight, w.joined = f, true
			c.waitFor(in, f)
			continue
		}
		if own == nil {
			own = &party{group: c.flights.gather(ctx, trusted), done: make(chan struct{})}
			own.group.waiting++
		}
		f := &flight{Request: w.Request, group: own.group, party: own, stamp: c.Generations().Stamp(w.Item), newerThan: w.newerThan}
		f.result.Err = errAbandoned
		if w.shadow() && trusted {
			f.would = c.memory.Peek(w.Key, time.Now())
		}
		if in != nil {
			f.depth = in.depth + 1
		}
		w.flight = f
		c.waitFor(in, f)
		own.open++
		own.group.flights = append(own.group.flights, f)
		if w.MaxAge > 0 {
			c.flights.byKey[w.Key] = f
		}
	}
	if own != nil {
		c.launch(own.group)
	}
	return own
}

// gather answers the group that new flights are to be carried in. The caller holds mu.
func (f *flights) gather(ctx context.Context, trusted bool) *group {
	if g := f.next; g != nil && trusted && g.ctx.Err() == nil {
		return g
	}
	g := f.begin(ctx)
	g.trusted = trusted
	return g
}

// begin makes a group. The caller holds mu.
func (f *flights) begin(ctx context.Context) *group {
	g := &group{}
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

// launch lets a group depart, or wait for others while the last one is under way and departed just now. Who may
// not use what is cached waits for nobody: what holds the others up may be what ails it. The caller holds mu.
func (c *Cache) launch(g *group) {
	if g.departed || g.timer != nil {
		return
	}
	if g.trusted && c.flights.last != nil && c.flights.next == nil {
		if wait := pace - time.Since(c.flights.lastAt); wait > 0 {
			c.flights.next = g
			g.timer = time.AfterFunc(wait, func() {
				c.flights.mu.Lock()
				defer c.flights.mu.Unlock()
				c.depart(g)
			})
			return
		}
	}
	c.depart(g)
}

// depart has a group carried. The caller holds mu.
func (c *Cache) depart(g *group) {
	if g.departed {
		return
	}
	g.departed = true
	if g.timer != nil {
		g.timer.Stop()
	}
	if c.flights.next == g {
		c.flights.next = nil
	}
	if g.trusted {
		c.flights.last, c.flights.lastAt = g, time.Now()
	}
	go c.run(g)
}

// end is called when a group has nothing more to do.
func (c *Cache) end(g *group) {
	c.flights.mu.Lock()
	defer c.flights.mu.Unlock()
	delete(c.flights.groups, g)
	g.cancel()
	if c.flights.last == g {
		c.flights.last = nil
		if next := c.flights.next; next != nil {
			c.depart(next)
		}
	}
	c.flights.ended.Broadcast()
}

// run carries a group's flights to their landing, on a goroutine of its own.
func (c *Cache) run(g *group) {
	defer c.end(g)
	defer func() {
		var err error = errAbandoned
		if p := recover(); p != nil {
			err = &PanicError{Value: p, Stack: debug.Stack()}
		}
		for _, f := range g.flights { // those that have not landed
			c.land(f, Result{Err: err})
		}
	}()
	c.carry(g)
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
	if p := f.party; p != nil {
		if p.open--; p.open == 0 {
			close(p.done)
		}
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
func (c *Cache) await(ctx context.Context, wants []*want, own *party) bool {
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
	if own != nil {
		wait(own.done)
		c.leave(own.group)
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

// closeFlights ends all loads and waits for them.
func (c *Cache) closeFlights() {
	f := &c.flights
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	if f.next != nil {
		c.depart(f.next)
	}
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
