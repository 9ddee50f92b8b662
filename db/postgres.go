package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"fieldcache/cache"
	"fieldcache/cache/pgxwatch"
)

// cancelTimeout is how long the server may take to confirm that a statement was cancelled, before
// the connection is given up.
const cancelTimeout = time.Second

// openPostgres returns a pool for PostgreSQL that has no connection yet.
//
// bun writes values into a statement's text, so preparing it would be useless: every text would be
// prepared once, used once, and push another one out of the cache. QueryExecModeExec sends it in one
// round trip without a name, over the extended protocol, in which the server refuses a second
// statement after a semicolon. Frequent statements have arguments and are prepared: see [arguments].
func openPostgres(o Options) (*DB, error) {
	config, err := pgx.ParseConfig(o.URL)
	if err != nil {
		return nil, postgresURLError(o.URL, err)
	}
	given := url.Values{}
	if u, err := url.Parse(o.URL); err == nil {
		given = u.Query()
	}
	if !given.Has("default_query_exec_mode") {
		config.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = o.ConnectTimeout
	}
	// A statement whose caller gave up is cancelled on the server. If the connection were closed instead, as pgx does
	// by default, the server would notice only after the statement: a write that waits for a lock would be executed
	// after all, long after the cache was told that it may have been.
	config.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: cancelTimeout}
	}
	params := config.RuntimeParams
	ownTimeout := false
	if o.StatementTimeout > 0 {
		ownTimeout = setDefault(params, timeoutParameter, strconv.FormatInt(max(o.StatementTimeout.Milliseconds(), 1), 10))
	}
	setDefault(params, "application_name", "fieldcache")
	setDefault(params, "timezone", "UTC")
	// These are required: bun's quoting is only safe with standard strings in UTF-8, and times are only read in ISO
	// format.
	params["standard_conforming_strings"] = "on"
	params["client_encoding"] = "UTF8"
	params["datestyle"] = "ISO, MDY"

	watch := new(cache.Watch)
	config.Tracer = pgxwatch.New(watch)
	if config.ValidateConnect == nil { // the URL has no target_session_attrs
		config.ValidateConnect = primaryAlone
	}

	opened := new(connections)
	behind := &pooler{simple: config.DefaultQueryExecMode == pgx.QueryExecModeSimpleProtocol}
	pool := sql.OpenDB(poolerConnector{stdlib.GetConnector(*config,
		stdlib.OptionBeforeConnect(behind.before),
		stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
			conn.TypeMap().RegisterType(&pgtype.Type{
				Name: "timestamptz", OID: pgtype.TimestamptzOID,
				Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
			})
			opened.opened(conn)
			return behind.look(cache.Unwatched(ctx), conn)
		}),
		stdlib.OptionResetSession(func(ctx context.Context, conn *pgx.Conn) error {
			if err := opened.check(conn); err != nil {
				return err
			}
			return alive(ctx, conn)
		})), behind, ownTimeout})
	pool.SetMaxOpenConns(o.MaxOpenConns)
	pool.SetMaxIdleConns(o.MaxIdleConns)
	pool.SetConnMaxLifetime(o.ConnMaxLifetime)
	pool.SetConnMaxIdleTime(o.ConnMaxIdleTime)
	return &DB{
		bun: bun.NewDB(pool, pgdialect.New()), watch: watch, prepares: !given.Has("default_query_exec_mode"), pooler: behind, connections: opened,
		name: fmt.Sprintf("PostgreSQL database %s on %s:%d", config.Database, config.Host, config.Port),
	}, nil
}

// primaryAlone refuses a connection to a standby, so that the next address of the URL is tried.
func primaryAlone(ctx context.Context, conn *pgconn.PgConn) error {
	if err := pgconn.ValidateConnectTargetSessionAttrsPrimary(ctx, conn); err != nil {
		return fmt.Errorf("%w: %w", cache.ErrStandby, err)
	}
	return nil
}

// setDefault sets a run-time parameter unless the URL sets it, by its name in any case or in options.
// It reports whether it set the parameter.
func setDefault(params map[string]string, name, value string) bool {
	for k, v := range params {
		if strings.EqualFold(k, name) || k == "options" && strings.Contains(strings.ToLower(v), name) {
			return false
		}
	}
	params[name] = value
	return true
}

// postgresURLError returns the error for a URL that pgx refused. It contains pgx's reason only if that
// does not contain the password, which pgx does not always mask.
func postgresURLError(text string, err error) error {
	const form = "a PostgreSQL URL has the form postgres://user:password@host:port/database?sslmode=… " +
		"(percent-encode / ? # @ : and spaces in user and password)"
	u, parseErr := url.Parse(text)
	reason := errors.Unwrap(err)
	if parseErr != nil || reason == nil {
		return errors.New("database URL: " + form)
	}
	secrets := append([]string{u.Query().Get("sslpassword")}, u.Query()["password"]...)
	if password, ok := u.User.Password(); ok {
		secrets = append(secrets, password)
	}
	for _, secret := range secrets {
		if secret != "" && strings.Contains(reason.Error(), secret) {
			return errors.New("database URL: " + form)
		}
	}
	return fmt.Errorf("database URL: %w; %s", reason, form)
}
