package db

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"time"

	"github.com/uptrace/bun"

	"fieldcache/cache"
	"fieldcache/cache/outbox"
)

// now is the time as both databases keep it: UTC, to the microsecond.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// Commit is what a write did.
type Commit struct {
	// Xid is the number of its transaction, which a [cache.Snapshot] saw or did not; 0 if nobody knows
	// whether it was committed.
	Xid uint64
	// Epoch is the database's life that the number is one of.
	Epoch cache.Epoch
	// Changes are the rows that it touched, as the outbox notes them, but that Changed may name a column too
	// many: one that was set without a look at what it held.
	Changes []outbox.Change
}

// committed is what a write did that ended with err.
func committed(n outbox.Number, err error, changes ...outbox.Change) (Commit, error) {
	if err != nil {
		n = outbox.Number{}
	}
	return Commit{Xid: n.Xid, Epoch: n.Epoch, Changes: changes}, err
}

// alone runs a write of one statement. On PostgreSQL that needs no transaction: the statement answers its
// number by returning [DB.xid]. SQLite is asked for it afterwards, in the same transaction.
//
// On PostgreSQL a write that certainly was not committed runs again if its error may pass.
func (d *DB) alone(ctx context.Context, xid *outbox.Number, write func(context.Context, bun.IDB) error) error {
	if d.Postgres() {
		err := d.again(ctx, Rejected, func(ctx context.Context) error {
			err := write(ctx, d.bun)
			if err != nil && xid.Xid == 0 && !Rejected(err) && d.cutShort(err) {
				return &rejectedError{err}
			}
			return err
		})
		return explainWrite(ctx, err)
	}
	return d.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := write(ctx, tx); err != nil {
			return err
		}
		return d.askXid(ctx, tx, xid)
	})
}

// xid is what the last write of a transaction returns for its number.
func (d *DB) xid() bun.Safe {
	if d.Postgres() {
		return bun.Safe(d.Outbox().Xid())
	}
	return "'/0'" // it is not known before the triggers have run
}

// askXid ends a transaction on SQLite: it asks for its number.
func (d *DB) askXid(ctx context.Context, tx bun.Tx, xid *outbox.Number) error {
	if d.Postgres() {
		return nil
	}
	return tx.NewRaw("SELECT ? AS xid", bun.Safe(d.Outbox().Xid())).Scan(ctx, xid)
}

// change is what a statement did to rows of a table.
func change(table string, op outbox.Op, rows ...outbox.Row) outbox.Change {
	if len(rows) > outbox.MaxRows {
		rows = nil
	}
	return outbox.Change{Table: table, Op: op, Rows: rows}
}

// ids are the values of columns that hold ids.
func ids(columns map[string]int64) outbox.Values {
	v := make(outbox.Values, len(columns))
	for column, id := range columns {
		v[column] = strconv.FormatInt(id, 10)
	}
	return v
}

// rowID is the id alone.
func rowID(id int64) outbox.Values { return outbox.Values{"id": strconv.FormatInt(id, 10)} }

// updated is a row whose key columns stay the same.
func updated(v outbox.Values, changed ...string) outbox.Row {
	return outbox.Row{Was: v, Is: v, Changed: changed}
}

// lock keeps the selected rows from being written by others until the transaction ends. On SQLite the
// transaction itself does.
func (d *DB) lock(q *bun.SelectQuery) *bun.SelectQuery {
	if d.Postgres() {
		q.For("UPDATE")
	}
	return q
}

// set adds a column to an update if there is a value for it.
func set[T any](args *arguments, q *bun.UpdateQuery, column string, value *T) {
	if value != nil {
		q.Set("? = ?", bun.Ident(column), args.add(*value))
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
