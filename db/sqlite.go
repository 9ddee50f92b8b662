package db

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"modernc.org/sqlite"

	"fieldcache/cache"
	"fieldcache/cache/sqlwatch"
)

// openSQLite returns a pool for SQLite that has no connection yet. rest is the URL without "sqlite:".
//
// A file is in WAL mode, where readers and the one writer do not wait for each other. A database in memory
// uses SQLite's memdb: unlike a shared cache it honours the busy timeout, and unlike a pool of one connection
// it cannot lock up when a reader asks beside an open transaction.
//
// Times are kept as text in UTC, "2025-01-02 03:04:05.678901+00:00", trailing zeros of the fraction left
// out; sorted as text they are sorted by time, since '+' comes before '.' and '.' before the digits.
func openSQLite(o Options, rest string) (*DB, error) {
	name, path, err := sqlitePath(rest)
	if err != nil {
		return nil, err
	}
	query := url.Values{
		"_txlock":       {"immediate"},
		"_error_rc":     {"true"}, // otherwise the error for a file that cannot be opened is "out of memory"
		"_timezone":     {"UTC"},
		"_busy_timeout": {strconv.FormatInt(max(o.BusyTimeout.Milliseconds(), 1), 10)},
		"_pragma":       {"foreign_keys(1)", "synchronous(NORMAL)", "journal_size_limit(67108864)"},
	}
	dsn := url.URL{Scheme: "file", RawQuery: query.Encode()}
	if path == "" {
		query.Set("vfs", "memdb")
		dsn.Opaque = "/fieldcache-" + rand.Text() // the leading slash makes it one database for all connections
	} else {
		query.Add("_pragma", "journal_mode(WAL)")
		dsn.Opaque = (&url.URL{Path: path}).EscapedPath()
	}
	dsn.RawQuery = query.Encode()

	// A driver of our own, so that its functions are not registered for every driver.
	drv := new(sqlite.Driver)
	// SQLite's own lower knows A to Z; PostgreSQL's, and thereby the search by name, knows every letter.
	if err := drv.RegisterDeterministicScalarFunction("lower", 1, lower); err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	watch := new(cache.Watch)
	pool := sql.OpenDB(sqlwatch.Connector(sqliteConnector{driver: drv, dsn: dsn.String()}, watch))
	pool.SetMaxOpenConns(o.MaxOpenConns)
	pool.SetMaxIdleConns(o.MaxIdleConns)
	if path == "" {
		pool.SetMaxOpenConns(o.MaxOpenConns + 1) // one is reserved to keep the database
	} else {
		pool.SetConnMaxLifetime(o.ConnMaxLifetime)
		pool.SetConnMaxIdleTime(o.ConnMaxIdleTime)
	}
	return &DB{bun: bun.NewDB(pool, sqlitedialect.New()), watch: watch, name: name}, nil
}

const memoryName = "SQLite in memory"

func (d *DB) inMemory() bool { return d.name == memoryName }

// sqlitePath returns the name of the database, and the path of its file, empty for one in memory.
func sqlitePath(rest string) (name, path string, err error) {
	if rest == ":memory:" || rest == "//:memory:" {
		return memoryName, "", nil
	}
	path, ok := strings.CutPrefix(rest, "//")
	if ok {
		path, err = url.PathUnescape(path)
	}
	if !ok || err != nil || path == "" || strings.ContainsAny(path, "?#\x00") {
		return "", "", errors.New("database URL: SQLite is sqlite::memory: or sqlite://path/of/file.db " +
			"(sqlite:///path for an absolute path), without options")
	}
	dir := filepath.Dir(path)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return "", "", fmt.Errorf("database URL: there is no folder %q to hold %q; create it first", dir, filepath.Base(path))
	}
	return "SQLite file " + path, path, nil
}

// lower is SQL's lower for text in any script.
func lower(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
	switch v := args[0].(type) {
	case string:
		return strings.ToLower(v), nil
	case []byte:
		return strings.ToLower(string(v)), nil
	default:
		return v, nil
	}
}

type sqliteConnector struct {
	driver *sqlite.Driver
	dsn    string
}

func (c sqliteConnector) Driver() driver.Driver { return c.driver }

func (c sqliteConnector) Connect(ctx context.Context) (driver.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return c.driver.Open(c.dsn)
}
