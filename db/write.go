package db

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/uptrace/bun"
)

// now is the time as both databases keep it: UTC, to the microsecond.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// lock keeps the selected rows from being written by others until the transaction ends. On SQLite the
// transaction itself does.
func (d *DB) lock(q *bun.SelectQuery) *bun.SelectQuery {
	if d.Postgres() {
		q.For("UPDATE")
	}
	return q
}

// set adds a column to an update if there is a value for it.
func set[T any](q *bun.UpdateQuery, column string, value *T) {
	if value != nil {
		q.Set("? = ?", bun.Ident(column), *value)
	}
}

// found turns the absence of a row into the error that names it.
func found(err error, field, kind string, id int64) error {
	if errors.Is(err, sql.ErrNoRows) {
		return NotFound(field, "There is no %s %d.", kind, id)
	}
	return err
}

// exists reports the absence of a row as the error that names it.
func exists(ctx context.Context, tx bun.Tx, model any, field, kind string, id int64) error {
	there, err := tx.NewSelect().Model(model).Where("id = ?", id).Exists(ctx)
	if err == nil && !there {
		return NotFound(field, "There is no %s %d.", kind, id)
	}
	return err
}
