package cache_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"fieldcache/cache"
)

var errDatabaseDown = errors.New("the database is down")

// database is a database for tests. It has rows, transactions that commit in any order, snapshots
// like those of PostgreSQL, and the outbox. It keeps its history, so that results can be checked. A
// statement takes effect at one moment, in the middle of its duration.
type database struct {
	mu       sync.Mutex
	random   *rand.Rand
	epoch    cache.Epoch
	next     uint64
	newest   uint64 // the greatest xid of a transaction that ended
	underWay map[uint64]time.Time
	history  map[cache.Key][]version
	outbox   []*record
	rows     int64 // that were ever added to the outbox
	horizon  cache.Snapshot
	down     bool
	slow     time.Duration // the longest additional time that a load takes
	loads    int
	busy     int // loads in flight
	busiest  int
}

// version is a value that a row had.
type version struct {
	value     string // "": no such row
	committed time.Time
	xid       uint64
	epoch     cache.Epoch
	lost      time.Time // when a standby that lacks it was promoted; zero: it is not lost
}

// record is a row of the outbox.
type record struct {
	cache.Write
	id      int64
	began   time.Time
	done    bool
	relayed bool // a gateway is relaying it
}

// write is a transaction to be run.
type write struct {
	rows map[cache.Key]string
	// Each eviction is a row of the outbox.
	evictions []cache.Eviction
}

func newDatabase(seed uint64) *database {
	return &database{
		random: rand.New(rand.NewPCG(seed, 1)), //nolint:gosec // not a secret
		next:   100, newest: 99, underWay: map[uint64]time.Time{}, history: map[cache.Key][]version{},
	}
}

// begin returns the number of a new transaction.
func (d *database) begin() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	xid := d.next
	d.next++
	d.underWay[xid] = time.Now()
	return xid
}

// beginIn is like begin, and also returns the epoch.
func (d *database) beginIn() (cache.Epoch, uint64) {
	d.mu.Lock()
	epoch := d.epoch
	d.mu.Unlock()
	return epoch, d.begin()
}

// commit returns what the transaction evicts.
func (d *database) commit(xid uint64, w write) cache.Write {
	d.mu.Lock()
	defer d.mu.Unlock()
	began := d.underWay[xid]
	d.end(xid)
	for k, v := range w.rows {
		d.history[k] = append(d.history[k], version{value: v, committed: time.Now(), xid: xid, epoch: d.epoch})
	}
	all := cache.Write{Xid: xid, Epoch: d.epoch}
	for _, ev := range w.evictions {
		d.rows++
		d.outbox = append(d.outbox, &record{Write: cache.Write{Xid: xid, Eviction: ev}, id: d.rows, began: began})
		all.Add(ev)
	}
	return all
}

func (d *database) rollback(xid uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.end(xid)
}

func (d *database) end(xid uint64) {
	delete(d.underWay, xid)
	d.newest = max(d.newest, xid)
}

// run runs a transaction that takes no time.
func (d *database) run(w write) cache.Write { return d.commit(d.begin(), w) }

// seed sets the value of a row without a record in the outbox.
func (d *database) seed(k cache.Key, value string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.history[k] = []version{{value: value}}
}

// snapshot returns pg_current_snapshot(). The caller holds mu.
func (d *database) snapshot() cache.Snapshot {
	s := cache.Snapshot{Epoch: d.epoch, Xmin: d.newest + 1, Xmax: d.newest + 1}
	for x := range d.underWay {
		if x < s.Xmax {
			s.Xip = append(s.Xip, x)
			s.Xmin = min(s.Xmin, x)
		}
	}
	slices.Sort(s.Xip)
	return s
}

// row returns the current value of a row. The caller holds mu.
func (d *database) row(k cache.Key) string {
	for _, v := range slices.Backward(d.history[k]) {
		if v.lost.IsZero() {
			return v.value
		}
	}
	return ""
}

// commitIn commits a transaction that began in an epoch. It reports false, and does nothing, if the
// database is in another one.
func (d *database) commitIn(epoch cache.Epoch, xid uint64, w write) (cache.Write, bool) {
	d.mu.Lock()
	same := d.epoch == epoch
	d.mu.Unlock()
	if !same {
		return cache.Write{}, false
	}
	return d.commit(xid, w), true
}

// failover promotes a standby that lacks the commits of the last duration lacks. Transactions in
// progress are lost too, and the lost numbers are reused.
func (d *database) failover(epoch cache.Epoch, lacks time.Duration) (lost int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for _, versions := range d.history {
		for i := range versions {
			if v := &versions[i]; v.lost.IsZero() && v.committed.After(now.Add(-lacks)) {
				v.lost = now
				lost++
			}
		}
	}
	// Transactions commit in any order. One with a greater number than a lost one is kept if it
	// committed earlier.
	gone := func(xid uint64) bool {
		for _, versions := range d.history {
			if slices.ContainsFunc(versions, func(v version) bool { return v.xid == xid && v.epoch == d.epoch && v.lost.Equal(now) }) {
				return true
			}
		}
		return false
	}
	d.outbox = slices.DeleteFunc(d.outbox, func(r *record) bool { return gone(r.Xid) })
	d.next = 100
	for _, versions := range d.history {
		for _, v := range versions {
			if v.lost.IsZero() {
				d.next = max(d.next, v.xid+1)
			}
		}
	}
	for _, r := range d.outbox {
		d.next = max(d.next, r.Xid+1)
	}
	d.epoch, d.newest = epoch, d.next-1
	clear(d.underWay)
	d.horizon.Xmax = min(d.horizon.Xmax, d.next)
	d.horizon.Xmin, d.horizon.Xip, d.horizon.Epoch = min(d.horizon.Xmin, d.horizon.Xmax), nil, epoch
	return lost
}

// versions returns all versions of a row.
func (d *database) versions(k cache.Key) []version {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.history[k])
}

func (d *database) setDown(down bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = down
}

func (d *database) setSlow(slow time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slow = slow
}

// undone returns the number of rows in the outbox that were not evicted.
func (d *database) undone() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.outbox {
		if !r.done {
			n++
		}
	}
	return n
}

// statement waits a while, calls do, and waits again.
func (d *database) statement(ctx context.Context, g *gate, most time.Duration, do func()) error {
	g.pass()
	d.mu.Lock()
	time1, time2 := d.draw(most), d.draw(most)
	d.mu.Unlock()
	if err := wait(ctx, time1); err != nil {
		return err
	}
	d.mu.Lock()
	if d.down {
		d.mu.Unlock()
		return errDatabaseDown
	}
	do()
	d.mu.Unlock()
	err := wait(ctx, time2)
	g.pass()
	return err
}

// draw returns a random duration of at most most, practically never the same twice. The caller
// holds mu.
func (d *database) draw(most time.Duration) time.Duration {
	return time.Duration(d.random.Int64N(int64(most))) + 1
}

// wait waits for d, unless ctx ends first.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// client is the connection of a gateway to a database: the source of its rows, and its outbox.
type client struct {
	*database
	gate *gate
}

var (
	_ cache.Source = (*client)(nil)
	_ cache.Outbox = (*client)(nil)
)

const statementTime = 3 * time.Millisecond

// Load reads rows and the snapshot at one moment.
func (c *client) Load(ctx context.Context, requests []cache.Request) (values []any, seen cache.Snapshot, err error) {
	c.mu.Lock()
	c.loads++
	c.busy++
	c.busiest = max(c.busiest, c.busy)
	most := statementTime + c.slow
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.busy--
		c.mu.Unlock()
	}()
	values = make([]any, len(requests))
	err = c.statement(ctx, c.gate, most, func() {
		seen = c.snapshot()
		for i, r := range requests {
			if v := c.row(r.Key); v != "" {
				values[i] = v
			}
		}
	})
	return values, seen, err
}

// Also returns nothing.
func (c *client) Also(cache.Request) []cache.Request { return nil }

// Decode decodes the JSON of a value.
func (c *client) Decode(_ cache.Request, data []byte) (any, error) {
	var v string
	err := json.Unmarshal(data, &v)
	return v, err
}

// request returns the request of a row.
func (c *client) request(k cache.Key, tags ...cache.Tag) cache.Request {
	return cache.Request{Item: cache.Item{Key: k, Tags: tags, MaxAge: time.Minute}, Source: c}
}

// pageRows is the number of rows in a page of a poll. It is small, so that most polls have several
// pages.
const pageRows = 2

// Poll implements [cache.Outbox].
func (c *client) Poll(ctx context.Context, p cache.Page) (news cache.News, err error) {
	err = c.statement(ctx, c.gate, statementTime, func() {
		if p.Since.Epoch != c.epoch || !p.Until.IsZero() && p.Until.Epoch != c.epoch {
			p = cache.Page{}
		}
		news.Snapshot, news.Horizon = p.Until, c.horizon
		if p.Until.IsZero() {
			news.Snapshot = c.snapshot()
		}
		if p.Since.IsZero() && p.Until.IsZero() {
			news.More = &cache.Page{Until: news.Snapshot, Detail: cache.ByName}
			return
		}
		rows := c.page(p, news.Snapshot)
		more := len(rows) > pageRows
		rows = rows[:min(len(rows), pageRows)]
		for _, r := range rows {
			if p.Detail == cache.ByTransaction {
				news.Writes = append(news.Writes, cache.Pending{Write: r.Write, Age: time.Since(r.began), Done: r.done})
				continue
			}
			news.Sum.Add(r.Eviction)
			news.Sum.Seen = news.Snapshot.UpTo(r.Xid)
			news.Sum.Undone = news.Sum.Undone || !r.done
		}
		if more {
			last := rows[pageRows-1]
			news.More = &cache.Page{Since: p.Since, Until: news.Snapshot, After: cache.Position{Xid: last.Xid, ID: last.id}, Detail: cache.ByName}
		}
	})
	return news, err
}

// page returns the rows of a page and those after it, in their order. The caller holds mu.
func (d *database) page(p cache.Page, until cache.Snapshot) (rows []*record) {
	for _, r := range d.outbox {
		behind := r.Xid > p.After.Xid || r.Xid == p.After.Xid && r.id > p.After.ID
		if behind && !p.Since.Sees(r.Xid) && until.Sees(r.Xid) {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b *record) int {
		return cmp.Or(cmp.Compare(a.Xid, b.Xid), cmp.Compare(a.id, b.id))
	})
	return rows
}

// Done implements [cache.Outbox].
func (c *client) Done(ctx context.Context, epoch cache.Epoch, xids []uint64) error {
	return c.statement(ctx, c.gate, statementTime, func() {
		for _, r := range c.outbox {
			r.done = r.done || epoch == c.epoch && slices.Contains(xids, r.Xid)
		}
	})
}

// IsDone implements [cache.Outbox].
func (c *client) IsDone(ctx context.Context, xid uint64) (done bool, err error) {
	err = c.statement(ctx, c.gate, statementTime, func() {
		done = true
		for _, r := range c.outbox {
			done = done && (r.Xid != xid || r.done)
		}
	})
	return done, err
}

// Relay implements [cache.Outbox]. It skips rows that another gateway is relaying. If it fails, its
// rows can be relayed again.
func (c *client) Relay(ctx context.Context, p cache.Piece, evict func(context.Context, cache.Eviction) error) (relayed cache.Relayed, err error) {
	var mine []*record
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, r := range mine {
			r.relayed = false
		}
	}()
	err = c.statement(ctx, c.gate, statementTime, func() {
		for _, r := range c.outbox {
			if !r.done && !r.relayed && time.Since(r.began) >= p.Age && len(mine) < p.Rows && !slices.Contains(p.Except, r.id) {
				r.relayed = true
				mine = append(mine, r)
			}
		}
	})
	if err != nil || len(mine) == 0 {
		return relayed, err
	}
	var ev cache.Eviction
	for _, r := range mine {
		ev.Add(r.Eviction)
	}
	relayed = cache.Relayed{Rows: len(mine), Writes: len(mine), First: mine[0].id}
	if err := evict(ctx, ev); err != nil {
		return relayed, err
	}
	err = c.statement(ctx, c.gate, statementTime, func() {
		for _, r := range mine {
			r.done = true
		}
	})
	return relayed, err
}

// Backlog implements [cache.Outbox].
func (c *client) Backlog(ctx context.Context) (b cache.Backlog, err error) {
	err = c.statement(ctx, c.gate, statementTime, func() {
		for _, r := range c.outbox {
			if !r.done {
				b.Rows++
				b.Oldest = max(b.Oldest, time.Since(r.began))
			}
		}
	})
	return b, err
}

// Prune implements [cache.Outbox].
func (c *client) Prune(ctx context.Context, keep time.Duration, onlyDone bool) (more bool, err error) {
	return false, c.statement(ctx, c.gate, statementTime, func() { c.prune(keep, onlyDone) })
}

// prune implements Prune. The caller holds mu. The horizon is the current snapshot, limited to the
// transactions up to the newest one that was ever pruned.
func (d *database) prune(keep time.Duration, onlyDone bool) {
	end := d.horizon.Xmax
	d.outbox = slices.DeleteFunc(d.outbox, func(r *record) bool {
		gone := time.Since(r.began) >= keep && (r.done || !onlyDone)
		if gone {
			end = max(end, r.Xid+1)
		}
		return gone
	})
	now := d.snapshot()
	now.Xip = slices.DeleteFunc(now.Xip, func(x uint64) bool { return x >= end })
	d.horizon = cache.Snapshot{Epoch: d.epoch, Xmin: min(now.Xmin, end), Xmax: end, Xip: now.Xip}
}

// Record implements [cache.Outbox].
func (c *client) Record(ctx context.Context, ev cache.Eviction) (_ cache.Epoch, xid uint64, err error) {
	xid = c.begin()
	if err = c.statement(ctx, c.gate, statementTime, func() {}); err != nil {
		c.rollback(xid)
		return "", 0, err
	}
	c.commit(xid, write{evictions: []cache.Eviction{ev}})
	return c.epoch, xid, nil
}
