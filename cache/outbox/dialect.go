package outbox

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"

	"fieldcache/cache"
)

// Seen is the SQL expression of the snapshot that the statement around it reads in, and of the database's epoch
// as the server that runs it knows it, in the form that [fieldcache/cache.ParseSnapshot] reads.
func Seen(db bun.IDB) bun.Safe {
	if isPostgres(db) {
		return inEpoch("pg_current_snapshot()::text")
	}
	// The counter, and not the greatest id that is there, which falls when the newest row is pruned.
	return bun.Safe("(SELECT '" + sqliteEpoch + "' || printf('/%d:%d:', n, n) " +
		"FROM (SELECT coalesce(max(seq), 0) + 1 AS n FROM sqlite_sequence WHERE name = 'cache_outbox'))")
}

// inEpoch puts the epoch in front of a number. As a subquery it is evaluated once for a statement, however
// many rows it has.
func inEpoch(number string) bun.Safe {
	return bun.Safe("(SELECT " + postgresEpoch + " || '/' || " + number + ")")
}

// Xid is the SQL expression of the number of the transaction that it is evaluated in, and of the database's
// epoch, in the form that [Number] scans. On PostgreSQL it may stand anywhere, as in RETURNING. On SQLite it
// belongs into a statement of its own after the transaction's last write, since triggers run after RETURNING;
// there it is 0 if nothing was ever noted.
func Xid(db bun.IDB) bun.Safe {
	if isPostgres(db) {
		return inEpoch("pg_current_xact_id()::text")
	}
	return bun.Safe("(SELECT '" + sqliteEpoch + "/' || coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'cache_outbox')")
}

// Number is a transaction's number as [Xid] tells it.
type Number struct {
	Epoch cache.Epoch
	Xid   uint64 // 0 if it is not known
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

func isPostgres(db bun.IDB) bool { return db.Dialect().Name() == dialect.PG }

// raw is a statement written once for both databases: words behind a question mark stand for what they call
// differently.
func (o *Outbox) raw(in bun.IDB, statement string, args ...any) *bun.RawQuery {
	words := []string{
		"?number", "id",
		"?now", "strftime('%Y-%m-%d %H:%M:%f+00:00', 'now')",
		"?age", "(julianday('now') - julianday(o.created_at)) * 86400",
		"?lock", "", "?skip", "",
		"?next", "9223372036854775807",
		"?standby", "false", "?ahead", "false", "?epoch", "'" + sqliteEpoch + "'",
		"?size", "length(o.rows)", "?all", "json_group_array(json(CASE WHEN json_valid(o.rows) THEN o.rows ELSE 'null' END))",
	}
	if isPostgres(in) {
		words = []string{
			"?number", "xid",
			"?now", "clock_timestamp()",
			"?age", "extract(epoch FROM clock_timestamp() - o.created_at)::float8",
			"?lock", "FOR UPDATE", "?skip", "FOR UPDATE SKIP LOCKED",
			"?next", "pg_snapshot_xmax(pg_current_snapshot())",
			"?standby", "pg_is_in_recovery()", "?epoch", postgresEpoch,
			"?ahead", "EXISTS (SELECT FROM cache_outbox WHERE xid >= pg_snapshot_xmax(pg_current_snapshot()))",
			// About 8 times as long as text where it is compressed.
			"?size", "(pg_column_size(o.rows) * CASE WHEN pg_column_size(o.rows) > 1900 THEN 8 ELSE 1 END)", "?all", "json_agg(o.rows)::text",
		}
	}
	words = append(words, "?seen", string(Seen(in)))
	return in.NewRaw(strings.NewReplacer(words...).Replace(statement), args...)
}

// numbers is a list of transactions' numbers, to be compared with ?number.
func (o *Outbox) numbers(xids []uint64) bun.Safe {
	var list strings.Builder
	for i, x := range xids {
		if i > 0 {
			list.WriteString(", ")
		}
		if isPostgres(o.db) {
			fmt.Fprintf(&list, "'%d'::xid8", x)
		} else {
			fmt.Fprintf(&list, "%d", x)
		}
	}
	return bun.Safe(list.String())
}
