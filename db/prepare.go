package db

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/uptrace/bun"
)

// arguments are the values of a statement that are sent separately from its text, so that PostgreSQL
// parses and plans the text only once for each connection, which takes longer than reading a row. bun
// alone would write values into the text. So does add on SQLite, and if the URL has a
// default_query_exec_mode.
type arguments struct {
	db     *DB
	to     bun.IConn // the pool or a transaction
	values []any
}

// arguments returns empty arguments for a statement outside of a transaction.
func (d *DB) arguments() *arguments { return &arguments{db: d, to: d.bun.DB} }

// argumentsIn returns empty arguments for a statement in a pool or a transaction.
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

// prepared sends statements with arguments.
type prepared struct {
	bun.IConn
	pooler *pooler
	values []any
}

// QueryContext implements [bun.IConn]. Behind a pooler, and in a retry, it sends the text and the
// values in one round trip without preparing the statement.
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
