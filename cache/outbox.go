package cache

import (
	"context"
	"errors"
	"time"
)

// ErrStandby is the kind of error of an [Outbox] whose database is a standby: it may lag behind its
// primary, and does not show what is committed there.
var ErrStandby = errors.New("the database is in recovery, a standby: it may lag behind its primary and takes no writes")

// Write is what a committed transaction changed.
type Write struct {
	// Xid is the transaction's number, which a [Snapshot] saw or did not; 0 where nobody knows it.
	Xid uint64 `json:"xid,omitempty"`
	// Epoch is what the number is one of. Where Xid is not 0, the zero Epoch is that of the last poll.
	Epoch Epoch `json:"epoch,omitempty"`
	// Quiet says that every gateway learns of it without a message.
	Quiet bool `json:"-"`
	Eviction
}

// Outbox is the record of writes in the database. Each transaction that changes something cached
// adds its changes to it, so that they are recorded if and only if the transaction commits, whoever
// runs it. Methods are safe for concurrent use. An error means that nothing is known.
//
// Each call handles a bounded part of the record.
type Outbox interface {
	// Poll returns the writes of a page. A transaction may be several writes. If the epoch of the database is not that
	// of the snapshots of the page, which may have none, it returns what it returns for the zero Page.
	Poll(ctx context.Context, p Page) (News, error)

	// Done records that the shared tier executed the evictions of these transactions, if it is their epoch.
	Done(ctx context.Context, epoch Epoch, xids []uint64) error

	// IsDone reports whether all evictions of a transaction are recorded as done.
	IsDone(ctx context.Context, xid uint64) (bool, error)

	// Relay calls evict with the evictions of a piece of the writes that are not done, except those that another gateway
	// relays at this moment. If evict returns nil, all of them are done, else none.
	Relay(ctx context.Context, p Piece, evict func(context.Context, Eviction) error) (Relayed, error)

	// Backlog counts the writes that are not done.
	Backlog(ctx context.Context) (Backlog, error)

	// Prune deletes some of the writes that are older than keep, and extends the horizon to them. With onlyDone set,
	// those that are not done are replaced by a record that their tables are to be evicted. It reports whether there are
	// more.
	Prune(ctx context.Context, keep time.Duration, onlyDone bool) (more bool, err error)

	// Record adds an eviction that no write of data caused, in a transaction of its own.
	Record(ctx context.Context, ev Eviction) (epoch Epoch, xid uint64, err error)
}

// Page selects the writes that a poll returns: those that Since did not see and Until did, from
// After on.
type Page struct {
	// Since is what was polled before. The zero Snapshot asks for no writes; News.More then is the first page
	// of those that are kept.
	Since Snapshot
	// Until is the Snapshot of the poll's first page, which has none: it returns what is committed now.
	Until Snapshot
	After Position // the last row of the page before
	Detail
}

// Position is the place of a row in the outbox.
type Position struct {
	Xid uint64
	ID  int64
}

// Detail is how precisely a poll reports writes.
type Detail uint8

// The details, each cheaper than the one before.
const (
	ByTransaction Detail = iota // which transaction wrote what; beyond a bound of names, which table
	ByName                      // what was written by all of the page; beyond a bound of names, which tables
	ByTable                     // which tables were written
)

// News is the result of a poll of one page.
type News struct {
	Writes []Pending // of a page by transaction
	Sum    Sum       // of other pages
	// Snapshot is the one that the poll's writes are visible in: Since of the next poll, once all pages
	// are read.
	Snapshot Snapshot
	// Horizon saw every pruned write. For a value whose snapshot does not cover it, the outbox cannot tell whether it
	// is still valid.
	Horizon Snapshot
	// Unreadable is how many rows of the page could not be read. Each is reported as a write to any row of its table, or
	// to everything.
	Unreadable int
	// More is the next page; nil if this was the last one.
	More *Page
}

// Sum is what several writes changed together.
type Sum struct {
	Eviction
	// Everything says that there is more than can be told.
	Everything bool
	// Seen saw all of the writes.
	Seen Snapshot
	// Undone reports whether there are some that are not done.
	Undone bool
}

// Pending is a write as the outbox holds it.
type Pending struct {
	Write
	Age  time.Duration // since its transaction began
	Done bool          // whether the shared tier took its evictions
	// Everything says that there is more than can be told.
	Everything bool
}

// Piece selects the writes to relay: at most Rows rows of those that began at least Age ago,
// without those of Except.
type Piece struct {
	Age    time.Duration
	Rows   int
	Except []int64 // IDs of rows
	// ByTable evicts their tables instead of what they name; not in the place of evictions by hand.
	ByTable bool
}

// Relayed is the result of relaying a piece.
type Relayed struct {
	Rows   int
	Writes int   // transactions, or parts of them
	First  int64 // the ID of one of the rows; 0 if there was none
}

// Backlog is the writes whose evictions the shared tier has not executed yet.
type Backlog struct {
	Rows   int           // up to [MaxBacklog]
	Oldest time.Duration // since the transaction of the first one began
}

// MaxBacklog limits how many rows are counted.
const MaxBacklog = 1_000_000
