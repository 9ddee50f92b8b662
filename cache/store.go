package cache

import (
	"context"
	"errors"
	"time"
)

// Item is a key with its tags, and for how long its value may be cached.
type Item struct {
	Key    Key
	Tags   []Tag         // tags that evict it, in addition to its key; must not be modified
	MaxAge time.Duration // how long its value may be cached; 0: it is not cached
	// StaleWhileRevalidate is for how long after it expired a value is still served while it is loaded again.
	StaleWhileRevalidate time.Duration
	// StaleIfError is for how long after it expired, and after the database last responded, a value
	// is served if its source fails. If zero, that of [Options] applies. If negative, no stale
	// value is served.
	StaleIfError time.Duration
	Meter        *Meter // counts how it was served; nil: not counted. See [Cache.Meter]
}

// shadow reports whether the item's coordinate is in shadow mode.
func (i *Item) shadow() bool { return i.Meter != nil && i.Meter.shadow }

// Keep returns for how long a tier keeps the entry of the item after it expired.
func (i *Item) Keep() time.Duration { return max(i.StaleWhileRevalidate, i.StaleIfError, 0) }

// Entry is a value in a tier. Entries and what they point to are shared by all readers and
// immutable.
type Entry struct {
	Data   []byte        // the value as JSON; "null" for a row that does not exist
	Shape  string        // the form of its source's values: see [Shaper]
	Value  any           // the decoded value, which the memory tier stores so that a hit decodes nothing
	Loaded time.Time     // when it was read from the database
	Ends   time.Time     // when it may no longer be served
	Until  time.Time     // when it reaches its max age, if that is sooner than its item says, by its parts or its source; else zero
	Keep   time.Duration // for how long after Ends a tier keeps it: see [Item.Keep]
	Seen   Snapshot      // the snapshot it was read in
	Tags   []Tag         // tags that evict it, in addition to its item's tags; see [Loaded]
	Stamp  *Stamp        // taken before it was loaded; in the memory tier only
}

// Absent reports whether the entry records that there is no such row.
func (e *Entry) Absent() bool { return string(e.Data) == "null" }

// Ticket lets a load fill a tier. Only the tier that issued it knows its content. A nil Ticket
// fills nothing.
type Ticket any

// Fill is an entry to put into a tier.
type Fill struct {
	Item   Item
	Ticket Ticket
	Entry  *Entry
	// Generations are those of the entry's own tags, as [Tagger] returned them.
	Generations map[Tag]string
}

// Eviction names the keys and tags to evict.
type Eviction struct {
	Keys []Key `json:"keys,omitempty"`
	Tags []Tag `json:"tags,omitempty"`
	// Soft continues to serve the named values until they are loaded again. Their next reader starts the load.
	Soft bool `json:"soft,omitempty"`
}

// Empty reports whether e has no names.
func (e Eviction) Empty() bool { return len(e.Keys) == 0 && len(e.Tags) == 0 }

// Add adds the names of other to e. The result is soft only if both are.
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

// Store is one tier. It is safe for concurrent use. Its methods are called in the order of the
// protocol: Get; Begin for what was missing; only then is the source read; Fill with what the
// source returned.
type Store interface {
	// Get returns the entries of items, in their order, nil for each that may not be served: never stored, expired, or
	// evicted by its key or by one of its tags. It may return an expired entry for as long as [Item.Keep] of its item
	// says. Items have the tags that they had when they were filled. After an error nothing is known of any item.
	Get(ctx context.Context, items []Item) ([]*Entry, error)

	// Begin announces a load of items that Get did not find, and returns a ticket for each, nil for those that another
	// load has announced.
	Begin(ctx context.Context, items []Item) ([]Ticket, error)

	// Fill stores the entries, except those whose key or one of whose tags was evicted since their ticket was issued.
	// It returns how many it stored. A ticket can be used once.
	Fill(ctx context.Context, fills []Fill) (stored int, err error)

	// Evict removes every entry with one of the keys or tags of the write and voids the tickets issued for them, in the
	// order of [EvictionSteps]. When it returns without an error, no later Get returns an entry stored before. It
	// returns how many of the keys it held. It removes nothing for a soft eviction, and only notifies other processes.
	Evict(ctx context.Context, w Write) (dropped int, err error)

	// Close releases the resources of the tier. No other method may be called after it.
	Close() error
}

// ErrRefused is wrapped by the errors of a [Store] that responded and refused the operation: this
// client has no permission, the store is a replica, or it is not the expected kind of server.
var ErrRefused = errors.New("refused")

// Prober is a [Store] that can test whether it supports all required operations.
type Prober interface {
	// Probe tries an announcement, a fill, a read and an eviction, and returns the first error.
	Probe(ctx context.Context) error
}

// Tagger is a [Store] that can store entries with their own tags, in addition to those of their
// items.
type Tagger interface {
	// Generations returns the generation of each tag, and creates those that do not exist. An eviction of a tag ends
	// its generation.
	Generations(ctx context.Context, tags []Tag) (map[Tag]string, error)
}

// Announcer is a [Store] that can execute two steps of the protocol in one round trip.
type Announcer interface {
	// GetOrBegin is Get followed by Begin for all items, for items that are likely missing. A ticket of an item whose
	// entry may be served after all is not used.
	GetOrBegin(ctx context.Context, items []Item) ([]*Entry, []Ticket, error)
}

// Memory is the tier in this process. Its methods neither block nor fail. Its tickets are the
// stamps of items, of type *[Stamp].
type Memory interface {
	Store

	// Peek is Get for one item, by its key, at a moment, without an allocation.
	Peek(key Key, now time.Time) *Entry

	// Ended returns the entry of a key, even if it expired a short time ago; nil if it was evicted.
	Ended(key Key) *Entry

	// Generations returns the table that the stamps refer to.
	Generations() *Generations
}

// Notifier is a [Store] that notifies other processes of the evictions that it executed.
type Notifier interface {
	// Subscribe calls receive for each write whose eviction another process published, until ctx ends. Messages may be
	// lost: without them a subscriber must be correct too, but may be later. unreadable is called for each message that
	// cannot be read. The message is ignored, and polls make up for it.
	Subscribe(ctx context.Context, receive func(Write), unreadable func(error)) error
}
