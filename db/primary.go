package db

import (
	"context"
	"database/sql/driver"
	"fmt"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"fieldcache/cache"
)

// connections tells the connections of a PostgreSQL pool that were made before something happened to the server from
// those made after it. It is safe for concurrent use.
type connections struct{ generation atomic.Uint64 }

const generationKey = "fieldcache.generation"

// made records when a connection was made.
func (c *connections) made(conn *pgx.Conn) {
	conn.PgConn().CustomData()[generationKey] = c.generation.Load()
}

// check closes an idle connection that was made before the last change.
func (c *connections) check(conn *pgx.Conn) error {
	if conn.PgConn().CustomData()[generationKey] != c.generation.Load() {
		return driver.ErrBadConn
	}
	return nil
}

// Reconnect closes every connection once it is idle, since the server behind it may no longer be
// the one that the URL leads to. On SQLite it does nothing.
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
