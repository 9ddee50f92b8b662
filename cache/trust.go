package cache

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"fieldcache/cache/internal/protocol"
)

// trust records when this gateway's last successful poll of the outbox began, by a monotonic clock
// that continues while the process is frozen. It is safe for concurrent use.
type trust struct {
	lease time.Duration
	start time.Time
	began atomic.Int64 // nanoseconds after start; negative before the first poll
	mu    sync.Mutex   // held to change began
	lost  int64        // when the lease was last ended; guarded by mu
	// renewed is closed by the next poll that succeeds; guarded by mu.
	renewed chan struct{}
}

func newTrust(lease time.Duration) *trust {
	t := &trust{lease: lease, start: time.Now(), renewed: make(chan struct{})}
	t.began.Store(-1)
	return t
}

// renew records a successful poll that began at began. If it began before the lease was ended, it
// does not renew the lease: its result may be older than what ended it.
func (t *trust) renew(began time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at := int64(began.Sub(t.start)); at >= t.lost {
		t.began.Store(at)
		close(t.renewed)
		t.renewed = make(chan struct{})
	}
}

// lose ends the lease, until a poll that begins later.
func (t *trust) lose() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lost = int64(time.Since(t.start))
	t.began.Store(-1)
}

// awaitPoll waits, for at most two leases, for a successful poll that began after the given time.
// It reports whether there was one.
func (t *trust) awaitPoll(ctx context.Context, after time.Time) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*t.lease)
	defer cancel()
	for {
		t.mu.Lock()
		renewed := t.renewed
		t.mu.Unlock()
		if t.began.Load() > int64(after.Sub(t.start)) {
			return true
		}
		select {
		case <-renewed:
		case <-ctx.Done():
			return false
		}
	}
}

// holds reports whether cached values may be served at now. Without an outbox t is nil, nothing
// polls, and other limits apply.
func (t *trust) holds(now time.Time) bool {
	if t == nil {
		return true
	}
	began := t.began.Load()
	return began >= 0 && protocol.Trusted(now.Sub(t.start)-time.Duration(began), t.lease)
}

// age returns how long ago the last successful poll began, or how long ago the process started if
// there was none.
func (t *trust) age(now time.Time) time.Duration {
	return now.Sub(t.start) - max(0, time.Duration(t.began.Load()))
}
