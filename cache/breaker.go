package cache

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

// rest is how long the shared tier is left alone after a call of it failed. Then one call tries again, so
// that a query meets a tier that hangs about once, however many batches it has.
const rest = 300 * time.Millisecond

// refusalRest is how long it is left alone after it refused a call: what it lacks does not come back by itself.
const refusalRest = 2 * time.Second

// breaker stands before the shared tier.
type breaker struct {
	*gobreaker.CircuitBreaker[struct{}]
	cause *atomic.Pointer[error] // of the last failure
	// refusedUntil is when a tier that refused a call is to be probed, in Unix nanoseconds; 0: it refused none
	// since it last did all that it has to.
	refusedUntil *atomic.Int64
}

// errGaveUp marks the end of a call whose caller gave up, which says nothing about the tier.
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

// failed notes why a call failed, before the breaker opens.
func (b breaker) failed(err error) {
	b.cause.Store(&err)
	if errors.Is(err, ErrRefused) {
		b.refusedUntil.Store(time.Now().Add(refusalRest).UnixNano())
	}
}

// refuses reports whether the shared tier is left alone because it refused a call. Once in a while it is probed: a
// replica answers reads, and would be taken for well by the first of them.
func (c *Cache) refuses(ctx context.Context) bool {
	until := c.breaker.refusedUntil.Load()
	if until == 0 {
		return false
	}
	now := time.Now()
	prober, ok := c.shared.(Prober)
	if now.UnixNano() < until || !ok ||
		!c.breaker.refusedUntil.CompareAndSwap(until, now.Add(refusalRest).UnixNano()) {
		return ok
	}
	tctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if err := prober.Probe(tctx); err != nil {
		c.breaker.cause.Store(&err)
		return true
	}
	c.breaker.refusedUntil.Store(0)
	return false
}

// askShared makes a call of the shared tier, bounded in time, or fails at once while the tier is left
// alone.
func (c *Cache) askShared(ctx context.Context, call func(context.Context) error) error {
	if c.refuses(ctx) {
		c.stats.Skipped.Add(1)
		return gobreaker.ErrOpenState
	}
	_, err := c.breaker.Execute(func() (struct{}, error) {
		tctx, cancel := context.WithTimeout(ctx, c.timeout)
		defer cancel()
		err := call(tctx)
		if err == nil {
			return struct{}{}, nil
		}
		if ctx.Err() != nil {
			return struct{}{}, errors.Join(errGaveUp, err)
		}
		c.stats.Faults.Add(1)
		c.breaker.failed(err)
		c.log.DebugContext(ctx, "a call of the shared cache failed", "error", err)
		return struct{}{}, err
	})
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		c.stats.Skipped.Add(1)
	}
	return err
}

// Sick reports whether the shared tier is being left alone because it failed.
func (c *Cache) Sick() bool { return c.Sickness() != nil }

// Sickness is why the shared tier is being left alone, nil if it is not.
func (c *Cache) Sickness() error {
	if c.breaker.refusedUntil.Load() == 0 && c.breaker.State() == gobreaker.StateClosed {
		return nil
	}
	if cause := c.breaker.cause.Load(); cause != nil {
		return *cause
	}
	return nil
}
