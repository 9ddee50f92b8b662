package outbox

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// query reads all rows of a statement. columns returns the destinations of a row.
func query[T any](ctx context.Context, db Querier, statement string, columns func(*T) []any) (list []T, err error) {
	rows, err := db.QueryContext(ctx, statement)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var row T
		if err := rows.Scan(columns(&row)...); err != nil {
			return nil, err
		}
		list = append(list, row)
	}
	return list, rows.Err()
}

// column reads all rows of a statement that has one column.
func column[T any](ctx context.Context, db Querier, statement string) ([]T, error) {
	return query(ctx, db, statement, func(v *T) []any { return []any{v} })
}

// one reads the first value of a statement. If there is no row, it returns [sql.ErrNoRows].
func one[T any](ctx context.Context, db Querier, statement string) (value T, err error) {
	list, err := column[T](ctx, db, statement)
	if err == nil && len(list) == 0 {
		err = sql.ErrNoRows
	}
	if err != nil {
		return value, err
	}
	return list[0], nil
}

// orZero scans a column into a value that stays unchanged if the column is NULL.
func orZero[T any](into *T) sql.Scanner { return nullable[T]{into} }

type nullable[T any] struct{ into *T }

func (n nullable[T]) Scan(value any) error {
	var v sql.Null[T]
	if err := v.Scan(value); err != nil || !v.Valid {
		return err
	}
	*n.into = v.V
	return nil
}

func run(ctx context.Context, db Querier, statement string) error {
	_, err := db.ExecContext(ctx, statement)
	return err
}

// inTx runs a function in a transaction, which is rolled back if it returns an error or panics. On
// SQLite the transaction begins as a writer, whatever the driver's default is: one that read first
// might fail to write.
func (p Place) inTx(ctx context.Context, db *sql.DB, do func(context.Context, Querier) error) (err error) {
	if p.postgres {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // nothing to do if it was committed
		if err := do(ctx, tx); err != nil {
			return err
		}
		return tx.Commit()
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := run(ctx, conn, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	committed := false
	defer func() {
		if !committed {
			// Also if ctx has ended: a transaction that stays open would lock the database.
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			_ = run(end, conn, "ROLLBACK")
		}
	}()
	if err := do(ctx, conn); err != nil {
		return err
	}
	err = run(ctx, conn, "COMMIT")
	committed = err == nil
	return err
}
