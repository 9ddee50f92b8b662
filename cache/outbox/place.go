package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"fieldcache/cache"
)

// Querier sends statements: a *[sql.DB], a *[sql.Tx] or a *[sql.Conn], of any driver.
//
// Values are part of the text of this package's statements, not arguments. So each statement is one
// round trip without a prepared statement if the driver supports that, as a connection pooler in
// transaction mode needs it, and none depends on how a driver writes placeholders.
type Querier interface {
	// ExecContext executes a statement, as [sql.DB.ExecContext].
	ExecContext(ctx context.Context, statement string, args ...any) (sql.Result, error)
	// QueryContext returns the rows of a statement, as [sql.DB.QueryContext].
	QueryContext(ctx context.Context, statement string, args ...any) (*sql.Rows, error)
}

// Place says where an outbox is: in PostgreSQL, with an optional schema, or in SQLite. The zero value
// is SQLite.
type Place struct {
	postgres bool
	schema   string // "": the first schema of the search path
}

// PostgreSQL returns the place of an outbox in a schema of a PostgreSQL database. If schema is empty,
// the outbox is the one that the search path finds, or else in the current schema. Applications that
// share a database each need a schema of their own for their outboxes, whether they share tables or
// not.
func PostgreSQL(schema string) Place { return Place{true, schema} }

// SQLite returns the place of an outbox in a SQLite database.
func SQLite() Place { return Place{} }

// oldest is PostgreSQL 13, the first with pg_current_snapshot.
const oldest = 13_00_00

// Find detects the kind of a database. It returns an error for a database that is neither SQLite
// nor PostgreSQL from 13 on, and for a schema on SQLite, which has none.
func Find(ctx context.Context, db Querier, schema string) (Place, error) {
	version, err := one[string](ctx, db, "SELECT version()")
	if err != nil || !strings.HasPrefix(version, "PostgreSQL") {
		_, errSQLite := one[string](ctx, db, "SELECT sqlite_version()") // only on SQLite a failed statement does not abort the transaction
		switch {
		case errSQLite == nil && schema == "":
			return SQLite(), nil
		case errSQLite == nil:
			return Place{}, fmt.Errorf("outbox: SQLite has no schemas, such as %s", schema)
		case err == nil:
			err = fmt.Errorf("unknown database: %.60q", version)
		default:
			if _, errAny := one[int](ctx, db, "SELECT 1"); errAny != nil {
				return Place{}, fmt.Errorf("outbox: the database does not respond: %w", errAny)
			}
			err = errors.Join(err, errSQLite)
		}
		return Place{}, fmt.Errorf("outbox: the database is neither PostgreSQL nor SQLite: %w", err)
	}
	number, err := one[string](ctx, db, "SELECT current_setting('server_version_num')")
	if err != nil {
		return Place{}, fmt.Errorf("outbox: read the database's version: %w", err)
	}
	if n, err := strconv.Atoi(number); err != nil || n < oldest {
		return Place{}, fmt.Errorf("outbox: PostgreSQL 13 or later is required; this is %.60s", version)
	}
	return PostgreSQL(schema), nil
}

// Postgres reports whether the database is PostgreSQL. Otherwise it is SQLite.
func (p Place) Postgres() bool { return p.postgres }

// named returns the SQL of the name of one of the outbox's own tables, or of its function.
func (p Place) named(name string) string {
	if p.schema == "" {
		return name
	}
	return ident(p.schema) + "." + name
}

// Seen returns an SQL expression for the epoch of the database and the snapshot of the statement
// that contains it, in the form that [fieldcache/cache.ParseSnapshot] reads.
func (p Place) Seen() string {
	if p.postgres {
		return p.inEpoch("pg_current_snapshot()::text")
	}
	// The counter, not the greatest id, which falls when the newest row is pruned.
	return "(SELECT '" + sqliteEpoch + "' || printf('/%d:%d:', n, n) " +
		"FROM (SELECT coalesce(max(seq), 0) + 1 AS n FROM sqlite_sequence WHERE name = 'cache_outbox'))"
}

// inEpoch puts the epoch before a number. As a subquery it is evaluated once for a statement,
// however many rows it has.
func (p Place) inEpoch(number string) string {
	return "(SELECT " + p.epoch() + " || '/' || " + number + ")"
}

// Xid returns an SQL expression for the epoch of the database and the number of the transaction that
// evaluates it, in the form that [Number] scans. On PostgreSQL it may be used anywhere, for example
// in RETURNING. On SQLite it must be in a statement of its own after the last write of the
// transaction, since triggers run after RETURNING; it is 0 if nothing was ever recorded.
func (p Place) Xid() string {
	if p.postgres {
		return p.inEpoch("pg_current_xact_id()::text")
	}
	return "(SELECT '" + sqliteEpoch + "/' || coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'cache_outbox')"
}

// Number is the number of a transaction, as [Place.Xid] returns it.
type Number struct {
	Epoch cache.Epoch
	Xid   uint64 // 0 if unknown
}

// Scan implements [sql.Scanner].
func (n *Number) Scan(value any) error {
	var text string
	switch v := value.(type) {
	case string:
		text = v
	case []byte:
		text = string(v)
	}
	epoch, number, ok := strings.Cut(text, "/")
	xid, err := strconv.ParseUint(number, 10, 64)
	if !ok || err != nil {
		return fmt.Errorf("outbox: %.60q is not a transaction's number", text)
	}
	*n = Number{cache.Epoch(epoch), xid}
	return nil
}

// sql returns the text of a statement that is written once for both databases. A word after a
// question mark is replaced by the database's own expression, and ?0 to ?9 by args: texts, numbers,
// booleans, or SQL.
func (p Place) sql(statement string, args ...any) string {
	words := []string{
		"?number", "id",
		"?now", "strftime('%Y-%m-%d %H:%M:%f+00:00', 'now')",
		"?age", "(julianday('now') - julianday(o.created_at)) * 86400",
		"?lock", "", "?skip", "",
		"?next", "9223372036854775807",
		"?standby", "false", "?ahead", "false", "?epoch", "'" + sqliteEpoch + "'",
		"?size", "length(o.rows)", "?all", "json_group_array(json(CASE WHEN json_valid(o.rows) THEN o.rows ELSE 'null' END))",
	}
	if p.postgres {
		words = []string{
			"?number", "xid",
			"?now", "clock_timestamp()",
			"?age", "extract(epoch FROM clock_timestamp() - o.created_at)::float8",
			"?lock", "FOR UPDATE", "?skip", "FOR UPDATE SKIP LOCKED",
			"?next", "pg_snapshot_xmax(pg_current_snapshot())",
			"?standby", "pg_is_in_recovery()", "?epoch", p.epoch(),
			// Only the last row of the index: for EXISTS with the condition PostgreSQL reads the whole table.
			"?ahead", "coalesce((SELECT xid FROM " + p.named("cache_outbox") + " ORDER BY xid DESC LIMIT 1) >= pg_snapshot_xmax(pg_current_snapshot()), false)",
			// A compressed value is about 8 times as long as text.
			"?size", "(pg_column_size(o.rows) * CASE WHEN pg_column_size(o.rows) > 1900 THEN 8 ELSE 1 END)", "?all", "json_agg(o.rows)::text",
		}
	}
	words = append(words, "?outbox", p.named("cache_outbox"), "?horizon", p.named("cache_horizon"), "?tables", p.named("cache_tables"), "?seen", p.Seen())
	for i, a := range args {
		words = append(words, "?"+strconv.Itoa(i), p.value(a))
	}
	return strings.NewReplacer(words...).Replace(statement)
}

// raw is SQL in place of a value.
type raw string

// value returns the SQL of a value.
func (p Place) value(v any) string {
	switch v := v.(type) {
	case raw:
		return string(v)
	case bool, int, float64, uint64:
		return fmt.Sprint(v)
	case Op:
		return p.literal(string(v))
	case cache.Epoch:
		return p.literal(string(v))
	}
	return p.literal(v.(string))
}

// literal returns a text as an SQL literal, whatever standard_conforming_strings is.
func (p Place) literal(text string) string {
	if p.postgres && strings.Contains(text, `\`) {
		return " E" + literal(strings.ReplaceAll(text, `\`, `\\`))
	}
	return literal(text)
}

// among returns the condition, after ?number, that a transaction is one of xids. PostgreSQL takes them
// as one array, so that pg_stat_statements counts one statement, whatever their number.
func (p Place) among(xids ...uint64) raw {
	var list strings.Builder
	for i, x := range xids {
		if i > 0 {
			list.WriteByte(',')
		}
		list.WriteString(strconv.FormatUint(x, 10))
	}
	if p.postgres {
		return raw("= ANY ('{" + list.String() + "}'::xid8[])")
	}
	return raw("IN (" + list.String() + ")")
}
