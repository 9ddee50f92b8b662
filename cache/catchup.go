package cache

import (
	"context"
	"fmt"
	"time"
)

// catchUp is somebody who waits for a poll that begins after they asked for it.
type catchUp struct {
	writes []Write // those that the poll found not to be done
	err    error
	done   chan struct{}
}

// CatchUp evicts what was written until now, by anyone, from every tier, and returns when the
// writes may be acknowledged, as [Cache.Evict] does for a write that the caller knows. It is for
// mutations of code that does not report what it writes: the outbox has it. Without an outbox it
// does nothing.
func (c *Cache) CatchUp(ctx context.Context) error {
	if c.follower.outbox == nil {
		return nil
	}
	return c.follower.catchUp(ctx)
}

// catchUp has the outbox polled, and evicts from the shared tier what is not done.
func (f *follower) catchUp(ctx context.Context) error {
	ctx = context.WithoutCancel(Unwatched(ctx)) // the commit is not undone by a client that hangs up
	ctx, cancel := context.WithTimeout(ctx, 2*f.lease)
	defer cancel()
	u := &catchUp{done: make(chan struct{})}
	select {
	case f.catchUps <- u:
	case <-ctx.Done():
		return fmt.Errorf("cache: poll the outbox: %w", ctx.Err())
	}
	select {
	case <-u.done:
	case <-ctx.Done():
		return fmt.Errorf("cache: poll the outbox: %w", ctx.Err())
	}
	if u.err != nil || f.shared == nil {
		return u.err
	}
	for _, w := range u.writes {
		began := time.Now()
		if _, err := f.shared.evict(ctx, w); err == nil {
			if w.Xid != 0 {
				f.marks.add(w.Xid)
			}
		} else if w.Xid != 0 {
			f.log.DebugContext(ctx, "an eviction waits for its relay", "error", err)
			f.awaitRelay(ctx, w.Xid, began)
		}
	}
	return nil
}

// serve polls for u and all others who wait.
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
	p.undoneNow = []Write{}
	err := p.poll(ctx)
	for _, u := range waiting {
		u.writes, u.err = p.undoneNow, err
		close(u.done)
	}
	p.undoneNow = nil
	return err
}

// caught notes a write for who catches up.
func (p *poller) caught(w Write) {
	if p.undoneNow != nil && !w.Empty() {
		p.undoneNow = append(p.undoneNow, w)
	}
}
