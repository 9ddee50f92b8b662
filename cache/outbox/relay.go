package outbox

import (
	"context"
	"fmt"
	"strings"
	"time"

	"fieldcache/cache"
)

// relayBytes limits, roughly, the length of the facts of one table in a piece: about a thousand
// changed rows. If there are more, the whole table is evicted instead.
const relayBytes = 128 << 10

// piece is the sum of the rows of one table and kind.
type piece struct {
	Tbl    string
	Op     Op
	Facts  *string
	Rows   int
	Writes int
	First  int64
}

func (p *piece) columns() []any { return []any{&p.Tbl, &p.Op, &p.Rows, &p.Writes, &p.First, &p.Facts} }

const pieceColumns = "o.tbl, o.op, count(*) AS rows, count(DISTINCT o.?number) AS writes, min(o.id) AS first, " +
	"CASE WHEN count(o.rows) < count(*) THEN NULL WHEN sum(?size) <= ?1 OR o.tbl = ?2 THEN ?all END AS facts"

// Relay implements [cache.Outbox]. The age of a write counts from the start of its transaction,
// since a database does not record when it committed. A long transaction may be relayed while its
// own gateway still evicts, which does no harm.
func (o *Outbox) Relay(ctx context.Context, p cache.Piece, evict func(context.Context, cache.Eviction) error) (relayed cache.Relayed, err error) {
	due := "FROM ?outbox AS o WHERE o.done_at IS NULL AND ?age >= ?0"
	if len(p.Except) > 0 {
		due += " AND o.id NOT IN (" + strings.Trim(strings.ReplaceAll(fmt.Sprint(p.Except), " ", ", "), "[]") + ")"
	}
	age, byTable := p.Age.Seconds(), p.ByTable
	if !o.at.postgres { // usually there are none; this saves a transaction, which would lock the database
		some, err := one[bool](ctx, o.db, o.at.sql("SELECT EXISTS (SELECT 1 "+due+")", age))
		if err != nil || !some {
			return relayed, wrap("look for writes to relay", err)
		}
	}
	due += " ORDER BY o.?number, o.id LIMIT ?3"
	err = o.at.inTx(ctx, o.db, func(ctx context.Context, tx Querier) error {
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
			case p.Tbl == byHandTable:
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
				changes = append(changes, Change{Table: p.Tbl, Op: Truncate}) // as if any row may have been deleted
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

// wrap adds what was attempted to err. It returns nil if err is nil.
func wrap(attempted string, err error) error {
	if err != nil {
		err = fmt.Errorf("outbox: %s: %w", attempted, err)
	}
	return err
}

// take marks the rows as done, and returns their facts.
func (o *Outbox) take(ctx context.Context, tx Querier, due string, age float64, limit int) (pieces []piece, err error) {
	if o.at.postgres {
		return query(ctx, tx, o.at.sql("WITH piece AS (SELECT o.xid, o.id "+due+" FOR UPDATE SKIP LOCKED), "+
			"o AS (UPDATE ?outbox AS o SET done_at = ?now FROM piece AS p WHERE o.xid = p.xid AND o.id = p.id RETURNING o.*) "+
			"SELECT "+pieceColumns+" FROM o GROUP BY o.tbl, o.op", age, relayBytes, byHandTable, limit), (*piece).columns)
	}
	// No other process writes meanwhile. Rows that become due between the two statements come after the others.
	pieces, err = query(ctx, tx, o.at.sql("SELECT "+pieceColumns+" FROM (SELECT o.* "+due+") AS o GROUP BY o.tbl, o.op", age, relayBytes, byHandTable, limit), (*piece).columns)
	if err != nil || len(pieces) == 0 {
		return nil, err
	}
	rows := 0
	for _, p := range pieces {
		rows += p.Rows
	}
	return pieces, run(ctx, tx, o.at.sql("UPDATE ?outbox SET done_at = ?now WHERE id IN (SELECT o.id "+due+")", age, relayBytes, byHandTable, rows))
}

// Backlog implements [cache.Outbox].
func (o *Outbox) Backlog(ctx context.Context) (b cache.Backlog, err error) {
	type counted struct {
		rows int
		age  *float64
	}
	var list []counted
	err = o.inOrder(ctx, func(ctx context.Context, in Querier) error {
		list, err = query(ctx, in, o.at.sql("SELECT (SELECT count(*) FROM (SELECT 1 FROM ?outbox WHERE done_at IS NULL LIMIT ?0) AS b) AS rows, "+
			"(SELECT ?age FROM ?outbox AS o WHERE o.done_at IS NULL ORDER BY o.?number, o.id LIMIT 1) AS age", cache.MaxBacklog),
			func(c *counted) []any { return []any{&c.rows, &c.age} })
		return err
	})
	if err != nil {
		return b, wrap("count the backlog", err)
	}
	b.Rows = list[0].rows
	if age := list[0].age; age != nil {
		b.Oldest = max(0, time.Duration(*age*float64(time.Second)))
	}
	return b, nil
}
