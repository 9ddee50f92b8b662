package outbox

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"fieldcache/cache"
)

// Limits of one page of a poll. With them a page takes far less than a second, and a few megabytes
// of memory.
const (
	rowsByTransaction = 1000
	rowsByName        = 5000
	rowsByTable       = 20_000
	// factsBytes limits, roughly, the length of the facts of a page's rows. Beyond it only the table is returned.
	factsBytes = 1 << 20
	// byHandTold is how many evictions by hand a page returns if it does not return every row.
	byHandTold = 100
)

// Poll implements [cache.Outbox].
//
// Snapshots tell what is new. The ids of rows are no cursor: a transaction may get a lower id and
// commit after another one whose row was already read. Only within one poll, whose pages read in
// one snapshot, does a page begin after the last row of the page before.
func (o *Outbox) Poll(ctx context.Context, p cache.Page) (news cache.News, err error) {
	news, err = o.poll(ctx, p)
	if errors.Is(err, errAhead) {
		if err = o.mend(ctx); err == nil {
			news, err = o.poll(ctx, p)
		}
	}
	if errors.Is(err, errAnother) {
		news, err = o.poll(ctx, cache.Page{})
	}
	if err != nil {
		return cache.News{}, fmt.Errorf("outbox: poll: %w", err)
	}
	return news, nil
}

// Errors that poll handles itself.
var (
	errAnother = errors.New("the database is not the one that was polled before")
	errAhead   = errors.New("the outbox has numbers that the database has not assigned yet")
)

func (o *Outbox) poll(ctx context.Context, p cache.Page) (cache.News, error) {
	switch {
	case p.Since.IsZero() && p.Until.IsZero():
		return o.position(ctx)
	case p.Detail == cache.ByTransaction:
		return o.pollTransactions(ctx, p)
	}
	return o.pollSum(ctx, p)
}

// head is the part that every page of a poll has.
type head struct {
	Seen    string
	Horizon *string // nil: nothing was ever pruned
	Standby bool
	Ahead   bool // whether there are records with numbers that were not assigned yet
}

// columns are the destinations of headColumns.
func (h *head) columns() []any { return []any{&h.Seen, &h.Horizon, &h.Standby, &h.Ahead} }

const headColumns = "?seen AS seen, (SELECT snapshot FROM ?horizon) AS horizon, ?standby AS standby, ?ahead AS ahead"

// news returns the page's news without its rows.
func (h head) news(p cache.Page) (news cache.News, err error) {
	if h.Standby {
		return news, cache.ErrStandby
	}
	now, err := cache.ParseSnapshot(h.Seen)
	if err != nil {
		return news, err
	}
	for _, requested := range []cache.Snapshot{p.Since, p.Until} {
		if requested.Epoch != "" && requested.Epoch != now.Epoch {
			return news, errAnother
		}
	}
	if news.Snapshot = p.Until; news.Snapshot.IsZero() {
		news.Snapshot = now
	}
	if h.Horizon != nil {
		if news.Horizon, err = cache.ParseSnapshot(*h.Horizon); err != nil {
			return news, fmt.Errorf("the horizon: %w", err)
		}
		news.Horizon.Epoch = now.Epoch
	}
	if h.Ahead || news.Horizon.Xmax > now.Xmax {
		return news, errAhead
	}
	return news, nil
}

// position returns the current position of the outbox, for a gateway that has read nothing yet.
func (o *Outbox) position(ctx context.Context) (news cache.News, err error) {
	rows, err := query(ctx, o.db, o.at.sql("SELECT "+headColumns), (*head).columns)
	if err != nil {
		return news, err
	}
	if news, err = rows[0].news(cache.Page{}); err != nil {
		return news, err
	}
	news.More = &cache.Page{Until: news.Snapshot, Detail: cache.ByName}
	return news, nil
}

// rowsOf returns the SQL of the page's rows, at most limit, in order: the rows of transactions that
// were in flight in the previous snapshot, and of later ones. These are two conditions. With a
// single one, every poll during a long transaction would read again everything after its start.
func (o *Outbox) rowsOf(p cache.Page, limit int) string {
	const columns = "o.?number, o.id, o.tbl, o.op, o.rows, o.created_at, o.done_at"
	order := fmt.Sprintf(" ORDER BY o.?number, o.id LIMIT %d", limit)
	if !o.at.postgres {
		until := ""
		if !p.Until.IsZero() {
			until = fmt.Sprintf(" AND o.id < %d", p.Until.Xmax)
		}
		return fmt.Sprintf("SELECT "+columns+" FROM ?outbox AS o WHERE o.op NOT IN ('OWED', 'BAR') AND o.id >= %d AND o.id > %d%s", p.Since.Xmax, p.After.ID, until) + order
	}
	// The upper bound helps the planner: without statistics it assumes that a range is small and uses
	// the index.
	until := " AND o.xid < ?next"
	if !p.Until.IsZero() {
		until = fmt.Sprintf(" AND o.xid < '%d'::xid8", p.Until.Xmax)
		if len(p.Until.Xip) > 0 {
			until += " AND pg_visible_in_snapshot(o.xid, '" + p.Until.String() + "')"
		}
	}
	var underWay []string
	for _, x := range p.Since.Xip {
		if x >= p.After.Xid && (p.Until.IsZero() || p.Until.Sees(x)) {
			underWay = append(underWay, strconv.FormatUint(x, 10))
		}
	}
	// One of the two bounds implies the other. With both, PostgreSQL 15 starts reading the index at
	// the lower one.
	from := fmt.Sprintf("(o.xid, o.id) > ('%d'::xid8, %d)", p.After.Xid, p.After.ID)
	if p.After.Xid < p.Since.Xmax {
		from = fmt.Sprintf("o.xid >= '%d'::xid8", p.Since.Xmax)
	}
	later := "SELECT " + columns + " FROM ?outbox AS o WHERE o.op NOT IN ('OWED', 'BAR') AND " + from + until + order
	if len(underWay) == 0 {
		return later
	}
	return fmt.Sprintf("SELECT * FROM (SELECT o.* FROM (SELECT x FROM unnest('{%s}'::xid8[]) AS u (x) WHERE pg_visible_in_snapshot(x, pg_current_snapshot()) OFFSET 0) AS u CROSS JOIN LATERAL ("+
		"SELECT "+columns+" FROM ?outbox AS o WHERE o.op NOT IN ('OWED', 'BAR') AND o.xid = u.x AND (o.xid, o.id) > ('%d'::xid8, %d)"+order+") AS o "+
		"UNION ALL (%s)) AS o",
		strings.Join(underWay, ","), p.After.Xid, p.After.ID, later) + order
}

// polled is a row of a page by transaction.
type polled struct {
	head
	record
	Age  float64 // seconds
	Done bool
}

func (p *polled) columns() []any {
	return append(p.head.columns(), orZero(&p.Xid), orZero(&p.ID), orZero(&p.Tbl), orZero(&p.Op), orZero(&p.Age), &p.Done, &p.Facts)
}

// byTransaction returns the statement that reads a page by transaction.
func (o *Outbox) byTransaction(p cache.Page) string {
	return o.at.sql("WITH page AS MATERIALIZED ("+o.rowsOf(p, rowsByTransaction)+") "+
		"SELECT s.*, CAST(o.?number AS text) AS xid, o.id, o.tbl, o.op, ?age AS age, o.done_at IS NOT NULL AS done, "+
		"CASE WHEN o.told <= ?0 OR o.tbl = ?1 AND o.told <= 16 * ?0 THEN CAST(o.rows AS text) END AS facts "+
		"FROM (SELECT "+headColumns+") AS s LEFT JOIN "+
		"(SELECT o.*, sum(?size) OVER (ORDER BY o.?number, o.id) AS told FROM page AS o) AS o ON true ORDER BY o.?number, o.id",
		factsBytes, byHandTable)
}

func (o *Outbox) pollTransactions(ctx context.Context, p cache.Page) (news cache.News, err error) {
	rows, err := query(ctx, o.db, o.byTransaction(p), (*polled).columns)
	if err != nil {
		return news, err
	}
	if news, err = rows[0].news(p); err != nil || rows[0].ID == 0 {
		return news, err // a single row without an ID means that the page is empty
	}
	for _, group := range byTransaction(rows, func(r polled) uint64 { return r.Xid }) {
		w, unreadable := o.pending(group)
		news.Writes, news.Unreadable = append(news.Writes, w), news.Unreadable+unreadable
	}
	if len(rows) == rowsByTransaction {
		last := rows[len(rows)-1].record
		news.More = &cache.Page{Since: p.Since, Until: news.Snapshot, After: cache.Position{Xid: last.Xid, ID: last.ID}, Detail: cache.ByName}
	}
	return news, nil
}

func (o *Outbox) pending(group []polled) (p cache.Pending, unreadable int) {
	p = cache.Pending{Age: time.Duration(group[0].Age * float64(time.Second)), Done: true}
	records := make([]record, len(group))
	for i, r := range group {
		records[i] = r.record
		p.Done = p.Done && r.Done
	}
	p.Write, p.Everything, unreadable = o.write(records)
	return p, unreadable
}

// summed is the sum of the rows of one table and kind.
type summed struct {
	head
	Tbl    *string // nil: the page is empty
	Op     Op
	Facts  *string // JSON: a list of what [record.Facts] holds
	Undone bool
	// Of the page: its number of rows and its last one.
	Rows int
	Last string
}

func (s *summed) columns() []any {
	return append(s.head.columns(), &s.Tbl, orZero(&s.Op), &s.Facts, orZero(&s.Undone), &s.Rows, orZero(&s.Last))
}

func (o *Outbox) pollSum(ctx context.Context, p cache.Page) (news cache.News, err error) {
	limit, factsLimit := rowsByName, factsBytes
	if p.Detail == cache.ByTable {
		limit, factsLimit = rowsByTable, 0
	}
	var rows []summed
	err = o.inOrder(ctx, func(ctx context.Context, in Querier) error {
		rows, err = query(ctx, in, o.at.sql("WITH page AS MATERIALIZED ("+o.rowsOf(p, limit)+") "+
			"SELECT s.*, o.tbl, o.op, o.facts, o.undone, (SELECT count(*) FROM page) AS rows, "+
			"(SELECT CAST(o.?number AS text) || ' ' || o.id FROM page AS o ORDER BY o.?number DESC, o.id DESC LIMIT 1) AS last "+
			"FROM (SELECT "+headColumns+") AS s LEFT JOIN "+
			"(SELECT o.tbl, o.op, sum(CASE WHEN o.done_at IS NULL THEN 1 ELSE 0 END) > 0 AS undone, "+
			"CASE WHEN count(o.rows) < count(*) THEN NULL WHEN sum(?size) <= ?0 OR o.tbl = ?1 AND count(*) <= ?2 THEN ?all END AS facts "+
			"FROM page AS o GROUP BY o.tbl, o.op) AS o ON true",
			factsLimit, byHandTable, byHandTold), (*summed).columns)
		return err
	})
	if err != nil {
		return news, err
	}
	if news, err = rows[0].news(p); err != nil || rows[0].Tbl == nil {
		return news, err
	}
	var last cache.Position
	if _, err := fmt.Sscan(rows[0].Last, &last.Xid, &last.ID); err != nil {
		return news, fmt.Errorf("the last row: %w", err)
	}
	news.Sum.Seen = news.Snapshot.UpTo(last.Xid)
	var changes []Change
	for _, r := range rows {
		news.Sum.Undone = news.Sum.Undone || r.Undone
		if *r.Tbl != byHandTable {
			c, unreadable := change(*r.Tbl, r.Op, r.Facts)
			changes, news.Unreadable = append(changes, c), news.Unreadable+unreadable
			continue
		}
		ev, unreadable := byHand(r.Facts)
		news.Sum.Everything = news.Sum.Everything || r.Facts == nil || unreadable > 0
		news.Unreadable += unreadable
		news.Sum.Add(ev)
	}
	news.Sum.Add(o.evictions(changes...))
	if rows[0].Rows == limit {
		if p.After = last; !p.Since.IsZero() { // the backlog exceeds a page by name
			p.Detail = cache.ByTable
		}
		p.Until = news.Snapshot
		news.More = &p
	}
	return news, nil
}

// inOrder runs a statement that reads a page of a large table through its index.
func (o *Outbox) inOrder(ctx context.Context, do func(context.Context, Querier) error) error {
	if !o.at.postgres {
		return do(ctx, o.db)
	}
	return o.at.inTx(ctx, o.db, func(ctx context.Context, tx Querier) error {
		if err := o.byIndex(ctx, tx); err != nil {
			return err
		}
		return do(ctx, tx)
	})
}

// byIndex makes the statements of a transaction use the index. Without fresh statistics PostgreSQL
// would rather read and sort all rows, or spend a second on compiling the statement.
func (o *Outbox) byIndex(ctx context.Context, tx Querier) error {
	if !o.at.postgres {
		return nil
	}
	return run(ctx, tx, "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true), "+
		"set_config('enable_sort', 'off', true), set_config('jit', 'off', true)")
}
