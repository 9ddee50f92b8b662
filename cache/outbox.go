package cache

import (
	"context"
	"time"
)

// Write is what a committed transaction made untrue.
type Write struct {
	// Xid is the transaction's number, which a [Snapshot] saw or did not; 0 where nobody knows it.
	Xid uint64 `json:"xid,omitempty"`
	Eviction
}

// Outbox is the record of writes that the database keeps: each transaction that makes something untrue adds
// to it what, so that it is there if and only if the transaction committed, whoever ran it. Methods are safe
// for concurrent use; an error of any of them means that nothing is known.
type Outbox interface {
	// Poll answers the writes that are committed now and were not yet in since; of the zero Snapshot all
	// that are kept. A transaction may come in several writes.
	Poll(ctx context.Context, since Snapshot) (News, error)

	// Done notes that the shared tier took the evictions of these transactions.
	Done(ctx context.Context, xids []uint64) error

	// IsDone reports whether all of a transaction's evictions are noted as done.
	IsDone(ctx context.Context, xid uint64) (bool, error)

	// Relay calls evict with the writes, at most some hundred, that committed at least age ago and are not
	// done, except those that another gateway relays at this moment. They are done if it returns nil. It
	// answers how many they were, and whether there may be more.
	Relay(ctx context.Context, age time.Duration, evict func(context.Context, []Write) error) (n int, more bool, err error)

	// Prune forgets the writes that are older than keep, if onlyDone is set only those that are done, and
	// widens the horizon to them.
	Prune(ctx context.Context, keep time.Duration, onlyDone bool) error

	// Record adds an eviction that no write of data caused, in a transaction of its own.
	Record(ctx context.Context, ev Eviction) (xid uint64, err error)
}

// News is what a poll of an [Outbox] brings.
type News struct {
	Writes []Pending
	// Snapshot is the one in which the writes were read: since of the next poll.
	Snapshot Snapshot
	// Horizon saw every write that was pruned. Of a value whose snapshot does not cover it nobody can tell
	// from the outbox whether it is still true.
	Horizon Snapshot
}

// Pending is a write as the outbox holds it.
type Pending struct {
	Write
	Age  time.Duration // since its transaction began
	Done bool          // whether the shared tier took its evictions
}
