// Package graph resolves the shop's schema. Resolvers are thin: they check what was asked, read through
// the operation's [dataloader.Loaders], write through [db.DB], and after a write evict from the cache
// what it made untrue before they answer.
package graph

import (
	"context"
	"log/slog"

	"fieldcache/dataloader"
	"fieldcache/db"
)

// Resolver is the root of all resolvers.
type Resolver struct {
	DB  *db.DB
	Log *slog.Logger
}

// written ends a write: it evicts what the write made untrue, unless nothing was committed for certain,
// and passes err on. A commit whose outcome nobody knows evicts too.
func (r *Resolver) written(ctx context.Context, c db.Commit, err error) error {
	if err != nil && db.Rejected(err) {
		return err
	}
	untrue, e := dataloader.For(ctx).Evict(ctx, c)
	reportFrom(ctx).evicted(ctx, untrue)
	if e != nil {
		r.Log.WarnContext(ctx, "Redis did not execute an eviction, and there is no outbox to retry it from", "error", e)
	}
	return err
}
