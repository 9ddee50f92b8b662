// Package memstore is the cache tier in this process: bounded by bytes, with admission by frequency, so
// that a flood of keys asked for once does not push out what is asked for often.
//
// An eviction is one atomic addition for each key and tag it names, however many entries depend on it:
// a fixed table holds a generation for each hash of a name, an entry remembers the generations of its
// key and tags from before it was loaded, and a read compares. Two names in one slot cost a needless
// load, never a wrong answer.
package memstore

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"fieldcache/cache"
)

// slots is the size of the table of generations, a power of two: 512 KiB.
const slots = 1 << 16

// overhead is about what an entry costs beside its key and data: the nodes, the ticket, the value.
const overhead = 256

// Store is the memory tier. It is safe for concurrent use.
type Store struct {
	seed        maphash.Seed
	generations [slots]atomic.Uint64
	entries     *otter.Cache[cache.Key, *entry]
}

// entry is a cached entry with the generations it was loaded under.
type entry struct {
	*cache.Entry
	ticket *ticket
}

// ticket holds the generations of an item's key and tags from before it was loaded.
type ticket struct {
	slots       []uint32
	generations []uint64
}

var _ cache.Memory = (*Store)(nil)

// New makes a tier that keeps at most maxBytes of keys and data, which must be positive.
func New(maxBytes uint64) (*Store, error) {
	if maxBytes == 0 {
		return nil, fmt.Errorf("memstore: the bound must be positive")
	}
	entries, err := otter.New(&otter.Options[cache.Key, *entry]{
		MaximumWeight: maxBytes,
		Weigher: func(k cache.Key, e *entry) uint32 {
			return uint32(2*len(k) + 2*len(e.Data) + overhead) //nolint:gosec // entries are far below 2 GiB
		},
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[cache.Key, *entry]) time.Duration {
			return max(time.Until(e.Value.Ends), 0)
		}),
	})
	if err != nil {
		return nil, fmt.Errorf("memstore: %w", err)
	}
	return &Store{seed: maphash.MakeSeed(), entries: entries}, nil
}

// Peek answers the entry of one item, nil where there is none that may be served.
func (s *Store) Peek(item cache.Item) *cache.Entry {
	e, ok := s.entries.GetIfPresent(item.Key)
	if !ok || !s.holds(e.ticket) || !time.Now().Before(e.Ends) {
		return nil
	}
	return e.Entry
}

// Get answers the entries of items. It never fails.
func (s *Store) Get(_ context.Context, items []cache.Item) ([]*cache.Entry, error) {
	entries := make([]*cache.Entry, len(items))
	for i, item := range items {
		entries[i] = s.Peek(item)
	}
	return entries, nil
}

// Begin gives every item a ticket. It never fails.
func (s *Store) Begin(_ context.Context, items []cache.Item) ([]cache.Ticket, error) {
	tickets := make([]cache.Ticket, len(items))
	for i, item := range items {
		n := 1 + len(item.Tags)
		t := &ticket{slots: make([]uint32, 0, n), generations: make([]uint64, 0, n)}
		t.add(s, string(item.Key))
		for _, tag := range item.Tags {
			t.add(s, string(tag))
		}
		tickets[i] = t
	}
	return tickets, nil
}

func (t *ticket) add(s *Store, name string) {
	slot := s.slot(name)
	t.slots = append(t.slots, slot)
	t.generations = append(t.generations, s.generations[slot].Load())
}

// Fill puts in what was not evicted since its ticket was given. It never fails.
func (s *Store) Fill(_ context.Context, fills []cache.Fill) (stored int, err error) {
	now := time.Now()
	for _, f := range fills {
		t, _ := f.Ticket.(*ticket)
		if t == nil || !s.holds(t) || !now.Before(f.Entry.Ends) {
			continue
		}
		s.entries.Set(f.Item.Key, &entry{f.Entry, t})
		stored++
	}
	return stored, nil
}

// Evict moves on the generations of the named keys and tags. It never fails.
func (s *Store) Evict(_ context.Context, ev cache.Eviction) (dropped int, err error) {
	for _, k := range ev.Keys {
		s.generations[s.slot(string(k))].Add(1)
		// The generation voids the entry; this only frees its memory sooner.
		if e, ok := s.entries.Invalidate(k); ok && time.Now().Before(e.Ends) {
			dropped++
		}
	}
	for _, t := range ev.Tags {
		s.generations[s.slot(string(t))].Add(1)
	}
	return dropped, nil
}

// Bytes is about how much the entries weigh, once what is over the bound has been dropped.
func (s *Store) Bytes() uint64 {
	s.entries.CleanUp()
	return s.entries.WeightedSize()
}

// Close drops everything and ends the goroutines of the tier.
func (s *Store) Close() error {
	s.entries.InvalidateAll()
	s.entries.StopAllGoroutines()
	return nil
}

// holds reports whether none of the ticket's names was evicted since it was given.
func (s *Store) holds(t *ticket) bool {
	for i, slot := range t.slots {
		if s.generations[slot].Load() != t.generations[i] {
			return false
		}
	}
	return true
}

func (s *Store) slot(name string) uint32 {
	return uint32(maphash.String(s.seed, name) % slots) //nolint:gosec // below slots
}
