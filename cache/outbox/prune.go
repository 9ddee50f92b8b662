package outbox

import (
	"context"
	"fmt"
	"strings"
	"time"

	"fieldcache/cache"
)

// prunedAtOnce limits the rows that one transaction prunes.
const prunedAtOnce = 10_000

// owed is the kind of a row that replaces pruned rows whose evictions were never executed. It evicts
// their table from the shared tier, or every table if they were evictions by hand.
const owed Op = "OWED"

// prunable selects the first rows by number, up to the first one that is too young, so that it does
// not read the rest of the table. A row of the kind owed stays until it is done, a bar
// until it is lifted.
const prunable = "head AS MATERIALIZED (SELECT o.?number, o.id, ?age >= ?0 AS old FROM ?outbox AS o " +
	"WHERE o.op <> 'BAR' AND NOT (?1 AND o.done_at IS NULL AND o.op = ?2) ORDER BY o.?number, o.id LIMIT ?3), " +
	"old AS MATERIALIZED (SELECT o.?number, o.id FROM head AS o WHERE o.?number < coalesce(" +
	"(SELECT o.?number FROM head AS o WHERE NOT o.old ORDER BY o.?number LIMIT 1), ?next))"

// owe records which tables must be evicted for pruned rows, unless that is recorded already.
const owe = "INSERT INTO ?outbox (tbl, op, created_at) SELECT o.tbl, ?2, min(o.created_at) FROM ?gone AS o " +
	"WHERE ?1 AND o.done_at IS NULL AND o.tbl NOT IN (SELECT u.tbl FROM ?outbox AS u WHERE u.done_at IS NULL AND u.op = ?2) " +
	"GROUP BY o.tbl"

// gone is what one transaction pruned.
type gone struct {
	Rows int
	Xid  *uint64 // the newest; nil if there is none
	Seen string
}

// Prune implements [cache.Outbox]. If two gateways prune at the same time, one waits for the other.
func (o *Outbox) Prune(ctx context.Context, keep time.Duration, onlyDone bool) (more bool, err error) {
	err = o.at.inTx(ctx, o.db, func(ctx context.Context, tx Querier) error {
		err := run(ctx, tx, o.at.sql("INSERT INTO ?horizon (one, snapshot) VALUES (true, ?0) ON CONFLICT (one) DO NOTHING", cache.Snapshot{}.String()))
		if err != nil {
			return err
		}
		before, err := one[string](ctx, tx, o.at.sql("SELECT o.snapshot FROM ?horizon AS o ?lock"))
		if err != nil {
			return err
		}
		horizon, err := cache.ParseSnapshot(before)
		if err != nil {
			return err
		}
		if err := o.byIndex(ctx, tx); err != nil {
			return err
		}
		gone, err := o.remove(ctx, tx, keep.Seconds(), onlyDone, owed, prunedAtOnce)
		if err != nil || gone.Xid == nil {
			return err
		}
		during, err := cache.ParseSnapshot(gone.Seen)
		if err != nil {
			return err
		}
		more = gone.Rows == prunedAtOnce
		return run(ctx, tx, o.at.sql("UPDATE ?horizon SET snapshot = ?0", horizon.Union(during.UpTo(*gone.Xid)).String()))
	})
	if err != nil {
		return false, fmt.Errorf("outbox: prune: %w", err)
	}
	return more, nil
}

// remove deletes the first old rows. On PostgreSQL it is one statement, which sees the same rows
// throughout: a transaction that commits meanwhile is neither pruned nor on the horizon.
func (o *Outbox) remove(ctx context.Context, tx Querier, args ...any) (g gone, err error) {
	const newest = "SELECT count(*) AS rows, ?seen AS seen, (SELECT CAST(o.?number AS text) FROM ?gone AS o ORDER BY o.?number DESC LIMIT 1) AS xid FROM ?gone"
	read := func(statement string) error {
		list, err := query(ctx, tx, o.at.sql(statement, args...), func(g *gone) []any { return []any{&g.Rows, &g.Seen, &g.Xid} })
		if err == nil {
			g = list[0]
		}
		return err
	}
	if o.at.postgres {
		err = read("WITH " + prunable + ", " +
			"gone AS (DELETE FROM ?outbox AS o USING old AS p WHERE o.xid = p.xid AND o.id = p.id RETURNING o.*), " +
			"owed AS (" + strings.ReplaceAll(owe+") "+newest, "?gone", "gone"))
		return g, err
	}
	// SQLite has one writer at a time.
	const rows = "(SELECT * FROM ?outbox AS o WHERE o.id <= ?4 AND o.op <> 'BAR' AND NOT (?1 AND o.done_at IS NULL AND o.op = ?2))"
	err = read(strings.ReplaceAll("WITH "+prunable+" "+newest, "?gone", "old"))
	if err != nil || g.Xid == nil {
		return g, err
	}
	args = append(args, *g.Xid)
	if err = run(ctx, tx, o.at.sql(strings.ReplaceAll(owe, "?gone", rows), args...)); err == nil {
		err = run(ctx, tx, o.at.sql("DELETE FROM ?outbox WHERE id IN (SELECT id FROM "+rows+" AS o)", args...))
	}
	return g, err
}
