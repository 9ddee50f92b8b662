package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"fieldcache/cache"
)

// relayed bounds the rows that one relay takes.
const relayed = 300

// Poll implements [cache.Outbox].
//
// What is new is told by snapshots. The ids of rows are no cursor: a transaction may get a lower one and commit
// after another, whose row was read already.
func (o *Outbox) Poll(ctx context.Context, since cache.Snapshot) (news cache.News, err error) {
	isNew := "o.id >= ?0"
	var arg any = since.Xmax
	if isPostgres(o.db) {
		if since.IsZero() {
			since = cache.SnapshotAfter(0) // which PostgreSQL takes for a snapshot
		}
		// The first condition is what the index is for.
		isNew, arg = "o.xid >= pg_snapshot_xmin(?0::pg_snapshot) AND NOT pg_visible_in_snapshot(o.xid, ?0::pg_snapshot)", since.String()
	}
	var rows []polled
	err = o.raw(o.db, "SELECT s.seen, s.horizon, "+recordColumns+", ?age AS age, o.done_at IS NOT NULL AS done "+
		"FROM (SELECT ?seen AS seen, (SELECT snapshot FROM cache_horizon) AS horizon) AS s "+
		"LEFT JOIN cache_outbox AS o ON "+isNew+" ORDER BY o.id", arg).Scan(ctx, &rows)
	if err != nil {
		return news, fmt.Errorf("outbox: poll: %w", err)
	}
	if news.Snapshot, err = cache.ParseSnapshot(rows[0].Seen); err != nil {
		return news, fmt.Errorf("outbox: poll: %w", err)
	}
	if h := rows[0].Horizon; h != nil {
		if news.Horizon, err = cache.ParseSnapshot(*h); err != nil {
			return news, fmt.Errorf("outbox: poll: the horizon: %w", err)
		}
	}
	if rows[0].ID == 0 {
		return news, nil // the one row that says that there is nothing
	}
	for _, group := range byTransaction(rows, func(r polled) uint64 { return r.Xid }) {
		news.Writes = append(news.Writes, o.pending(group))
	}
	return news, nil
}

// polled is a row of a poll.
type polled struct {
	Seen    string
	Horizon *string // nil: nothing was ever pruned
	record  `bun:",extend"`
	Age     float64 // seconds
	Done    bool
}

func (o *Outbox) pending(group []polled) cache.Pending {
	p := cache.Pending{Age: time.Duration(group[0].Age * float64(time.Second)), Done: true}
	records := make([]record, len(group))
	for i, r := range group {
		records[i] = r.record
		p.Done = p.Done && r.Done
	}
	p.Write = o.write(records)
	return p
}

// Relay implements [cache.Outbox]. The age is that of the transaction's beginning, since a database does not
// keep when one committed: a long one may be relayed while its own gateway still evicts, which does no harm.
func (o *Outbox) Relay(ctx context.Context, age time.Duration, evict func(context.Context, []cache.Write) error) (n int, more bool, err error) {
	const due = "FROM cache_outbox AS o WHERE o.done_at IS NULL AND ?age >= ?0"
	var some bool // as a rule there are none: no transaction then
	if err := o.raw(o.db, "SELECT EXISTS (SELECT 1 "+due+")", age.Seconds()).Scan(ctx, &some); err != nil {
		return 0, false, fmt.Errorf("outbox: look for writes to relay: %w", err)
	}
	if !some {
		return 0, false, nil
	}
	err = o.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		var records []record
		err := o.raw(tx, "SELECT "+recordColumns+" "+due+" ORDER BY ?number, id LIMIT ?1 ?skip", age.Seconds(), relayed).Scan(ctx, &records)
		if err != nil || len(records) == 0 {
			return err
		}
		var writes []cache.Write
		var xids []uint64
		for _, group := range byTransaction(records, func(r record) uint64 { return r.Xid }) {
			writes = append(writes, o.write(group))
			xids = append(xids, group[0].Xid)
		}
		if err := evict(ctx, writes); err != nil {
			return err
		}
		ids := make([]int64, len(records))
		for i, r := range records {
			ids[i] = r.ID
		}
		n, more = len(writes), len(records) == relayed
		_, err = o.raw(tx, "UPDATE cache_outbox SET done_at = ?now WHERE ?number IN (?0) AND id IN (?1)",
			o.numbers(xids), bun.List(ids)).Exec(ctx)
		return err
	})
	if err != nil {
		return 0, false, fmt.Errorf("outbox: relay: %w", err)
	}
	return n, more, nil
}
