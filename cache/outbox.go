package cache

import (
	"context"
	"errors"
	"time"
)

// ErrStandby is the kind of error of an [Outbox] whose database is a standby: it may lag behind its
// primary, and does not show what is committed there.
var ErrStandby = errors.New("the database is in recovery, a standby: it may lag behind its primary and takes no writes")

// Write is the changes of a committed transaction.
type Write struct {
	// Xid is the transaction's number, which a [Snapshot] saw or did not; 0 if it is not known.
	Xid uint64 `json:"xid,omitempty"`
	// Epoch is the epoch of the number. If Xid is not 0, the zero Epoch stands for the epoch of the last poll.
	Epoch Epoch `json:"epoch,omitempty"`
	// Quiet says that every gateway learns of the write without a message.
	Quiet bool `json:"-"`
	Eviction
}

// Outbox is the record of writes in the database. Each transaction that changes something cached
// adds its changes to it, so that they are recorded if and only if the transaction commits,
// whichever program runs it. Methods are safe for concurrent use. After an error nothing may be
// assumed.
//
// Each call handles a bounded part of the record.
type Outbox interface {
	// Poll returns the writes of a page. A transaction may be several writes. If the epoch of the database differs from
	// that of the snapshots of the page, which may be the zero Epoch, Poll returns what it returns for the zero Page.
	Poll(ctx context.Context, p Page) (News, error)

	// Done records that the shared tier executed the evictions of these transactions, if epoch is that of the database.
	Done(ctx context.Context, epoch Epoch, xids []uint64) error

	// IsDone reports whether all evictions of a transaction are recorded as done.
	IsDone(ctx context.Context, xid uint64) (bool, error)

	// Relay calls evict with the evictions of a piece of the writes that are not done, except those that another
	// gateway is relaying. If evict returns nil, all of them are marked as done, otherwise none.
	Relay(ctx context.Context, p Piece, evict func(context.Context, Eviction) error) (Relayed, error)

	// Backlog counts the writes that are not done.
	Backlog(ctx context.Context) (Backlog, error)

	// Prune deletes some of the writes that are older than keep, and extends the horizon to them. With onlyDone set,
	// writes that are not done are replaced by a record that evicts their tables. It reports whether there are more.
	Prune(ctx context.Context, keep time.Duration, onlyDone bool) (more bool, err error)

	// Record adds an eviction that no write of data caused, in its own transaction.
	Record(ctx context.Context, ev Eviction) (epoch Epoch, xid uint64, err error)
}

// Bars is an [Outbox] that records which coordinates must not be cached, so that processes that
// start later know of them. Methods are safe for concurrent use.
type Bars interface {
	// Bar records that a coordinate must not be cached.
	Bar(ctx context.Context, coordinate string) error

	// Unbar removes what Bar recorded. Coordinates that are not barred are ignored.
	Unbar(ctx context.Context, coordinates []string) error

	// Barred returns the coordinates that must not be cached, in order.
	Barred(ctx context.Context) ([]string, error)
}

// Bars returns the [Bars] of the outbox, or nil if the outbox does not implement them.
func (c *Cache) Bars() Bars {
	b, _ := c.follower.outbox.(Bars)
	return b
}

// Page selects the writes that a poll returns: those that Since did not see and Until did, after
// the position After.
type Page struct {
	// Since is the snapshot of the last poll. The zero Snapshot selects no writes; News.More then is the first page of
	// those that are retained.
	Since Snapshot
	// Until is the Snapshot of the poll's first page. It is zero in that page, which returns what is committed now.
	Until Snapshot
	After Position // the last row of the previous page
	Detail
}

// Position is the place of a row in the outbox.
type Position struct {
	Xid uint64
	ID  int64
}

// Detail is how precisely a poll reports writes.
type Detail uint8

// The details, each cheaper than the previous one.
const (
	ByTransaction Detail = iota // the names that each transaction wrote; if there are too many, the tables
	ByName                      // the names that the page wrote; if there are too many, the tables
	ByTable                     // the tables that were written
)

// News is the result of a poll of one page.
type News struct {
	Writes []Pending // of a page by transaction
	Sum    Sum       // of other pages
	// Snapshot is the one in which the poll's writes are visible. Once all pages are read it is Since of the next poll.
	Snapshot Snapshot
	// Horizon saw every pruned write. The outbox cannot show whether a value whose snapshot does not cover it is still
	// valid.
	Horizon Snapshot
	// Unreadable is how many rows of the page could not be read. Each counts as a write to any row of its table, or to
	// everything.
	Unreadable int
	// More is the next page; nil if this was the last one.
	More *Page
}

// Sum is the combined changes of several writes.
type Sum struct {
	Eviction
	// Everything says that the names are too many to list.
	Everything bool
	// Seen is a snapshot that saw all of the writes.
	Seen Snapshot
	// Undone reports whether some of the writes are not done.
	Undone bool
}

// Pending is a write as recorded in the outbox.
type Pending struct {
	Write
	Age  time.Duration // since its transaction began
	Done bool          // whether the shared tier executed its evictions
	// Everything says that the names are too many to list.
	Everything bool
}

// Piece selects the writes to relay: at most Rows rows of those that began at least Age ago, except
// the rows in Except.
type Piece struct {
	Age    time.Duration
	Rows   int
	Except []int64 // IDs of rows
	// ByTable evicts the tables of the rows instead of the names in them, except for evictions by hand.
	ByTable bool
}

// Relayed is the result of relaying a piece.
type Relayed struct {
	Rows   int
	Writes int   // transactions, or parts of them
	First  int64 // the ID of one of the rows; 0 if there was none
}

// Backlog describes the writes whose evictions the shared tier has not executed yet.
type Backlog struct {
	Rows   int           // up to [MaxBacklog]
	Oldest time.Duration // since the transaction of the first one began
}

// MaxBacklog limits how many rows are counted.
const MaxBacklog = 1_000_000
