package cache

import (
	"context"
	"sync"
	"time"
)

// maxMarks limits how many writes are marked as done at once, and how many wait for that.
const (
	maxMarks   = 1000
	maxWaiting = 100_000
)

// markLoop marks as done the writes of the outbox whose evictions the shared tier executed, many at
// a time. A write that cannot be marked is relayed once more, which costs a load and is harmless.
func (f *follower) markLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.marks.added:
		}
		pause(ctx, markAfter)
		epoch := f.floors.epoch() // read before the writes: one with a number of a later epoch is relayed once more
		xids := f.marks.take()
		mctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.lease)
		err := f.outbox.Done(mctx, epoch, xids)
		cancel()
		if err != nil {
			f.log.DebugContext(ctx, "cannot mark evictions as done", "error", err)
			continue
		}
		f.undone.remove(xids)
	}
}

// marks is the writes to mark as done.
type marks struct {
	added chan struct{} // holds one element when there are writes; nil if nothing collects them
	mu    sync.Mutex
	xids  []uint64
}

func (m *marks) add(xid uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.xids) < maxWaiting {
		m.xids = append(m.xids, xid)
	}
	m.signal()
}

// signal signals that there are writes to mark. The caller holds mu.
func (m *marks) signal() {
	select {
	case m.added <- struct{}{}:
	default:
	}
}

// take removes and returns some of them.
func (m *marks) take() []uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := min(len(m.xids), maxMarks)
	xids := m.xids[:n:n]
	if m.xids = m.xids[n:]; len(m.xids) == 0 {
		m.xids = nil
	} else {
		m.signal()
	}
	return xids
}

// forget forgets all of them.
func (m *marks) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.xids = nil
}

// maxUndone limits how many writes that are not done are tracked one by one. The relay finds the
// others.
const maxUndone = 10_000

// undone is writes that a poll found not to be done, with the times at which they began.
type undone struct {
	mu   sync.Mutex
	xids map[uint64]time.Time
}

func (u *undone) add(xid uint64, began time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.xids == nil {
		u.xids = map[uint64]time.Time{}
	}
	if _, ok := u.xids[xid]; !ok && len(u.xids) < maxUndone {
		u.xids[xid] = began
	}
}

func (u *undone) remove(xids []uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, x := range xids {
		delete(u.xids, x)
	}
}

// before forgets the writes that began before t.
func (u *undone) before(t time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for x, began := range u.xids {
		if began.Before(t) {
			delete(u.xids, x)
		}
	}
}

// oldest returns when the oldest of them began; zero if there is none.
func (u *undone) oldest() (oldest time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, began := range u.xids {
		if oldest.IsZero() || began.Before(oldest) {
			oldest = began
		}
	}
	return oldest
}
