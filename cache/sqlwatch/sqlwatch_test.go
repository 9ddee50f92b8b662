package sqlwatch_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/lib/pq"
	_ "modernc.org/sqlite"

	"fieldcache/cache"
	"fieldcache/cache/sqlwatch"
	"fieldcache/internal/testservers"
)

// plain is a driver with the required methods only.
type plain struct{}

func (plain) Connect(context.Context) (driver.Conn, error) { return plainConn{}, nil }
func (plain) Driver() driver.Driver                        { return nil }

type plainConn struct{}

func (plainConn) Prepare(string) (driver.Stmt, error) { return plainStmt{}, nil }
func (plainConn) Close() error                        { return nil }
func (plainConn) Begin() (driver.Tx, error)           { return plainTx{}, nil }

type plainTx struct{}

func (plainTx) Commit() error   { return nil }
func (plainTx) Rollback() error { return nil }

type plainStmt struct{}

func (plainStmt) Close() error                               { return nil }
func (plainStmt) NumInput() int                              { return -1 }
func (plainStmt) Exec([]driver.Value) (driver.Result, error) { return driver.RowsAffected(1), nil }
func (plainStmt) Query(args []driver.Value) (driver.Rows, error) {
	return &plainRows{row: args}, nil
}

type plainRows struct{ row []driver.Value }

func (*plainRows) Columns() []string { return []string{"n"} }
func (*plainRows) Close() error      { return nil }
func (r *plainRows) Next(dest []driver.Value) error {
	if r.row == nil {
		return io.EOF
	}
	copy(dest, r.row)
	r.row = nil
	return nil
}

// Every statement that database/sql sends with a driver is noticed, and its result is that of the
// driver.
func TestEveryStatementIsNoticed(t *testing.T) {
	t.Parallel()
	one := func(row *sql.Row) error {
		var n int
		if err := row.Scan(&n); err != nil || n != 7 {
			t.Errorf("got %d, error %v", n, err)
		}
		return nil
	}
	for name, send := range map[string]func(context.Context, *sql.DB) error{
		"query": func(ctx context.Context, d *sql.DB) error { return one(d.QueryRowContext(ctx, "", 7)) },
		"exec":  func(ctx context.Context, d *sql.DB) error { _, err := d.ExecContext(ctx, ""); return err },
		"prepared query": func(ctx context.Context, d *sql.DB) error {
			s, err := d.PrepareContext(ctx, "")
			if err != nil {
				return err
			}
			defer s.Close()
			return one(s.QueryRowContext(ctx, 7))
		},
		"prepared exec": func(ctx context.Context, d *sql.DB) error {
			s, err := d.PrepareContext(ctx, "")
			if err != nil {
				return err
			}
			defer s.Close()
			_, err = s.ExecContext(ctx)
			return err
		},
		"transaction": func(ctx context.Context, d *sql.DB) error {
			tx, err := d.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer func() { _ = tx.Rollback() }()
			return one(tx.QueryRowContext(ctx, "", 7))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			watch := new(cache.Watch)
			d := sql.OpenDB(sqlwatch.Connector(plain{}, watch))
			defer d.Close()
			for _, own := range []bool{true, false} {
				operation, collector := watch.Collect(t.Context(), nil)
				ctx := operation
				if !own {
					ctx = t.Context()
				}
				if err := send(ctx, d); err != nil {
					t.Fatal(err)
				}
				if deps := collector.Deps(); len(deps.Unknown) != 1 || deps.Unstorable == "" {
					t.Errorf("with the operation's context: %v; got deps %+v", own, deps)
				}
				_, collector = watch.Collect(t.Context(), nil)
				if err := send(cache.Unwatched(ctx), d); err != nil {
					t.Fatal(err)
				}
				if deps := collector.Deps(); len(deps.Unknown) != 0 {
					t.Errorf("unwatched: got deps %+v", deps)
				}
			}
		})
	}
}

// Rows that were opened before an operation, and are read in it, are noticed when they end.
func TestWhatBeganBeforeIsNoticed(t *testing.T) {
	t.Parallel()
	watch := new(cache.Watch)
	d := sql.OpenDB(sqlwatch.Connector(plain{}, watch))
	defer d.Close()
	rows, err := d.QueryContext(t.Context(), "", 7)
	if err != nil {
		t.Fatal(err)
	}
	_, collector := watch.Collect(t.Context(), nil)
	for rows.Next() {
		var n int
		if err := rows.Scan(&n); err != nil {
			t.Fatal(err)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if deps := collector.Deps(); len(deps.Unknown) != 1 {
		t.Errorf("got deps %+v", deps)
	}
}

// Open opens a pool by the names that database/sql knows, whether or not the driver has connectors.
func TestOpen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ driver, source string }{
		{"sqlite", "file:" + t.TempDir() + "/a.db"}, // opens connections itself
		{"pgx", testservers.Postgres(t)},            // opens connectors
	} {
		watch := new(cache.Watch)
		db, err := sqlwatch.Open(c.driver, c.source, watch)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		ctx, collector := watch.Collect(t.Context(), nil)
		var n int
		if err := db.QueryRowContext(ctx, "SELECT 7").Scan(&n); err != nil || n != 7 {
			t.Errorf("%s: got %d, error %v", c.driver, n, err)
		}
		if collector.Deps().Unstorable == "" {
			t.Errorf("%s: the statement was not reported", c.driver)
		}
	}
	if db, err := sqlwatch.Open("none", "", new(cache.Watch)); err == nil {
		_ = db.Close()
		t.Error("an unknown driver was accepted")
	}
}

// What a connection asks about standbys is not part of a transaction, whose first statement may be one that nothing may
// precede.
func TestNothingIsAskedInATransaction(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"postgres", "pgx"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			watch := new(cache.Watch)
			watch.LookForStandbys()
			db, err := sqlwatch.Open(name, testservers.Postgres(t), watch)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = tx.Rollback() }()
			ctx, collector := watch.Collect(t.Context(), nil)
			if _, err := tx.ExecContext(ctx, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"); err != nil {
				t.Errorf("the first statement of the first transaction: %v", err)
			}
			if collector.Deps().Standby {
				t.Error("the primary was taken for a standby")
			}
		})
	}
}
