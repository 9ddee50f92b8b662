package cache

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

// rest is how long the shared tier is not called after a call failed. Then one call tries again, so
// that a query waits about once for a tier that hangs, however many batches the query has.
const rest = 300 * time.Millisecond

// refusalRest is how long the shared tier is not called after it refused a call, which it is likely
// to do again.
const refusalRest = 2 * time.Second

// breaker decides whether the shared tier is called.
type breaker struct {
	*gobreaker.CircuitBreaker[struct{}]
	cause *atomic.Pointer[error] // of the last failure
	// refusedUntil is when to probe a tier that refused a call, in Unix nanoseconds; 0 if it has refused none since.
	refusedUntil *atomic.Int64
}

// errGaveUp marks a call that its caller abandoned. That is not a fault of the tier.
var errGaveUp = errors.New("cache: the caller gave up")

func newBreaker(log *slog.Logger) breaker {
	b := breaker{cause: new(atomic.Pointer[error]), refusedUntil: new(atomic.Int64)}
	b.CircuitBreaker = gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Timeout:     rest,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures > 0 },
		IsExcluded:  func(err error) bool { return errors.Is(err, errGaveUp) },
		OnStateChange: func(_ string, from, to gobreaker.State) {
			switch {
			case from == gobreaker.StateClosed:
				err := *b.cause.Load()
				if errors.Is(err, ErrRefused) {
					log.Warn("Redis refuses commands; reading from the database", "error", err)
				} else {
					log.Warn("Redis does not respond; reading from the database", "error", err)
				}
			case to == gobreaker.StateClosed:
				log.Info("Redis responds again")
			}
		},
	})
	return b
}

// failed logs why a call failed. It is called before the breaker opens.
func (b breaker) failed(err error) {
	b.cause.Store(&err)
	if errors.Is(err, ErrRefused) {
		b.refusedUntil.Store(time.Now().Add(refusalRest).UnixNano())
	}
}

// sharedTier calls the shared tier. Each call has a timeout, and after a failed call no calls are
// made for a while. It is safe for concurrent use.
type sharedTier struct {
	store   Store
	timeout time.Duration
	breaker breaker
	stats   *Stats
	log     *slog.Logger
}

// refuses reports whether the shared tier is not called because it refused a call. It probes the
// tier from time to time: a replica serves reads, so a successful read does not show that it
// accepts writes.
func (t *sharedTier) refuses(ctx context.Context) bool {
	until := t.breaker.refusedUntil.Load()
	if until == 0 {
		return false
	}
	now := time.Now()
	prober, ok := t.store.(Prober)
	if now.UnixNano() < until || !ok ||
		!t.breaker.refusedUntil.CompareAndSwap(until, now.Add(refusalRest).UnixNano()) {
		return ok
	}
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	if err := prober.Probe(ctx); err != nil {
		t.breaker.cause.Store(&err)
		return true
	}
	t.breaker.refusedUntil.Store(0)
	return false
}

// call calls the shared tier with a deadline. While the breaker is open it fails at once.
func (t *sharedTier) call(ctx context.Context, call func(context.Context) error) error {
	if t.refuses(ctx) {
		t.stats.Skipped.Add(1)
		return gobreaker.ErrOpenState
	}
	_, err := t.breaker.Execute(func() (struct{}, error) {
		tctx, cancel := context.WithTimeout(ctx, t.timeout)
		defer cancel()
		err := call(tctx)
		if err == nil {
			return struct{}{}, nil
		}
		if ctx.Err() != nil {
			return struct{}{}, errors.Join(errGaveUp, err)
		}
		t.stats.Faults.Add(1)
		t.breaker.failed(err)
		t.log.DebugContext(ctx, "a call of the shared tier failed", "error", err)
		return struct{}{}, err
	})
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		t.stats.Skipped.Add(1)
	}
	return err
}

// evictAtOnce limits the names in one call, each of which costs the shared tier about two commands,
// so that a call fits its deadline.
const evictAtOnce = 500

// evict calls the tier even if the breaker is open: the tier may have recovered, and other gateways
// read it. A large eviction is split, since names do not depend on one another. It ends at end, unless that
// is zero.
func (t *sharedTier) evict(ctx context.Context, w Write, end time.Time) (dropped int, err error) {
	for piece := range w.pieces(evictAtOnce) {
		tctx, cancel := context.WithDeadline(ctx, earlier(time.Now().Add(t.timeout), end))
		n, err := t.store.Evict(tctx, piece)
		cancel()
		if dropped += n; err != nil {
			t.stats.Faults.Add(1)
			return dropped, err
		}
	}
	return dropped, nil
}

// sickness returns why the shared tier is not called; nil if it is called. t may be nil.
func (t *sharedTier) sickness() error {
	if t == nil || t.breaker.refusedUntil.Load() == 0 && t.breaker.State() == gobreaker.StateClosed {
		return nil
	}
	if cause := t.breaker.cause.Load(); cause != nil {
		return *cause
	}
	return nil
}

// Sick reports whether the shared tier is out of use at present because it failed.
func (c *Cache) Sick() bool { return c.Sickness() != nil }

// Sickness returns why the shared tier is out of use at present, or nil if it is in use.
func (c *Cache) Sickness() error { return c.shared.sickness() }
