package cache

import (
	"context"
	"errors"
	"time"
)

// Item is one thing to read.
type Item struct {
	Key    Key
	Tags   []Tag         // what makes it untrue beside an eviction of the key itself; not changed by anyone
	MaxAge time.Duration // how long its value may be kept; 0: it is not kept at all
	// StaleWhileRevalidate is for how long after its end a value is still answered while it is loaded anew.
	StaleWhileRevalidate time.Duration
	// StaleIfError is for how long after its end, and after the database was last heard of, a value is answered if
	// its source fails. 0: what [Options] say; negative: never.
	StaleIfError time.Duration
	Meter        *Meter // counts how it was answered; nil: nobody counts. See [Cache.Meter]
}

// shadow reports whether the item's coordinate is in shadow mode.
func (i *Item) shadow() bool { return i.Meter != nil && i.Meter.shadow }

// Keep is for how long after its end a tier keeps the item's entry.
func (i *Item) Keep() time.Duration { return max(i.StaleWhileRevalidate, i.StaleIfError, 0) }

// Entry is a value that a tier keeps. Entries and what they point to are shared by every reader and
// never changed once made.
type Entry struct {
	Data   []byte        // the value as JSON; "null" for a row that is not there
	Shape  string        // what its source's values are made of: see [Shaper]
	Value  any           // the value itself, which the memory tier keeps so that a hit decodes nothing
	Loaded time.Time     // when it was read from the database
	Ends   time.Time     // when it may no longer be served
	Keep   time.Duration // for how long after Ends a tier keeps it: see [Item.Keep]
	Seen   Snapshot      // which writes it saw
	Tags   []Tag         // what makes it untrue beside its item's tags: see [Loaded]
	Stamp  *Stamp        // taken before it was loaded; in the memory tier only
}

// Absent reports whether the entry says that there is no such row.
func (e *Entry) Absent() bool { return string(e.Data) == "null" }

// Ticket is what lets a load fill a tier. Only the tier that gave it knows what is in it; nil fills
// nothing.
type Ticket any

// Fill is one entry to put into a tier.
type Fill struct {
	Item   Item
	Ticket Ticket
	Entry  *Entry
	// Generations are those of the entry's own tags, as [Tagger] returned them.
	Generations map[Tag]string
}

// Eviction names what became untrue.
type Eviction struct {
	Keys []Key `json:"keys,omitempty"`
	Tags []Tag `json:"tags,omitempty"`
	// Soft has what is named answered as it is until it was loaded anew, which its next reader begins.
	Soft bool `json:"soft,omitempty"`
}

// Empty reports whether e names nothing.
func (e Eviction) Empty() bool { return len(e.Keys) == 0 && len(e.Tags) == 0 }

// Add puts what other names to what e names. Both are soft only if each is.
func (e *Eviction) Add(other Eviction) {
	switch {
	case other.Empty():
		return
	case e.Empty():
		e.Soft = other.Soft
	default:
		e.Soft = e.Soft && other.Soft
	}
	e.Keys = append(e.Keys, other.Keys...)
	e.Tags = append(e.Tags, other.Tags...)
}

// Store is one tier. It is safe for concurrent use. The order in which it is used is the protocol:
// Get; Begin for what was missing; only then is the source read; Fill with what the source said.
type Store interface {
	// Get answers the entries of items, in their order, nil where there is none that may be served:
	// never stored, ended, or evicted by its key or by one of its tags. One that ended may be answered for as long
	// as its item says ([Item.Keep]). Items carry the tags they carried when they were filled. An error means that nothing is known of any item.
	Get(ctx context.Context, items []Item) ([]*Entry, error)

	// Begin announces a load of items that Get did not find and answers a ticket for each, nil for
	// those that are being loaded by somebody else.
	Begin(ctx context.Context, items []Item) ([]Ticket, error)

	// Fill puts the entries in, except those whose key or one of whose tags was evicted since their
	// ticket was given, and answers how many it took. A ticket fills once.
	Fill(ctx context.Context, fills []Fill) (stored int, err error)

	// Evict makes every entry of the write's keys and with its tags vanish and voids the tickets given
	// for them, in the order of [EvictionSteps]. When it returns without an error, no later Get answers
	// what was there before. It answers how many of the keys were there. Of a soft eviction it only tells others.
	Evict(ctx context.Context, w Write) (dropped int, err error)

	// Close frees what the tier holds. Nothing else may be called after it.
	Close() error
}

// ErrRefused is wrapped by the errors of a [Store] that answered and would not do what it was asked: it has not the
// right, is a replica, or is something else than was thought.
var ErrRefused = errors.New("refused")

// Prober is a [Store] that can say whether it does all that it has to do.
type Prober interface {
	// Probe fails with the first error of an announcement, a fill, a look and an eviction.
	Probe(ctx context.Context) error
}

// Tagger is a [Store] that keeps entries with tags of their own, beside those of their items.
type Tagger interface {
	// Generations returns the generation of each tag, and makes those that are not there. An eviction of
	// a tag ends its generation.
	Generations(ctx context.Context, tags []Tag) (map[Tag]string, error)
}

// Announcer is a [Store] that can do two steps of the protocol in one round trip.
type Announcer interface {
	// GetOrBegin is Get and, after it, Begin of all items, for those that are likely not there. A ticket of an
	// item whose entry may be served after all is not used.
	GetOrBegin(ctx context.Context, items []Item) ([]*Entry, []Ticket, error)
}

// Memory is the tier in this process. Its methods neither block nor fail. Its tickets are the stamps of
// items, of type *[Stamp].
type Memory interface {
	Store

	// Peek is Get for one item, by its key, at a moment, without an allocation.
	Peek(key Key, now time.Time) *Entry

	// Ended is the entry of a key also if it ended, not long ago; nil if it was evicted.
	Ended(key Key) *Entry

	// Generations is the table that the stamps are of.
	Generations() *Generations
}

// Notifier is a [Store] that tells other processes what was evicted through it.
type Notifier interface {
	// Subscribe calls heard for each write whose eviction another process published, until ctx ends.
	// Messages may be lost: a subscriber must be right without them, if later.
	// unreadable is called for each message that cannot be read, which is ignored: polls make up for it.
	Subscribe(ctx context.Context, heard func(Write), unreadable func(error)) error
}
