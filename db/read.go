package db

import (
	"context"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/schema"

	"fieldcache/cache"
)

// seenRow is a row of a statement by [read].
type seenRow[R any] struct {
	Seen  string
	There *bool // nil if the query has no rows: then this row holds only the snapshot
	Row   R     `bun:"embed:"`
}

// read returns the rows of a query and the snapshot in which they were read. One statement returns
// both. A snapshot of an earlier statement would be older than the rows. One of a later statement
// could be newer and claim writes that the rows lack. Either could come from another server. order is
// the ORDER BY clause by the query's columns, or "" for any order. args are the query's arguments.
func read[R any](ctx context.Context, args *arguments, order bun.Safe, query schema.QueryAppender) ([]R, cache.Snapshot, error) {
	if order != "" {
		order = " ORDER BY " + order
	}
	var found []seenRow[R]
	db := args.db.bun
	err := args.db.readAgain(ctx, func(ctx context.Context) error {
		return db.NewRaw("SELECT s.seen, r.* FROM (SELECT ? AS seen) AS s LEFT JOIN (SELECT true AS there, q.* FROM (?) AS q) AS r ON true?",
			bun.Safe(args.db.Outbox().Seen()), query, order).Conn(args.conn()).Scan(ctx, &found)
	})
	if err != nil {
		return nil, cache.Snapshot{}, err
	}
	rows := make([]R, 0, len(found))
	for i := range found {
		if found[i].There != nil {
			rows = append(rows, found[i].Row)
		}
	}
	seen, err := cache.ParseSnapshot(found[0].Seen)
	return rows, seen, err
}

// readByKey is read, but returns a map by key.
func readByKey[K comparable, R any](ctx context.Context, args *arguments, query schema.QueryAppender, key func(*R) K) (map[K]*R, cache.Snapshot, error) {
	rows, seen, err := read[R](ctx, args, "", query)
	found := make(map[K]*R, len(rows))
	for i := range rows {
		found[key(&rows[i])] = &rows[i]
	}
	return found, seen, err
}

// count counts the rows of a query with these arguments.
func (d *DB) count(ctx context.Context, args *arguments, q *bun.SelectQuery) (int, cache.Snapshot, error) {
	var counted struct {
		Seen string
		N    int
	}
	q.ColumnExpr("? AS seen", bun.Safe(d.Outbox().Seen())).ColumnExpr("count(*) AS n").Conn(args.conn())
	err := d.readAgain(ctx, func(ctx context.Context) error { return q.Scan(ctx, &counted) })
	if err != nil {
		return 0, cache.Snapshot{}, err
	}
	seen, err := cache.ParseSnapshot(counted.Seen)
	return counted.N, seen, err
}
