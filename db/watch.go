package db

import (
	"context"

	"github.com/jackc/pgx/v5"

	"fieldcache/cache"
)

// Watch notices the statements of this database that no source of the cache sends. The one of a pool beside
// another, see [DB.Aside], is its own. That of no database notices nothing.
func (d *DB) Watch() *cache.Watch {
	if d == nil {
		return nil
	}
	return d.watch
}

// tracer reports the statements of PostgreSQL. pgx calls it for all of them, whether they come by way of bun, of
// database/sql, or of a connection of pgx that somebody took out of that.
type tracer struct{ watch *cache.Watch }

var _ interface {
	pgx.QueryTracer
	pgx.BatchTracer
} = tracer{}

func (t tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	t.watch.Began(ctx)
	return ctx
}

func (t tracer) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	t.watch.Ended(ctx)
}

func (t tracer) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	t.watch.Began(ctx)
	return ctx
}

func (t tracer) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

func (t tracer) TraceBatchEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchEndData) {
	t.watch.Ended(ctx)
}
