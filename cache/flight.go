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

// errAbandoned is the error of a load that ended without a result.
var errAbandoned = errors.New("cache: the load was abandoned")

// pace is the longest time that new loads wait for others while a load is in flight, to share their
// round trips. If nothing is in flight, a load starts at once. It is Nagle's algorithm (RFC 896)
// with a time limit.
const pace = time.Millisecond

// flight is the load of one item, for all readers that wait for it.
type flight struct {
	Request
	group     *group
	party     *party        // of the reader that began it; nil if no reader waits for it
	stamp     *Stamp        // taken before anything was read: memory's ticket
	requested bool          // whether the shared tier was called for a ticket
	shared    Ticket        // the shared tier's; with nil it cannot be filled
	newerThan time.Time     // an entry of the shared tier must end after this
	depth     int           // the number of source calls in which it is nested
	loading   *loading      // the call that loads it, nil before it begins; guarded by flights.mu
	done      chan struct{} // made by the first reader that joins; guarded by flights.mu
	landed    bool          // guarded by flights.mu
	would     *Entry        // in shadow mode: the entry that a tier would have served
	result    Result        // once it has landed, like basis
	basis     basis
}

// basis is what the result of a flight depends on. The zero value is that of a result which readers
// share whatever was evicted, such as the failure of a load whose source was not called.
type basis struct {
	noted bool          // false for the zero value
	alone bool          // whether the result is only for the reader that began the flight
	began generationsAt // when the first part of the result may have been read
	known bool          // whether the result depends only on its item, and on tags and names
	tags  []Tag
	names []string // of what its source read through the cache
}

// predates reports whether the result of a flight may be older than an eviction that began before
// the moment at, or is not for those who joined the flight. The flight has landed.
func (s *flights) predates(f *flight, at generationsAt) bool {
	b := &f.basis
	return b.alone || b.noted && b.began.before(at) && !(b.known && s.generations.quiet(b.began, f.Key, b.names, f.Tags, b.tags))
}

// party is the flights that one reader began together.
type party struct {
	group *group
	open  int           // flights that have not landed; guarded by flights.mu
	done  chan struct{} // closed when there are none
}

// group is the flights that are loaded together, for one reader or for several. It outlives its
// readers, and ends when no reader waits for any of its flights.
type group struct {
	ctx      context.Context
	cancel   context.CancelFunc
	trusted  bool // whether the shared tier may be called
	flights  []*flight
	reading  atomic.Bool // whether anything was read: from then on it may miss a write
	waiting  int         // guarded by flights.mu, as are the fields below
	departed bool
	timer    *time.Timer // ends the wait before departure; nil if the group does not wait
}

// flights are the loads in flight, at most one that readers may join for each key. It decides which
// readers join which load, and when a group departs; the function carry does the rest. It is safe
// for concurrent use.
type flights struct {
	generations *Generations
	carry       func(*group) // lands the flights of a group; those that it does not land get an error

	mu     sync.Mutex // guards the fields below, and those of flights and groups that say so
	byKey  map[Key]*flight
	groups map[*group]struct{} // the groups that have not ended
	next   *group              // waits before its departure and accepts more readers; nil if there is none
	last   *group              // the last one that departed; nil if it has ended
	lastAt time.Time
	closed bool
	ended  sync.Cond // uses mu; signals that a group has ended
}

func newFlights(g *Generations, carry func(*group)) *flights {
	f := &flights{generations: g, carry: carry, byKey: map[Key]*flight{}, groups: map[*group]struct{}{}}
	f.ended.L = &f.mu
	return f
}

// board finds a flight for each want: one in flight that it may join, or a new one. The new flights
// form the reader's party, which is nil if there are none.
func (s *flights) board(ctx context.Context, wants []*want, trusted bool, in *loading) *party {
	s.mu.Lock()
	defer s.mu.Unlock()
	var own *party
	for _, w := range wants {
		if f := s.byKey[w.Key]; f != nil && w.MaxAge > 0 && !w.alone && f.group.ctx.Err() == nil &&
			(trusted || !f.group.trusted) && // that group looks into the shared tier first
			protocol.MayJoin(trusted, s.generations.Holds(f.stamp), f.group.reading.Load()) && !f.waitsFor(in) {
			if !w.newerThan.IsZero() {
				continue // another load refreshes it already
			}
			if f.done == nil {
				f.done = make(chan struct{})
			}
			f.group.waiting++
			w.flight, w.joined = f, true
			s.waitFor(in, f)
			continue
		}
		if own == nil {
			own = &party{group: s.gather(ctx, trusted), done: make(chan struct{})}
			own.group.waiting++
		}
		f := &flight{Request: w.Request, group: own.group, party: own, stamp: s.generations.Stamp(w.Item), newerThan: w.newerThan, would: w.would}
		f.result.Err = errAbandoned
		if in != nil {
			f.depth = in.depth + 1
		}
		w.flight = f
		s.waitFor(in, f)
		own.open++
		own.group.flights = append(own.group.flights, f)
		if w.MaxAge > 0 {
			s.byKey[w.Key] = f
		}
	}
	if own != nil {
		s.launch(own.group)
	}
	return own
}

// gather returns the group for new flights. The caller holds mu.
func (s *flights) gather(ctx context.Context, trusted bool) *group {
	if g := s.next; g != nil && trusted && g.ctx.Err() == nil {
		return g
	}
	g := s.begin(ctx)
	g.trusted = trusted
	return g
}

// begin makes a group. The caller holds mu.
func (s *flights) begin(ctx context.Context) *group {
	g := &group{}
	g.ctx, g.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if s.closed {
		g.cancel()
	}
	s.groups[g] = struct{}{}
	return g
}

// beginAlone returns a group without flights, for work in the background. Its caller ends it, and
// close stops it and waits for it.
func (s *flights) beginAlone(ctx context.Context) *group {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begin(ctx)
}

// launch starts a group, or delays it for other readers if another group has just departed and is
// still in flight. A load that may not use cached values does not wait: the same fault may delay
// the other group. The caller holds mu.
func (s *flights) launch(g *group) {
	if g.departed || g.timer != nil {
		return
	}
	if g.trusted && s.last != nil && s.next == nil {
		if wait := pace - time.Since(s.lastAt); wait > 0 {
			s.next = g
			g.timer = time.AfterFunc(wait, func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.depart(g)
			})
			return
		}
	}
	s.depart(g)
}

// depart starts a group. The caller holds mu.
func (s *flights) depart(g *group) {
	if g.departed {
		return
	}
	g.departed = true
	if g.timer != nil {
		g.timer.Stop()
	}
	if s.next == g {
		s.next = nil
	}
	if g.trusted {
		s.last, s.lastAt = g, time.Now()
	}
	go s.run(g)
}

// end is called when a group has nothing more to do.
func (s *flights) end(g *group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.groups, g)
	g.cancel()
	if s.last == g {
		s.last = nil
		if next := s.next; next != nil {
			s.depart(next)
		}
	}
	s.ended.Broadcast()
}

// run loads a group's flights on its own goroutine.
func (s *flights) run(g *group) {
	defer s.end(g)
	defer func() {
		var err error = errAbandoned
		if p := recover(); p != nil {
			err = &PanicError{Value: p, Stack: debug.Stack()}
		}
		for _, f := range g.flights { // the flights that have not landed
			s.land(f, Result{Err: err}, basis{})
		}
	}()
	s.carry(g)
}

// land sets the result of a flight, with what it depends on, and wakes the readers that joined it. Only the first call has an
// effect.
func (s *flights) land(f *flight, r Result, b basis) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.landed {
		return
	}
	f.result, f.basis, f.landed = r, b, true
	if s.byKey[f.Key] == f {
		delete(s.byKey, f.Key)
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

// unboard prevents later readers from joining the flights.
func (s *flights) unboard(fs []*flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range fs {
		if s.byKey[f.Key] == f {
			delete(s.byKey, f.Key)
		}
	}
}

// await waits for the flights of wants. It reports whether all have landed; if not, ctx has ended.
func (s *flights) await(ctx context.Context, wants []*want, own *party) bool {
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
		s.leave(own.group)
	}
	for _, w := range wants {
		if w.joined {
			wait(w.flight.done)
			s.leave(w.flight.group)
		}
	}
	return all
}

// leave is called by each reader that waited for a group or for one of its flights. When the last
// reader leaves, the group ends.
func (s *flights) leave(g *group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.waiting--; g.waiting == 0 {
		g.cancel()
	}
}

// close stops all loads and waits for them.
func (s *flights) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.next != nil {
		s.depart(s.next)
	}
	for g := range s.groups {
		g.cancel()
	}
	for len(s.groups) > 0 {
		s.ended.Wait()
	}
}

// PanicError is the error of a load whose source panicked.
type PanicError struct {
	Value any
	Stack []byte
}

// Error returns the value that the source panicked with, as text.
func (e *PanicError) Error() string { return fmt.Sprintf("panic while loading: %v", e.Value) }
