package outbox

import (
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

// Xid is the SQL expression of the number of the transaction that it is evaluated in. On SQLite that
// is the id of the newest row of the outbox, so it belongs into RETURNING of the transaction's last write.
func Xid(db bun.IDB) bun.Safe {
	if isPostgres(db) {
		return "pg_current_xact_id()::text"
	}
	// The counter is written back at the end of a statement; the triggers' rows are there before. The other
	// way round, the counter remembers what was pruned.
	return "max(coalesce((SELECT max(id) FROM cache_outbox), 0), coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'cache_outbox'), 0))"
}

func isPostgres(db bun.IDB) bool { return db.Dialect().Name() == dialect.PG }
