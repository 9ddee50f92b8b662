// Package graph resolves the schema of the shop. Resolvers are thin: they check arguments, read
// through the [dataloader.Loaders] of the operation, write through [db.DB], and after a write evict
// what it changed from the cache before they return.
package graph

import (
	"context"
	"log/slog"

	"fieldcache/cache"
	"fieldcache/dataloader"
	"fieldcache/db"
)

// Resolver is the root of all resolvers.
type Resolver struct {
	DB  *db.DB
	Log *slog.Logger
}

// written ends a write: it evicts what the write changed, unless certainly nothing was committed, and
// returns err. A commit with an unknown outcome evicts as well.
func (r *Resolver) written(ctx context.Context, c db.Commit, err error) error {
	if err != nil && db.Rejected(err) {
		return err
	}
	collecting, collector := cache.Collect(ctx)
	untrue, e := dataloader.For(ctx).Evict(collecting, c)
	reportFrom(ctx).evicted(ctx, untrue, collector.Deps().Acknowledged)
	if e != nil {
		r.Log.WarnContext(ctx, "Redis did not execute an eviction, and there is no outbox to retry it from", "error", e)
	}
	return err
}
