package cache

import (
	"context"
	"fmt"
	"slices"
	"time"

	"fieldcache/cache/internal/protocol"
)

// catchUp waits for a poll that begins after the call of [Cache.CatchUp].
type catchUp struct {
	rounds []*round // evictions that must end first
	err    error
	done   chan struct{}
}

// round is the eviction, from the shared tier, of writes that polls found not to be done.
type round struct {
	writes []Write
	by     string // as Deps.Acknowledged; read it once done is closed
	done   chan struct{}
}

func (r *round) isDone() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// polledWrite is a write that a poll found not to be done, and that no round evicts yet.
type polledWrite struct {
	Write
	at time.Time
}

// CatchUp evicts from every tier what any process has written until now, and returns when the
// writes may be acknowledged, as [Cache.Evict] does for a write that the caller knows. It is for
// mutations whose code does not report its writes: it reads them from the outbox. Without an outbox
// it does nothing.
//
// If the outbox cannot be polled, CatchUp returns an error after a lease: by then no gateway serves
// older entries.
func (c *Cache) CatchUp(ctx context.Context) error {
	if c.follower.outbox == nil {
		return nil
	}
	return c.follower.catchUp(ctx)
}

// catchUp polls the outbox and waits until the shared tier has evicted the writes that are not
// done.
func (f *follower) catchUp(ctx context.Context) error {
	ctx = context.WithoutCancel(Unwatched(ctx)) // the commit is not undone by a client that hangs up
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 2*f.lease)
	defer cancel()
	rounds, err := f.pollNow(ctx)
	for err != nil && !protocol.MayAcknowledge(false, time.Since(began), f.lease) {
		pause(ctx, f.lease/10)
		var again error
		if rounds, again = f.pollNow(ctx); again == nil {
			err = nil
		}
	}
	if err != nil {
		f.acknowledged(ctx, false, "error", err, "after", time.Since(began))
		return fmt.Errorf("cache: poll the outbox: %w", err)
	}
	for _, r := range rounds {
		select {
		case <-r.done:
			if r.by != "" {
				CollectorOf(ctx).acknowledge(r.by)
			}
		case <-ctx.Done(): // longer than a lease
			CollectorOf(ctx).acknowledge(ByLease)
		}
	}
	return nil
}

// pollNow waits for a poll that begins after the call. It returns the evictions that must end before the writes
// committed until now may be acknowledged.
func (f *follower) pollNow(ctx context.Context) ([]*round, error) {
	u := &catchUp{done: make(chan struct{})}
	select {
	case f.catchUps <- u:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case <-u.done:
		return u.rounds, u.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serve polls for u and for all others that wait.
func (p *poller) serve(ctx context.Context, u *catchUp) error {
	waiting := []*catchUp{u}
	for more := true; more; {
		select {
		case u := <-p.catchUps:
			waiting = append(waiting, u)
		default:
			more = false
		}
	}
	err := p.poll(ctx)
	p.rounds = slices.DeleteFunc(p.rounds, (*round).isDone)
	if err == nil && len(p.polled) > 0 {
		r := &round{done: make(chan struct{})}
		for _, w := range p.polled {
			r.writes = append(r.writes, w.Write)
		}
		p.polled, p.rounds = nil, append(p.rounds, r)
		p.done.Go(func() { p.evictRound(ctx, r) })
	}
	for _, u := range waiting {
		u.rounds, u.err = slices.Clone(p.rounds), err // the rounds of other calls may include what u waits for
		close(u.done)
	}
	return err
}

// caught records a write for the next call of CatchUp, whichever poll found the write.
func (p *poller) caught(w Write) {
	if !w.Empty() {
		p.polled = append(p.polled, polledWrite{w, time.Now()})
	}
}

// forgetCaught forgets the writes that may be acknowledged by now, whichever gateway evicts them.
func (p *poller) forgetCaught() {
	now := time.Now()
	p.polled = slices.DeleteFunc(p.polled, func(w polledWrite) bool { return protocol.MayAcknowledge(false, now.Sub(w.at), p.lease) })
}

// evictRound evicts the writes of a round from the shared tier. If the tier fails, it waits for the relay or the lease.
func (f *follower) evictRound(ctx context.Context, r *round) {
	defer close(r.done)
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 2*f.lease)
	defer cancel()
	ctx, collector := Collect(Unwatched(ctx))
	for _, w := range r.writes {
		if _, err := f.shared.evict(ctx, w, time.Time{}); err != nil {
			f.log.DebugContext(ctx, "an eviction failed; waiting for another gateway to relay it", "error", err)
			f.awaitRelay(ctx, w.Xid, began)
		} else if w.Xid != 0 {
			f.taken(w)
		}
	}
	r.by = collector.Deps().Acknowledged
}
