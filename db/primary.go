package db

import (
	"context"
	"database/sql/driver"
	"fmt"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"fieldcache/cache"
)

// connections closes the connections of a PostgreSQL pool that are older than the last call of
// [DB.Reconnect]. It is safe for concurrent use.
type connections struct{ generation atomic.Uint64 }

const generationKey = "fieldcache.generation"

// opened records when a connection was made.
func (c *connections) opened(conn *pgx.Conn) {
	conn.PgConn().CustomData()[generationKey] = c.generation.Load()
}

// check returns [driver.ErrBadConn] for a connection that is older than the last Reconnect.
func (c *connections) check(conn *pgx.Conn) error {
	if conn.PgConn().CustomData()[generationKey] != c.generation.Load() {
		return driver.ErrBadConn
	}
	return nil
}

// Reconnect closes every connection once it is idle. Call it when the URL may lead to another server
// than before. On SQLite it does nothing.
func (d *DB) Reconnect() {
	if d.connections != nil {
		d.connections.generation.Add(1)
	}
}

// ping checks that a primary responds: a standby's response may be outdated.
func (d *DB) ping(ctx context.Context) error {
	if !d.Postgres() {
		var one int
		return d.bun.NewRaw("SELECT 1").Scan(ctx, &one)
	}
	var standby bool
	if err := d.bun.NewRaw("SELECT pg_is_in_recovery()").Scan(ctx, &standby); err != nil {
		return err
	}
	if standby {
		d.Reconnect()
		return fmt.Errorf("%w", cache.ErrStandby)
	}
	return nil
}
