package db

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/uptrace/bun"
)

// pooler is what is known of a connection pooler before the server, such as PgBouncer. In its
// transaction mode each transaction may run in another session of the server: nothing may be
// prepared, and nothing set for a session. Session mode is not distinguished, and needs neither.
type pooler struct {
	found   atomic.Bool // sticky
	refuses atomic.Bool // whether it refused timeoutParameter when a connection was made
	simple  bool        // whether the URL asks for the simple protocol
}

const timeoutParameter = "statement_timeout"

// look compares the session that a new connection was promised with the one that responds.
func (p *pooler) look(ctx context.Context, conn *pgx.Conn) error {
	if p.found.Load() {
		return nil
	}
	var pid uint32
	if err := conn.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		return err
	}
	if pid != conn.PgConn().PID() {
		p.found.Store(true)
	}
	return nil
}

// before removes from a new connection's parameters what the pooler refuses.
func (p *pooler) before(_ context.Context, config *pgx.ConnConfig) error {
	if p.refuses.Load() {
		config.RuntimeParams = maps.Clone(config.RuntimeParams) // all connections have it in common
		delete(config.RuntimeParams, timeoutParameter)
	}
	return nil
}

// poolerConnector makes connections without the statement timeout where a pooler refuses it.
type poolerConnector struct {
	driver.Connector
	pooler *pooler
	own    bool // whether the statement timeout is this package's choice, and not the URL's
}

// Connect implements [driver.Connector].
func (c poolerConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err == nil || !c.own || c.pooler.refuses.Load() || !refusedParameter(err) {
		return conn, err
	}
	c.pooler.found.Store(true)
	c.pooler.refuses.Store(true)
	return c.Connector.Connect(ctx)
}

func refusedParameter(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && strings.Contains(pg.Message, "unsupported startup parameter") &&
		strings.Contains(pg.Message, timeoutParameter)
}

// checkTransactions fails behind a pooler that may run each statement in another session.
func (d *DB) checkTransactions(ctx context.Context) error {
	if !d.Postgres() || !d.pooler.found.Load() {
		return nil
	}
	err := d.bun.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		var one int
		return tx.NewRaw("SELECT 1").Scan(ctx, &one)
	})
	if err != nil {
		return fmt.Errorf("the connection pooler runs no transactions; use PgBouncer with pool_mode = transaction or session: %w", err)
	}
	return nil
}

// boundStatements sets the statement timeout in a transaction if a pooler kept it from being set
// for the session.
func (d *DB) boundStatements(ctx context.Context, tx bun.Tx) error {
	if !d.Postgres() || !d.pooler.found.Load() || d.options.StatementTimeout <= 0 {
		return nil
	}
	_, err := tx.NewRaw("SET LOCAL statement_timeout = ?", max(d.options.StatementTimeout.Milliseconds(), 1)).Exec(ctx)
	return err
}
