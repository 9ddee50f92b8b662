package outbox

import (
	"fmt"
	"strings"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"
)

// Seen is the SQL expression of the snapshot that the statement around it reads in, in the form that
// [fieldcache/cache.ParseSnapshot] reads.
func Seen(db bun.IDB) bun.Safe {
	if isPostgres(db) {
		return "pg_current_snapshot()::text"
	}
	// The counter, and not the greatest id that is there, which falls when the newest row is pruned.
	return "(SELECT printf('%d:%d:', n, n) FROM (SELECT coalesce(max(seq), 0) + 1 AS n FROM sqlite_sequence WHERE name = 'cache_outbox'))"
}

// Xid is the SQL expression of the number of the transaction that it is evaluated in. On PostgreSQL it may stand
// anywhere, as in RETURNING. On SQLite it belongs into a statement of its own after the transaction's last
// write, since triggers run after RETURNING; there it is 0 if nothing was ever noted.
func Xid(db bun.IDB) bun.Safe {
	if isPostgres(db) {
		return "pg_current_xact_id()::text"
	}
	return "(SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'cache_outbox')"
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
		"?size", "length(o.rows)", "?all", "json_group_array(json(o.rows))",
	}
	if isPostgres(in) {
		words = []string{
			"?number", "xid",
			"?now", "clock_timestamp()",
			"?age", "extract(epoch FROM clock_timestamp() - o.created_at)::float8",
			"?lock", "FOR UPDATE", "?skip", "FOR UPDATE SKIP LOCKED",
			"?next", "pg_snapshot_xmax(pg_current_snapshot())",
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
