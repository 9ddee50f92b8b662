// Package outbox keeps the record of writes, [cache.Outbox], in the database that is written to: in
// a table that triggers fill. Every write, by whatever client, by a cascade or by hand, records in
// its own transaction which rows it touched. So the record exists if and only if the transaction
// committed.
//
// The package knows no schema but its own, and needs database/sql alone: [Find] detects the kind of
// a database, [Place.Install] creates what is missing, and a function given to [New] returns the
// keys and tags that a [Change] evicts. PostgreSQL from 13 on and SQLite are supported, by any
// driver. On SQLite, where transactions have no numbers and commit one after the other, the id of
// the newest row that a transaction recorded stands for its number.
package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"fieldcache/cache"
)

// MaxRows is how many touched rows of one statement are recorded one by one. A statement that
// touches more is recorded as one that may have touched any row.
const MaxRows = 1000

// Change is what one statement did to one table.
type Change struct {
	Table string
	Op    Op
	// Rows are the touched rows, in no particular order. Nil means that any row of the table may have
	// been touched, because the statement was TRUNCATE or touched more than [MaxRows].
	Rows []Row
}

// Op is a kind of statement.
type Op string

// The kinds of statements.
const (
	Insert   Op = "INSERT"
	Update   Op = "UPDATE"
	Delete   Op = "DELETE"
	Truncate Op = "TRUNCATE"
)

// Row is a row before and after a write.
type Row struct {
	Was     Values   `json:"was,omitempty"`     // nil: the row is new
	Is      Values   `json:"is,omitempty"`      // nil: the row is gone
	Changed []string `json:"changed,omitempty"` // the recorded columns with a new value, for an updated row
}

// Values are the values of the columns that name keys, as text. Columns that are NULL are omitted.
type Values map[string]string

// Outbox is the record of writes in one database.
type Outbox struct {
	db        *sql.DB
	at        Place
	evictions func(...Change) cache.Eviction
}

var (
	_ cache.Outbox     = (*Outbox)(nil)
	_ cache.Identified = (*Outbox)(nil)
)

// New returns the outbox of a database that has the objects of [Place.Objects]. evictions returns
// what changes evict. Both are required.
//
// db should be a pool that nothing else exhausts. A gateway that cannot poll because requests hold
// all connections must distrust its caches, and sends even more requests.
func New(db *sql.DB, at Place, evictions func(...Change) cache.Eviction) (*Outbox, error) {
	if db == nil || evictions == nil {
		return nil, errors.New("outbox: New requires db and evictions")
	}
	return &Outbox{db: db, at: at, evictions: evictions}, nil
}

// byHandTable is the table of evictions without a database write, and byHandOp their kind.
const (
	byHandTable    = ""
	byHandOp    Op = "EVICT"
)

// record is a row of the outbox as the statements of this package read it.
type record struct {
	Xid   uint64
	ID    int64
	Tbl   string
	Op    Op
	Facts *string // JSON: rows, or an eviction by hand
}

// write returns the write of a transaction's records; everything reports whether they evict more
// than was read, and unreadable how many of them cannot be decoded.
func (o *Outbox) write(records []record) (w cache.Write, everything bool, unreadable int) {
	w.Xid = records[0].Xid
	var changes []Change
	for _, r := range records {
		if r.Tbl == byHandTable {
			if r.Facts == nil {
				everything = true
			} else if ev, ok := readEviction([]byte(*r.Facts)); ok {
				w.Add(ev)
			} else {
				everything, unreadable = true, unreadable+1
			}
			continue
		}
		c := Change{Table: r.Tbl, Op: r.Op}
		if r.Facts != nil {
			var ok bool
			if c.Rows, ok = readRows([]byte(*r.Facts)); !ok {
				unreadable++
			}
		}
		changes = append(changes, c)
	}
	if len(changes) > 0 {
		w.Add(o.evictions(changes...))
	}
	return w, everything, unreadable
}

// byTransaction groups records by their transaction, in the order of their first ones.
func byTransaction[R any](records []R, xid func(R) uint64) [][]R {
	var groups [][]R
	at := map[uint64]int{}
	for _, r := range records {
		i, ok := at[xid(r)]
		if !ok {
			i = len(groups)
			at[xid(r)] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], r)
	}
	return groups
}

// Record implements [cache.Outbox].
func (o *Outbox) Record(ctx context.Context, ev cache.Eviction) (epoch cache.Epoch, xid uint64, err error) {
	facts, err := json.Marshal(ev)
	if err != nil {
		return "", 0, fmt.Errorf("outbox: record an eviction: %w", err)
	}
	number := o.at.Xid()
	if !o.at.postgres { // the sequence may not be written yet
		number = "'" + sqliteEpoch + "/' || id"
	}
	n, err := one[Number](ctx, o.db, o.at.sql("INSERT INTO ?outbox (tbl, op, rows) VALUES (?0, ?2, ?1) RETURNING ?3", byHandTable, string(facts), byHandOp, raw(number)))
	if err != nil {
		return "", 0, fmt.Errorf("outbox: record an eviction: %w", err)
	}
	return n.Epoch, n.Xid, nil
}

// Done implements [cache.Outbox].
func (o *Outbox) Done(ctx context.Context, epoch cache.Epoch, xids []uint64) error {
	if len(xids) == 0 {
		return nil
	}
	err := run(ctx, o.db, o.at.sql("UPDATE ?outbox SET done_at = ?now WHERE done_at IS NULL AND ?number ?0 AND ?epoch = ?1",
		o.at.among(xids...), epoch))
	if err != nil {
		return fmt.Errorf("outbox: mark as done: %w", err)
	}
	return nil
}

// IsDone implements [cache.Outbox].
func (o *Outbox) IsDone(ctx context.Context, xid uint64) (done bool, err error) {
	done, err = one[bool](ctx, o.db, o.at.sql("SELECT NOT EXISTS (SELECT 1 FROM ?outbox WHERE done_at IS NULL AND ?number ?0)",
		o.at.among(xid)))
	if err != nil {
		return false, fmt.Errorf("outbox: check whether a write is done: %w", err)
	}
	return done, nil
}
