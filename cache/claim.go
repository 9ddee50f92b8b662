package cache

import (
	"context"
	"time"
)

// Claimer is a [Store] that gateways of different databases may share by mistake.
type Claimer interface {
	// Claim records that the store has entries of a database, and returns the database that was recorded before, or ""
	// if there was none.
	Claim(ctx context.Context, database string) (before string, err error)
}

// Identified is an [Outbox] whose database has a unique name, which it keeps when it fails over.
type Identified interface {
	// Database returns the name, or an error if it is not known at present.
	Database(ctx context.Context) (string, error)
}

// claimEvery is how often the shared tier is claimed.
const claimEvery = time.Minute

// claim logs that the shared tier holds entries of another database. They are never served, since
// they belong to another epoch, but the gateways of both databases overwrite each other's entries.
func (f *follower) claim(ctx context.Context) {
	store, ok := f.shared.store.(Claimer)
	if !ok {
		return
	}
	identified, ok := f.outbox.(Identified)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, f.lease)
	defer cancel()
	database, err := identified.Database(ctx)
	var before string
	if err == nil && database != "" {
		before, err = store.Claim(ctx, database)
	}
	switch {
	case err != nil:
		f.log.DebugContext(ctx, "cannot claim the shared tier for the database", "error", err)
	case before != "" && before != database && before != f.rival:
		f.rival = before
		f.log.Warn("Redis holds entries of another database, which are not served; give each database its own REDIS_PREFIX",
			"database", database, "other", before)
	}
}
