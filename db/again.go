package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"fieldcache/cache"
)

// pauses are the waits before a statement is sent again; their number limits the retries. The first
// retry comes at once: a connection that was cut off says nothing about the others.
var pauses = [...]time.Duration{0, 20 * time.Millisecond, 60 * time.Millisecond}

// again calls try, and retries on another connection while the error may be temporary and retry
// allows it. It stops when ctx ends. A retry sends no prepared statement, because each connection may
// have a stale one.
func (d *DB) again(ctx context.Context, retry func(error) bool, try func(context.Context) error) error {
	for _, pause := range pauses {
		err := try(ctx)
		if err == nil || ctx.Err() != nil || !passes(err) || !retry(err) {
			return err
		}
		ctx = context.WithValue(ctx, unprepared{}, true)
		if readOnly(err) {
			d.Reconnect() // a standby behind a pooler, or one whose primary is elsewhere now
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
	return try(ctx)
}

// unprepared is the context key by which a retry prevents statements from being prepared.
type unprepared struct{}

// readAgain runs a read, with retries if they may help, and translates its error. A value that does
// not fit its column's Go type is a [cache.ErrRow].
func (d *DB) readAgain(ctx context.Context, read func(context.Context) error) error {
	err := d.again(ctx, func(error) bool { return true }, read)
	if err != nil && strings.Contains(err.Error(), scanFailed) {
		return fmt.Errorf("%w: %w", cache.ErrRow, err)
	}
	return explain(ctx, translate(err, ""), false)
}

// scanFailed is the beginning of [sql.Rows.Scan]'s error, which has no type.
const scanFailed = "sql: Scan error on column"

// passes reports whether the same statement may succeed on another connection, or a moment later.
// It does not say whether the statement was executed.
func passes(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case pgSerialization, pgDeadlock,
			pgFeature, // cached plan must not change result type
			pgNoStatement, pgSameStatement,
			pgReadOnly, pgAdminShutdown, pgIdleSession, pgIdleTransaction, pgTooManyConnections,
			pgInternal: // a statement saw a table while it was altered
			return true
		}
		return connectionFailed(pg)
	}
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) {
		return false // another attempt to connect would fail too
	}
	return lost(err)
}

// readOnly reports whether the server accepts no writes.
func readOnly(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == pgReadOnly
}

// lost reports whether a connection ended, or could not be made, instead of returning a result.
func lost(err error) bool {
	var network net.Error
	var connect *pgconn.ConnectError
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &network) ||
		errors.As(err, &connect) || pgconn.SafeToRetry(err)
}

// connectionFailed reports whether an error of class 08, which poolers use too, ended the
// connection.
func connectionFailed(pg *pgconn.PgError) bool { return len(pg.Code) == 5 && pg.Code[:2] == "08" }

// Messages for a database that is not available.
const (
	awayMessage    = "The database cannot be reached at the moment; please try again."
	unknownMessage = "The connection to the database was lost; the change may or may not have been made."
)

// explainWrite is [explain] for a write.
func explainWrite(ctx context.Context, err error) error { return explain(ctx, err, !Rejected(err)) }

// explain turns the error of a database that is away, read-only, full or too slow into an [Error]
// with a message, unless the caller's own time is up.
func explain(ctx context.Context, err error, uncertain bool) error {
	var own *Error
	if err == nil || ctx.Err() != nil {
		return err
	}
	if errors.As(err, &own) {
		if own.Kind != ErrUnavailable || !uncertain {
			return err
		}
		return &Error{Kind: own.Kind, Message: unknownMessage, Uncertain: true, cause: err}
	}
	kind, message := ErrUnavailable, awayMessage
	var pg *pgconn.PgError
	var connect *pgconn.ConnectError
	switch {
	case errors.As(err, &connect): // for whatever reason: the server may be about to be replaced
	case errors.As(err, &pg):
		message, kind = explainCode(pg)
	case !lost(err):
		return err
	}
	if kind == nil {
		return err
	}
	if uncertain {
		message = unknownMessage
	}
	return &Error{Kind: kind, Message: message, Uncertain: uncertain, cause: err}
}

// explainCode returns the meaning of the server's error; nil for a fault.
func explainCode(pg *pgconn.PgError) (message string, kind error) {
	switch pg.Code {
	case pgCanceled:
		return "The database took longer than it allows for a statement.", ErrTimeout
	case pgReadOnly:
		return "The database takes no writes at the moment; please try again.", ErrUnavailable
	case pgAdminShutdown, pgCrashShutdown, pgCannotConnect, pgIdleSession, pgIdleTransaction:
		return awayMessage, ErrUnavailable
	}
	switch pg.Code[:min(2, len(pg.Code))] {
	case "08":
		return awayMessage, ErrUnavailable
	case "53", "58": // insufficient resources; errors of the system, such as a disk's
		return "The database lacks resources at the moment; please try again.", ErrUnavailable
	}
	return "", nil
}

// cutShort reports whether PostgreSQL itself said, instead of a statement's first row, that it ends
// the connection. A statement in its own transaction that returns a row was then not committed: the
// server sends the row before it commits, and keeps the order. A pooler might speak for a server
// that committed, so behind one nothing is certain.
func (d *DB) cutShort(err error) bool {
	var pg *pgconn.PgError
	if d.pooler.found.Load() || d.pooler.simple || !errors.As(err, &pg) {
		return false
	}
	return pg.Code == pgAdminShutdown || pg.Code == pgIdleSession || pg.Code == pgIdleTransaction
}
