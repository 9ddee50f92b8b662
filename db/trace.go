package db

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"

	"github.com/uptrace/bun"

	"fieldcache/cache"
)

// Trace starts a span for each statement from now on. The span has the kind of the statement, but not
// its text, which may contain values. Call Trace before the first statement.
func (d *DB) Trace(trace cache.Trace) { d.bun = d.bun.WithQueryHook(tracing{trace}) }

type tracing struct{ trace cache.Trace }

type endKey struct{}

// BeforeQuery implements [bun.QueryHook].
func (t tracing) BeforeQuery(ctx context.Context, e *bun.QueryEvent) context.Context {
	ctx, end := t.trace(ctx, "SQL "+e.Operation(), slog.String("db.operation.name", e.Operation()))
	return context.WithValue(ctx, endKey{}, end)
}

// AfterQuery implements [bun.QueryHook].
func (t tracing) AfterQuery(ctx context.Context, e *bun.QueryEvent) {
	end, ok := ctx.Value(endKey{}).(func(error, ...slog.Attr))
	if !ok {
		return
	}
	err := e.Err
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	end(err)
}
