package cache

import (
	"context"
	"errors"
	"time"
)

// ErrStandby is the kind of error of an [Outbox] whose database is a standby: it may lag behind its primary,
// and tells nothing of what is committed there.
var ErrStandby = errors.New("the database is in recovery, a standby: it may lag behind its primary and takes no writes")

// Write is what a committed transaction made untrue.
type Write struct {
	// Xid is the transaction's number, which a [Snapshot] saw or did not; 0 where nobody knows it.
	Xid uint64 `json:"xid,omitempty"`
	// Epoch is what the number is one of. Where Xid is not 0, the zero Epoch is that of the last poll.
	Epoch Epoch `json:"epoch,omitempty"`
	// Quiet says that every gateway hears of it without being told.
	Quiet bool `json:"-"`
	Eviction
}

// Outbox is the record of writes that the database keeps: each transaction that makes something untrue adds
// to it what, so that it is there if and only if the transaction committed, whoever ran it. Methods are safe
// for concurrent use; an error of any of them means that nothing is known.
//
// Each call handles a bounded part of the record, however much of it there is.
type Outbox interface {
	// Poll returns the writes of a page. A transaction may come in several writes. If the database's epoch is not
	// that of the page's snapshots, which may have none, it returns what it returns for the zero Page.
	Poll(ctx context.Context, p Page) (News, error)

	// Done notes that the shared tier took the evictions of these transactions, if it is their epoch.
	Done(ctx context.Context, epoch Epoch, xids []uint64) error

	// IsDone reports whether all of a transaction's evictions are noted as done.
	IsDone(ctx context.Context, xid uint64) (bool, error)

	// Relay calls evict with what a piece of the writes that are not done made untrue, except those that
	// another gateway relays at this moment. They are done if it returns nil, and none of them otherwise.
	Relay(ctx context.Context, p Piece, evict func(context.Context, Eviction) error) (Relayed, error)

	// Backlog counts the writes that are not done.
	Backlog(ctx context.Context) (Backlog, error)

	// Prune forgets some of the writes that are older than keep, and widens the horizon to them. With
	// onlyDone set, those that are not done are replaced by a note that their tables are to be evicted. It
	// reports whether there are more.
	Prune(ctx context.Context, keep time.Duration, onlyDone bool) (more bool, err error)

	// Record adds an eviction that no write of data caused, in a transaction of its own.
	Record(ctx context.Context, ev Eviction) (epoch Epoch, xid uint64, err error)
}

// Page says which writes a poll returns: those that Since did not see and Until did, from After on.
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

// Detail says how precisely a poll tells of writes.
type Detail uint8

// The details, each cheaper than the one before.
const (
	ByTransaction Detail = iota // which transaction wrote what; beyond a bound of names, which table
	ByName                      // what was written by all of the page; beyond a bound of names, which tables
	ByTable                     // which tables were written
)

// News is what a page of a poll brings.
type News struct {
	Writes []Pending // of a page by transaction
	Sum    Sum       // of other pages
	// Snapshot is the one that the poll's writes are visible in: Since of the next poll, once all pages
	// are read.
	Snapshot Snapshot
	// Horizon saw every write that was pruned. Of a value whose snapshot does not cover it nobody can tell
	// from the outbox whether it is still true.
	Horizon Snapshot
	// Unreadable is how many rows of the page could not be read. Of them it is told that any row of their table
	// may have been written, or everything.
	Unreadable int
	// More is the next page; nil if this was the last one.
	More *Page
}

// Sum is what several writes made untrue together.
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

// Piece says which writes are to be relayed: at most Rows rows of those that began at least Age ago, without
// those of Except.
type Piece struct {
	Age    time.Duration
	Rows   int
	Except []int64 // IDs of rows
	// ByTable evicts their tables instead of what they name; not in the place of evictions by hand.
	ByTable bool
}

// Relayed is what became of a piece.
type Relayed struct {
	Rows   int
	Writes int   // transactions, or parts of them
	First  int64 // the ID of one of the rows; 0 if there was none
}

// Backlog is the writes that wait for their evictions to be taken.
type Backlog struct {
	Rows   int           // up to [MaxBacklog]
	Oldest time.Duration // since the transaction of the first one began
}

// MaxBacklog bounds how many rows are counted.
const MaxBacklog = 1_000_000
