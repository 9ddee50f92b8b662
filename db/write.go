package db

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/schema"

	"fieldcache/cache"
	"fieldcache/cache/outbox"
)

// now returns the current time as both databases store it: in UTC, to the microsecond.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// Commit is the effect of a write. It is empty if the write was certainly not committed.
type Commit struct {
	// Xid is the number of the transaction, or 0 if it is unknown whether it was committed.
	Xid uint64
	// Epoch is the epoch of the database that the number belongs to.
	Epoch cache.Epoch
	// Changes are the touched rows, before and after. If it is unknown whether the write was
	// committed, they may be incomplete, since parts of them come with the response; the outbox has
	// all of them if it was committed.
	Changes []outbox.Change
}

// committed returns the effect of a write that ended with err.
func committed(n outbox.Number, changes []outbox.Change, err error) (Commit, error) {
	switch {
	case err == nil:
		return Commit{Xid: n.Xid, Epoch: n.Epoch, Changes: changes}, nil
	case Rejected(err):
		return Commit{}, err
	}
	return Commit{Changes: changes}, err
}

// returned holds the columns that a write of one row returns on PostgreSQL in addition to its own.
type returned struct {
	Xid         outbox.Number
	Was, Became *string // the row before and after, as JSON; nil if there is none
}

// wasSetting is the transaction-local PostgreSQL setting in which [DB.updateOf] stores the row before
// an UPDATE.
const wasSetting = "fieldcache.was"

// returning returns the SQL of the columns of [returned]. The row before an UPDATE is the one that
// [DB.updateOf] stored.
func (d *DB) returning(op outbox.Op) schema.QueryWithArgs {
	if !d.Postgres() { // triggers have not run yet when a row is returned
		return bun.SafeQuery("'/0' AS xid, NULL AS was, NULL AS became")
	}
	xid := bun.Safe(d.Outbox().Xid())
	if op == outbox.Insert { // which has no alias
		return bun.SafeQuery("? AS xid, NULL AS was, row_to_json(?TableName)::text AS became", xid)
	}
	return bun.SafeQuery("? AS xid, current_setting(?) AS was, row_to_json(?TableAlias)::text AS became", xid, wasSetting)
}

// returningRow returns columns of the new row, followed by [DB.returning], for an UPDATE.
func (d *DB) returningRow(columns ...string) schema.QueryWithArgs {
	return bun.SafeQuery(strings.Join(columns, ", ")+", ?", d.returning(outbox.Update))
}

// change returns the change of the row.
func (r *returned) change(table string, op outbox.Op) ([]outbox.Change, error) {
	var was, became string
	if r.Was != nil {
		was = *r.Was
	}
	if r.Became != nil {
		became = *r.Became
	}
	c, err := outbox.ChangeOf(table, op, was, became)
	return []outbox.Change{c}, err
}

// insertRow runs write, a single INSERT that scans [DB.returning] into r. On PostgreSQL it needs no
// transaction. It retries if the write was certainly not committed and the error may be temporary.
func (d *DB) insertRow(ctx context.Context, table string, r *returned, write func(context.Context, bun.IDB) error) (Commit, error) {
	return d.writeRow(ctx, table, outbox.Insert, r, func() []outbox.Change { return nil }, write)
}

// updateRow is insertRow for an UPDATE of some columns of the row with an id.
func (d *DB) updateRow(ctx context.Context, table string, id int64, columns []string, r *returned, write func(context.Context, bun.IDB) error) (Commit, error) {
	return d.writeRow(ctx, table, outbox.Update, r, func() []outbox.Change {
		row := outbox.Values{"id": strconv.FormatInt(id, 10)}
		return []outbox.Change{{Table: table, Op: outbox.Update, Rows: []outbox.Row{{Was: row, Is: row, Changed: columns}}}}
	}, write)
}

// writeRow runs a single statement that writes one row. likely returns the change as far as it is known
// without the statement's result.
func (d *DB) writeRow(ctx context.Context, table string, op outbox.Op, r *returned, likely func() []outbox.Change, write func(context.Context, bun.IDB) error) (Commit, error) {
	// With the simple protocol, pgx reports a statement whose response was lost as not sent, and
	// database/sql sends it again. It does not do so in a transaction.
	if !d.Postgres() || d.pooler.simple {
		return d.change(ctx, func(ctx context.Context, tx bun.Tx) error { *r = returned{}; return write(ctx, tx) })
	}
	err := d.again(ctx, Rejected, func(ctx context.Context) error {
		*r = returned{}
		err := write(ctx, d.bun)
		if err != nil && r.Xid.Xid == 0 && !Rejected(err) && d.cutShort(err) {
			return &rejectedError{err}
		}
		return err
	})
	if err != nil {
		return committed(outbox.Number{}, likely(), explainWrite(ctx, err))
	}
	changes, err := r.change(table, op)
	return committed(r.Xid, changes, err)
}

// insertChecked is insertRow for a transaction in which other statements come first.
func (d *DB) insertChecked(ctx context.Context, table string, r *returned, fn func(ctx context.Context, tx bun.Tx) error) (Commit, error) {
	if !d.Postgres() {
		return d.change(ctx, fn)
	}
	var changes []outbox.Change
	err := d.again(ctx, Rejected, func(ctx context.Context) error {
		return d.InTx(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
			if err = fn(ctx, tx); err == nil {
				changes, err = r.change(table, outbox.Insert)
			}
			return err
		})
	})
	return committed(r.Xid, changes, err)
}

// change runs fn in a transaction, and reads its changes from the outbox before the commit. fn may run
// more than once: change retries if nothing was committed and the error may be temporary.
func (d *DB) change(ctx context.Context, fn func(ctx context.Context, tx bun.Tx) error) (Commit, error) {
	var number outbox.Number
	var changes []outbox.Change
	err := d.again(ctx, Rejected, func(ctx context.Context) error {
		return d.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
			begin, err := d.Outbox().Mark(ctx, tx.Tx)
			if err != nil {
				return err
			}
			if err := fn(ctx, tx); err != nil {
				return err
			}
			number, changes, err = d.Outbox().Mine(ctx, tx.Tx, begin)
			return err
		})
	})
	return committed(number, changes, err)
}

// updateOf returns an UPDATE of the row with an id. On PostgreSQL its condition stores the previous
// row for [DB.returning]. PostgreSQL evaluates the condition on the version of the row that the UPDATE
// replaces, and evaluates it again if the UPDATE had to wait for another write of the row. This takes
// half the time of a join with the locked row.
func (d *DB) updateOf(in bun.IDB, args *arguments, model any, id int64) *bun.UpdateQuery {
	q := in.NewUpdate().Model(model).Set("updated_at = ?", args.add(now())).Where("?TableAlias.id = ?", args.add(id))
	if d.Postgres() {
		q.Where("set_config(?, row_to_json(?TableAlias)::text, true) IS NOT NULL", wasSetting)
	}
	return q
}

// lock makes the query lock its rows until the transaction ends. On SQLite the transaction itself
// keeps other writers out.
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
