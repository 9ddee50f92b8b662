package cache

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/sony/gobreaker/v2"
)

// rest is how long the shared tier is left alone after a call of it failed. Then one call tries again, so
// that a query meets a tier that hangs about once, however many batches it has.
const rest = 300 * time.Millisecond

// breaker stands before the shared tier.
type breaker struct {
	*gobreaker.CircuitBreaker[struct{}]
}

// errGaveUp marks the end of a call whose caller gave up, which says nothing about the tier.
var errGaveUp = errors.New("cache: the caller gave up")

func newBreaker(log *slog.Logger) breaker {
	return breaker{gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Timeout:     rest,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures > 0 },
		IsExcluded:  func(err error) bool { return errors.Is(err, errGaveUp) },
		OnStateChange: func(_ string, from, to gobreaker.State) {
			switch {
			case from == gobreaker.StateClosed:
				log.Warn("the shared cache does not answer: reading from the database")
			case to == gobreaker.StateClosed:
				log.Info("the shared cache answers again")
			}
		},
	})}
}

// askShared makes a call of the shared tier, bounded in time, or fails at once while the tier is left
// alone.
func (c *Cache) askShared(ctx context.Context, call func(context.Context) error) error {
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
		c.log.DebugContext(ctx, "a call of the shared cache failed", "error", err)
		return struct{}{}, err
	})
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		c.stats.Skipped.Add(1)
	}
	return err
}

// Sick reports whether the shared tier is being left alone because it failed.
func (c *Cache) Sick() bool { return c.breaker.State() != gobreaker.StateClosed }
