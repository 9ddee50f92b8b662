package outbox

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"fieldcache/cache"
)

// relayBytes bounds what the rows of a piece that touched one table say of what was touched, about: as much as
// about a thousand rows that changed. Of more the table is evicted instead.
const relayBytes = 128 << 10

// piece is what the rows of one table and kind say together.
type piece struct {
	Tbl    string
	Op     Op
	Facts  *string
	Rows   int
	Writes int
	First  int64
}

const pieceColumns = "o.tbl, o.op, count(*) AS rows, count(DISTINCT o.?number) AS writes, min(o.id) AS first, " +
	"CASE WHEN count(o.rows) < count(*) THEN NULL WHEN sum(?size) <= ?1 OR o.tbl = ?2 THEN ?all END AS facts"

// Relay implements [cache.Outbox]. The age is that of the transaction's beginning, since a database does not
// keep when one committed: a long one may be relayed while its own gateway still evicts, which does no harm.
func (o *Outbox) Relay(ctx context.Context, p cache.Piece, evict func(context.Context, cache.Eviction) error) (relayed cache.Relayed, err error) {
	due := "FROM cache_outbox AS o WHERE o.done_at IS NULL AND ?age >= ?0"
	if len(p.Except) > 0 {
		due += " AND o.id NOT IN (" + strings.Trim(strings.ReplaceAll(fmt.Sprint(p.Except), " ", ", "), "[]") + ")"
	}
	age, byTable := p.Age.Seconds(), p.ByTable
	if !isPostgres(o.db) { // as a rule there are none: no transaction then, which would lock the database
		var some bool
		if err := o.raw(o.db, "SELECT EXISTS (SELECT 1 "+due+")", age).Scan(ctx, &some); err != nil || !some {
			return relayed, wrap("look for writes to relay", err)
		}
	}
	due += " ORDER BY o.?number, o.id LIMIT ?3"
	err = o.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		if err := o.byIndex(ctx, tx); err != nil {
			return err
		}
		pieces, err := o.take(ctx, tx, due, age, p.Rows)
		if err != nil || len(pieces) == 0 {
			return err
		}
		var ev cache.Eviction
		var changes []Change
		relayed.First = pieces[0].First
		for _, p := range pieces {
			relayed.Rows += p.Rows
			relayed.Writes += p.Writes
			relayed.First = min(relayed.First, p.First)
			switch {
			case p.Tbl == handmade:
				named, unreadable := byHand(p.Facts)
				ev.Add(named)
				if p.Facts == nil || unreadable > 0 {
					every, err := o.everyTable(ctx, tx)
					if err != nil {
						return err
					}
					changes = append(changes, every...)
				}
			case byTable || p.Op == owed:
				changes = append(changes, Change{Table: p.Tbl, Op: Truncate}) // as if any row may be gone
			default:
				c, _ := change(p.Tbl, p.Op, p.Facts)
				changes = append(changes, c)
			}
		}
		ev.Add(o.evictions(changes...))
		if ev.Empty() {
			return nil
		}
		return evict(ctx, ev)
	})
	return relayed, wrap("relay", err)
}

// wrap is an error that says what was attempted; nil if err is.
func wrap(attempted string, err error) error {
	if err != nil {
		err = fmt.Errorf("outbox: %s: %w", attempted, err)
	}
	return err
}

// take marks the rows as done, and returns what they say.
func (o *Outbox) take(ctx context.Context, tx bun.Tx, due string, age float64, limit int) (pieces []piece, err error) {
	if isPostgres(o.db) {
		err = o.raw(tx, "WITH piece AS (SELECT o.xid, o.id "+due+" FOR UPDATE SKIP LOCKED), "+
			"o AS (UPDATE cache_outbox AS o SET done_at = ?now FROM piece AS p WHERE o.xid = p.xid AND o.id = p.id RETURNING o.*) "+
			"SELECT "+pieceColumns+" FROM o GROUP BY o.tbl, o.op", age, relayBytes, handmade, limit).Scan(ctx, &pieces)
		return pieces, err
	}
	// Nobody else writes meanwhile. Rows that get due between the two statements come behind the others.
	err = o.raw(tx, "SELECT "+pieceColumns+" FROM (SELECT o.* "+due+") AS o GROUP BY o.tbl, o.op", age, relayBytes, handmade, limit).Scan(ctx, &pieces)
	if err != nil || len(pieces) == 0 {
		return nil, err
	}
	rows := 0
	for _, p := range pieces {
		rows += p.Rows
	}
	_, err = o.raw(tx, "UPDATE cache_outbox SET done_at = ?now WHERE id IN (SELECT o.id "+due+")", age, relayBytes, handmade, rows).Exec(ctx)
	return pieces, err
}

// Backlog implements [cache.Outbox].
func (o *Outbox) Backlog(ctx context.Context) (b cache.Backlog, err error) {
	var row struct {
		Rows int
		Age  *float64
	}
	err = o.inOrder(ctx, func(ctx context.Context, in bun.IDB) error {
		return o.raw(in, "SELECT (SELECT count(*) FROM (SELECT 1 FROM cache_outbox WHERE done_at IS NULL LIMIT ?0) AS b) AS rows, "+
			"(SELECT ?age FROM cache_outbox AS o WHERE o.done_at IS NULL ORDER BY o.?number, o.id LIMIT 1) AS age", cache.MaxBacklog).Scan(ctx, &row)
	})
	if err != nil {
		return b, wrap("count the backlog", err)
	}
	b.Rows = row.Rows
	if row.Age != nil {
		b.Oldest = max(0, time.Duration(*row.Age*float64(time.Second)))
	}
	return b, nil
}
