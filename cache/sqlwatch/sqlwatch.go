// Package sqlwatch reports every statement of a database/sql driver to a [cache.Watch], whether it is
// sent by bun, sqlx, an ORM or database/sql itself.
//
// For pgx use package pgxwatch, which also sees statements that do not go through database/sql.
//
// Once the Watch looks for standbys, each connection asks its server whether it is one, before its next use and never
// in a transaction. The statements of a standby are reported as [cache.OnStandby].
package sqlwatch

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"time"

	"fieldcache/cache"
)

// Connector returns a connector that wraps c and whose connections report their statements to w.
// [database/sql.Conn.Raw] then passes a connection of this package; its method Unwrap returns the
// driver's own.
func Connector(c driver.Connector, w *cache.Watch) driver.Connector { return connector{c, w} }

// Open is [database/sql.Open] for a pool whose statements are reported to w. It returns the errors of Open: most drivers connect
// later.
func Open(driverName, dataSourceName string, w *cache.Watch) (*sql.DB, error) {
	db, err := sql.Open(driverName, dataSourceName)
	if err != nil {
		return nil, err
	}
	d := db.Driver()
	if err := db.Close(); err != nil { // it has no connection yet
		return nil, err
	}
	var c driver.Connector = dsn{d, dataSourceName}
	if dc, ok := d.(driver.DriverContext); ok {
		if c, err = dc.OpenConnector(dataSourceName); err != nil {
			return nil, err
		}
	}
	return sql.OpenDB(Connector(c, w)), nil
}

// dsn opens connections of a driver that has no connector of its own.
type dsn struct {
	driver driver.Driver
	name   string
}

func (d dsn) Connect(context.Context) (driver.Conn, error) { return d.driver.Open(d.name) }
func (d dsn) Driver() driver.Driver                        { return d.driver }

type connector struct {
	driver.Connector
	watch *cache.Watch
}

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: inner, watch: c.watch}, nil
}

// conn has every optional method of a connection. If the driver's connection lacks one, conn returns the
// value by which database/sql falls back to its default.
type conn struct {
	driver.Conn
	watch *cache.Watch

	used    bool      // whether anything was sent, so that a transaction may have begun
	primary bool      // whether the server said that it is no standby
	asked   time.Time // when it was asked; zero if it was not
}

// Unwrap returns the driver's own connection.
func (c *conn) Unwrap() driver.Conn { return c.Conn }

func (c *conn) Ping(ctx context.Context) error {
	if p, ok := c.Conn.(driver.Pinger); ok {
		return p.Ping(ctx)
	}
	return nil
}

// ResetSession is what database/sql calls before it uses a connection again.
func (c *conn) ResetSession(ctx context.Context) error {
	if r, ok := c.Conn.(driver.SessionResetter); ok {
		if err := r.ResetSession(ctx); err != nil {
			return err
		}
	}
	c.ask(ctx)
	return nil
}

func (c *conn) IsValid() bool {
	v, ok := c.Conn.(driver.Validator)
	return !ok || v.IsValid()
}

func (c *conn) CheckNamedValue(v *driver.NamedValue) error {
	if n, ok := c.Conn.(driver.NamedValueChecker); ok {
		return n.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

func (c *conn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	c.askFirst(ctx)
	if b, ok := c.Conn.(driver.ConnBeginTx); ok {
		return b.BeginTx(ctx, o)
	}
	if o.Isolation != 0 || o.ReadOnly {
		return nil, errors.New("sqlwatch: the driver does not support transaction options")
	}
	return c.Begin() //nolint:staticcheck // what database/sql does for such a driver
}

func (c *conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	s, err := c.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (c *conn) prepare(ctx context.Context, query string) (*stmt, error) {
	var inner driver.Stmt
	var err error
	if p, ok := c.Conn.(driver.ConnPrepareContext); ok {
		inner, err = p.PrepareContext(ctx, query)
	} else {
		inner, err = c.Conn.Prepare(query)
	}
	if err != nil {
		return nil, err
	}
	return &stmt{inner, c, query}, nil
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	e, ok := c.Conn.(driver.ExecerContext)
	if !ok {
		return nil, driver.ErrSkip // database/sql prepares the statement instead
	}
	defer c.began(ctx, query)()
	return e.ExecContext(ctx, query, args)
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	q, ok := c.Conn.(driver.QueryerContext)
	if !ok {
		return nil, driver.ErrSkip
	}
	return c.query(ctx, query, func() (driver.Rows, error) { return q.QueryContext(ctx, query, args) })
}

// query sends a statement that returns rows, and reports it until the rows are closed.
func (c *conn) query(ctx context.Context, query string, send func() (driver.Rows, error)) (driver.Rows, error) {
	ended := c.began(ctx, query)
	rows, err := send()
	if err != nil {
		ended()
		return nil, err
	}
	return watched(rows, sync.OnceFunc(ended)), nil
}

// began reports the beginning of a statement. It returns a function that reports its end.
func (c *conn) began(ctx context.Context, text string) (ended func()) {
	c.askFirst(ctx)
	if !c.primary && c.watch.LooksForStandbys() {
		text = cache.OnStandby
	}
	c.watch.Began(ctx, text)
	return func() { c.watch.Ended(ctx, text) }
}

// askAgain is how often a server that is a standby, or does not answer, is asked again.
const askAgain = time.Second

// askFirst asks the server before anything else is sent to it.
func (c *conn) askFirst(ctx context.Context) {
	if !c.used {
		c.used = true
		c.ask(ctx)
	}
}

// ask finds out whether the server is a standby. A primary stays one for as long as the connection. It must not be
// called in a transaction: the question would take its snapshot, which SET TRANSACTION and LOCK must precede.
func (c *conn) ask(ctx context.Context) {
	if c.primary || !c.watch.LooksForStandbys() {
		return
	}
	if now := time.Now(); now.Sub(c.asked) >= askAgain {
		standby, err := c.isInRecovery(ctx)
		c.primary, c.asked = err == nil && !standby, now
	}
}

// isInRecovery asks the server.
func (c *conn) isInRecovery(ctx context.Context) (is bool, err error) {
	const question = "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN 1 ELSE 0 END"
	var answer driver.Rows
	if q, ok := c.Conn.(driver.QueryerContext); ok {
		answer, err = q.QueryContext(ctx, question, nil)
	} else {
		err = driver.ErrSkip
	}
	if errors.Is(err, driver.ErrSkip) {
		s, failed := c.prepare(ctx, question)
		if failed != nil {
			return false, failed
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		answer, err = s.query(ctx, nil)
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, answer.Close()) }()
	row := make([]driver.Value, 1)
	if err := answer.Next(row); err != nil {
		return false, err
	}
	return fmt.Sprint(row[0]) != "0", nil
}

// stmt is a prepared statement.
type stmt struct {
	driver.Stmt
	conn *conn
	text string
}

func (s *stmt) CheckNamedValue(v *driver.NamedValue) error {
	if n, ok := s.Stmt.(driver.NamedValueChecker); ok {
		return n.CheckNamedValue(v)
	}
	return s.conn.CheckNamedValue(v)
}

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	defer s.conn.began(ctx, s.text)()
	if e, ok := s.Stmt.(driver.StmtExecContext); ok {
		return e.ExecContext(ctx, args)
	}
	list, err := values(args)
	if err != nil {
		return nil, err
	}
	return s.Exec(list) //nolint:staticcheck // what database/sql does for such a driver
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.conn.query(ctx, s.text, func() (driver.Rows, error) { return s.query(ctx, args) })
}

// query sends the statement, and does not report it.
func (s *stmt) query(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	if q, ok := s.Stmt.(driver.StmtQueryContext); ok {
		return q.QueryContext(ctx, args)
	}
	list, err := values(args)
	if err != nil {
		return nil, err
	}
	return s.Query(list) //nolint:staticcheck // what database/sql does for such a driver
}

// values returns the arguments for a driver that does not support named ones.
func values(args []driver.NamedValue) ([]driver.Value, error) {
	list := make([]driver.Value, len(args))
	for i, a := range args {
		if a.Name != "" {
			return nil, errors.New("sqlwatch: the driver does not support named arguments")
		}
		list[i] = a.Value
	}
	return list, nil
}
