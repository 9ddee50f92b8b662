package cache

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
)

// Stats counts what a [Cache] did since it was made.
type Stats struct {
	MemoryHits atomic.Uint64 // values answered from memory
	SharedHits atomic.Uint64 // values answered from the shared tier
	Misses     atomic.Uint64 // values asked of a source
	Loads      atomic.Uint64 // calls of a source
	Fills      atomic.Uint64 // entries that the shared tier took
	Refused    atomic.Uint64 // entries that it refused, because they were evicted while they were loaded
	Evictions  atomic.Uint64 // keys and tags evicted here
	Heard      atomic.Uint64 // evictions heard of from other processes
	Faults     atomic.Uint64 // calls of the shared tier that failed
}

// health remembers whether the shared tier answers, to log changes and not calls.
type health struct {
	log  *slog.Logger
	sick atomic.Bool
}

// fault notes how a call of the shared tier ended. A caller who gave up says nothing about the tier.
func (c *Cache) fault(ctx context.Context, err error) {
	switch {
	case err == nil:
		if c.health.sick.CompareAndSwap(true, false) {
			c.health.log.InfoContext(ctx, "the shared cache answers again")
		}
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
	default:
		c.stats.Faults.Add(1)
		if c.health.sick.CompareAndSwap(false, true) {
			c.health.log.WarnContext(ctx, "the shared cache does not answer: reading from the database", "error", err)
		}
	}
}

// Sick reports whether the last call of the shared tier failed.
func (c *Cache) Sick() bool { return c.health.sick.Load() }
