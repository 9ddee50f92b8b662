package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"

	"fieldcache/cache"
	"fieldcache/cache/outbox"
)

// Options are the options of [Open]. The zero value opens the SQLite file fieldcache.db in the
// working directory. Open refuses invalid values.
type Options struct {
	// URL is postgres://user:password@host:port/database?sslmode=…, sqlite://path (sqlite:///path for an
	// absolute one) or sqlite::memory:. Default: sqlite://fieldcache.db.
	//
	// connect_timeout, statement_timeout, application_name, timezone and default_query_exec_mode in
	// the URL of a PostgreSQL database override this package's defaults.
	URL string
	// MaxOpenConns bounds the pool. Default: 16.
	MaxOpenConns int
	// MaxIdleConns is the maximum number of idle connections in the pool. Default: MaxOpenConns.
	MaxIdleConns int
	// ConnMaxLifetime is the age at which a connection is replaced, so that a moved or resized server is
	// noticed. Default: 30 minutes.
	ConnMaxLifetime time.Duration
	// ConnMaxIdleTime is how long a connection may be idle before it is closed. Default: 5 minutes.
	ConnMaxIdleTime time.Duration
	// ConnectTimeout is the timeout for establishing a connection. Default: 5 seconds.
	ConnectTimeout time.Duration
	// StatementTimeout is PostgreSQL's statement_timeout. It ends statements whose cancel request was
	// lost. Default: 30 seconds. Negative: none. SQLite has no such timeout: there a statement ends
	// with its context.
	StatementTimeout time.Duration
	// Rows are the rows that cached values depend on. Writes to them are recorded; see
	// [outbox.RowTags].
	Rows []outbox.Rows
	// BusyTimeout is how long a writer waits for another one on SQLite. Default: 5 seconds.
	BusyTimeout time.Duration
}

const defaultURL = "sqlite://fieldcache.db"

// withDefaults returns the options with every zero value replaced, or an error that names each bad
// value.
func (o Options) withDefaults() (Options, error) {
	var faults []error
	count := func(name string, v *int, standard int) {
		switch {
		case *v < 0:
			faults = append(faults, fmt.Errorf("%s is %d; it must be at least 1, or 0 for the default, %d", name, *v, standard))
		case *v == 0:
			*v = standard
		}
	}
	period := func(name string, v *time.Duration, standard time.Duration) {
		switch {
		case *v < 0:
			faults = append(faults, fmt.Errorf("%s is %v; it must be positive, or 0 for the default, %v", name, *v, standard))
		case *v == 0:
			*v = standard
		}
	}
	if o.URL == "" {
		o.URL = defaultURL
	}
	count("MaxOpenConns", &o.MaxOpenConns, 16)
	count("MaxIdleConns", &o.MaxIdleConns, o.MaxOpenConns)
	period("ConnMaxLifetime", &o.ConnMaxLifetime, 30*time.Minute)
	period("ConnMaxIdleTime", &o.ConnMaxIdleTime, 5*time.Minute)
	period("ConnectTimeout", &o.ConnectTimeout, 5*time.Second)
	period("BusyTimeout", &o.BusyTimeout, 5*time.Second)
	if o.StatementTimeout == 0 {
		o.StatementTimeout = 30 * time.Second
	}
	return o, errors.Join(faults...)
}

// DB is an open database, safe for concurrent use.
type DB struct {
	bun     *bun.DB
	watch   *cache.Watch
	name    string
	keep    *sql.Conn // keeps a database in memory alive; nil for all others
	options Options
	lent    bool // whether the pool belongs to another DB, which closes it

	prepares    bool         // whether hot statements are prepared
	pooler      *pooler      // the pooler before PostgreSQL; nil on SQLite
	connections *connections // nil on SQLite
}

// Open opens the database and makes one connection, so that it fails for a wrong URL or a server
// that is down. Its errors never contain a password.
func Open(ctx context.Context, o Options) (*DB, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("database options: %w", err)
	}
	scheme, rest, _ := strings.Cut(o.URL, ":")
	var d *DB
	switch strings.ToLower(scheme) {
	case "postgres", "postgresql":
		d, err = openPostgres(o)
	case "sqlite":
		d, err = openSQLite(o, rest)
	default:
		return nil, fmt.Errorf("database URL %s has an unknown scheme; allowed are "+
			"postgres://user:password@host:port/database, sqlite://path (a file) and sqlite::memory: (lost at exit)", redact(o.URL))
	}
	if err != nil {
		return nil, err
	}
	d.options = o
	err = d.connect(ctx, o)
	if err == nil {
		err = d.checkTransactions(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", d.name, err), d.bun.Close())
	}
	return d, nil
}

// Aside returns the same database with a pool of its own of at most conns connections, for work
// that must not wait until requests release one. It is closed separately, before d. On SQLite,
// where connections cost nothing and wait for no server, it shares the pool of d.
func (d *DB) Aside(ctx context.Context, conns int) (*DB, error) {
	if !d.Postgres() {
		lent := *d
		lent.lent = true
		return &lent, nil
	}
	o := d.options
	o.MaxOpenConns, o.MaxIdleConns = conns, conns
	return Open(ctx, o)
}

// connect makes the first connection.
func (d *DB) connect(ctx context.Context, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, o.ConnectTimeout)
	defer cancel()
	conn, err := d.bun.DB.Conn(ctx)
	if err != nil {
		return err
	}
	if d.inMemory() {
		d.keep = conn
		return nil
	}
	return errors.Join(conn.PingContext(ctx), conn.Close())
}

// redact returns the scheme of a URL that cannot be used. It omits the rest, since a malformed URL
// may have its password anywhere.
func redact(text string) string {
	if u, err := url.Parse(text); err == nil && u.Scheme != "" {
		return u.Scheme + ":…"
	}
	return "(not shown)"
}

// Bun returns the handle to build statements with.
func (d *DB) Bun() *bun.DB { return d.bun }

// WithQueryHook returns the same database with a hook that sees every statement of the returned DB,
// BEGIN and COMMIT included. Either of the two may be closed, once.
func (d *DB) WithQueryHook(hook bun.QueryHook) *DB {
	hooked := *d
	hooked.bun = d.bun.WithQueryHook(hook)
	return &hooked
}

// Postgres reports whether the database is PostgreSQL; otherwise it is SQLite.
func (d *DB) Postgres() bool { return d.bun.Dialect().Name() == dialect.PG }

// Outbox returns the place of the outbox in the database.
func (d *DB) Outbox() outbox.Place {
	if d.Postgres() {
		return outbox.PostgreSQL("")
	}
	return outbox.SQLite()
}

// String returns a description of the database without user and password: "SQLite file
// fieldcache.db".
func (d *DB) String() string { return d.name }

// Ping returns an error if the database does not respond. For a standby the error wraps
// [cache.ErrStandby].
func (d *DB) Ping(ctx context.Context) error {
	if err := d.ping(cache.Unwatched(ctx)); err != nil {
		return fmt.Errorf("ping %s: %w", d.name, err)
	}
	return nil
}

// Close closes all connections once they are idle. The data of an in-memory database is lost then.
func (d *DB) Close() error {
	if d.lent {
		return nil
	}
	var err error
	if d.keep != nil {
		err = d.keep.Close()
	}
	return errors.Join(err, d.bun.Close())
}

// InTx runs fn in a transaction. It commits if fn returns nil, and rolls back if fn returns an error
// or panics. fn must use tx for its statements. On SQLite only one transaction runs at a time.
//
// Its errors are translated like those of the other methods. [Rejected] reports for each whether
// the transaction failed before COMMIT was sent.
func (d *DB) InTx(ctx context.Context, fn func(ctx context.Context, tx bun.Tx) error) error {
	committing := false
	err := d.bun.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		if err := d.boundStatements(ctx, tx); err != nil {
			return err
		}
		if err := fn(ctx, tx); err != nil {
			return err
		}
		committing = true
		return nil
	})
	if err == nil {
		return nil
	}
	err = translate(err, "")
	if !committing && !Rejected(err) {
		err = &rejectedError{err}
	}
	return explainWrite(ctx, err)
}
