package db

import (
	"context"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/schema"

	"fieldcache/cache"
	"fieldcache/cache/outbox"
)

// seenRow is a row of a statement by [read].
type seenRow[R any] struct {
	Seen  string
	There bool // false in the only row of a statement that found nothing
	Row   R    `bun:"embed:"`
}

// read answers the rows of a query and the snapshot in which they were read. Both come from one
// statement: a snapshot asked for before would be older than the rows, one asked for later may be newer,
// and would claim writes that the rows lack. That nothing was found has a snapshot as well. order is that of
// the rows, by the query's columns, or "" for any.
func read[R any](ctx context.Context, d *DB, order bun.Safe, query schema.QueryAppender) ([]R, cache.Snapshot, error) {
	if order != "" {
		order = " ORDER BY " + order
	}
	var found []seenRow[R]
	err := d.bun.NewRaw("SELECT s.seen, q.* FROM (SELECT ? AS seen) AS s "+
		"LEFT JOIN (SELECT true AS there, r.* FROM (?) AS r) AS q ON true?", outbox.Seen(d.bun), query, order).Scan(ctx, &found)
	if err != nil {
		return nil, cache.Snapshot{}, translate(err, "")
	}
	rows := make([]R, 0, len(found))
	for i := range found {
		if found[i].There {
			rows = append(rows, found[i].Row)
		}
	}
	seen, err := cache.ParseSnapshot(found[0].Seen)
	return rows, seen, err
}

// readByKey is read for rows that have a key.
func readByKey[K comparable, R any](ctx context.Context, d *DB, query schema.QueryAppender, key func(*R) K) (map[K]*R, cache.Snapshot, error) {
	rows, seen, err := read[R](ctx, d, "", query)
	found := make(map[K]*R, len(rows))
	for i := range rows {
		found[key(&rows[i])] = &rows[i]
	}
	return found, seen, err
}

// count counts the rows of a query.
func (d *DB) count(ctx context.Context, q *bun.SelectQuery) (int, cache.Snapshot, error) {
	var counted struct {
		Seen string
		N    int
	}
	err := q.ColumnExpr("? AS seen", outbox.Seen(d.bun)).ColumnExpr("count(*) AS n").Scan(ctx, &counted)
	if err != nil {
		return 0, cache.Snapshot{}, translate(err, "")
	}
	seen, err := cache.ParseSnapshot(counted.Seen)
	return counted.N, seen, err
}
