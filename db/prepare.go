package db

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/uptrace/bun"
)

// arguments are the values of a statement that are sent beside its text, so that the text stays the
// same and PostgreSQL parses and plans it once for each connection, which takes longer than reading
// a row. bun by itself writes values into the text, and so does this on SQLite and if the URL names
// a default_query_exec_mode.
type arguments struct {
	db     *DB
	to     bun.IConn // the pool or a transaction
	values []any
}

// arguments are those of a statement outside of transactions.
func (d *DB) arguments() *arguments { return &arguments{db: d, to: d.bun.DB} }

// argumentsIn are those of a statement in what may be a transaction.
func (d *DB) argumentsIn(in bun.IDB) *arguments {
	if tx, ok := in.(bun.Tx); ok {
		return &arguments{db: d, to: tx.Tx}
	}
	return d.arguments()
}

// add returns the placeholder of a value in the statement.
func (a *arguments) add(value any) any {
	if !a.db.prepares {
		return value
	}
	a.values = append(a.values, value)
	return bun.Safe(fmt.Sprintf("$%d", len(a.values)))
}

// isIn returns the condition that a column has one of the values.
func isIn[V any](a *arguments, column string, values []V) (condition string, args []any) {
	if !a.db.prepares {
		return "? IN (?)", []any{bun.Ident(column), bun.List(values)}
	}
	return "? = ANY (?)", []any{bun.Ident(column), a.add(values)}
}

// conn returns where a statement with these arguments is sent.
func (a *arguments) conn() bun.IConn {
	if !a.db.prepares {
		return a.to
	}
	return prepared{a.to, a.db.pooler, a.values}
}

// prepared sends statements with values beside their text.
type prepared struct {
	bun.IConn
	pooler *pooler
	values []any
}

// QueryContext implements [bun.IConn]. Behind a pooler, and where a prepared statement failed before, the text is
// sent with its values in one round trip, without being prepared.
func (p prepared) QueryContext(ctx context.Context, text string, _ ...any) (*sql.Rows, error) {
	mode := pgx.QueryExecModeCacheStatement
	if p.pooler.found.Load() || ctx.Value(unprepared{}) != nil {
		mode = pgx.QueryExecModeExec
	}
	args := make([]any, 1, 1+len(p.values))
	args[0] = mode
	args = append(args, p.values...)
	return p.IConn.QueryContext(ctx, text, args...)
}
