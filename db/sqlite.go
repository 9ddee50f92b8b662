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
// A file is in WAL mode, in which readers and the writer do not block each other. An in-memory
// database uses SQLite's memdb. Unlike a shared cache it honors the busy timeout, and unlike a pool
// of one connection it cannot deadlock when a reader runs during a transaction.
//
// Times are stored as text in UTC, "2025-01-02 03:04:05.678901+00:00", without trailing zeros of the
// fraction. Their order as text is their order in time, since '+' sorts before '.' and '.' before the
// digits.
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
		"_pragma":       {"foreign_keys(1)", "recursive_triggers(1)", "synchronous(NORMAL)", "journal_size_limit(67108864)"},
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

	// A separate driver, so that its functions are not registered globally.
	drv := new(sqlite.Driver)
	// SQLite's lower converts only A to Z, PostgreSQL's all letters. The search by name needs the latter.
	if err := drv.RegisterDeterministicScalarFunction("lower", 1, lower); err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	watch := new(cache.Watch)
	pool := sql.OpenDB(sqlwatch.Connector(sqliteConnector{driver: drv, dsn: dsn.String()}, watch))
	pool.SetMaxOpenConns(o.MaxOpenConns)
	pool.SetMaxIdleConns(o.MaxIdleConns)
	if path == "" {
		pool.SetMaxOpenConns(o.MaxOpenConns + 1) // one connection keeps the database alive
	} else {
		pool.SetConnMaxLifetime(o.ConnMaxLifetime)
		pool.SetConnMaxIdleTime(o.ConnMaxIdleTime)
	}
	return &DB{bun: bun.NewDB(pool, sqlitedialect.New()), watch: watch, name: name}, nil
}

const memoryName = "SQLite in memory"

func (d *DB) inMemory() bool { return d.name == memoryName }

// sqlitePath returns the name of the database and the path of its file, which is empty for an
// in-memory database.
func sqlitePath(rest string) (name, path string, err error) {
	if rest == ":memory:" || rest == "//:memory:" {
		return memoryName, "", nil
	}
	path, ok := strings.CutPrefix(rest, "//")
	if ok {
		path, err = url.PathUnescape(path)
	}
	if !ok || err != nil || path == "" || strings.ContainsAny(path, "?#\x00") {
		return "", "", errors.New("database URL: the form for SQLite is sqlite::memory: or sqlite://path/of/file.db " +
			"(sqlite:///path for an absolute path), without options")
	}
	dir := filepath.Dir(path)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return "", "", fmt.Errorf("database URL: the folder %q for %q does not exist; create it first", dir, filepath.Base(path))
	}
	return "SQLite file " + path, path, nil
}

// lower implements SQL's lower for text in any script.
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
