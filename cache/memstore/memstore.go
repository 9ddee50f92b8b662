// Package memstore is the cache tier in this process: bounded by bytes, with admission by frequency, so
// that a flood of keys asked for once does not push out what is asked for often.
//
// An eviction ends the stamps of what it names, one atomic addition for each name, however many entries
// depend on it: see [cache.Generations].
package memstore

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"fieldcache/cache"
)

// overhead is about what an entry costs beside its key and data: the nodes, the stamp, the value; measured.
const overhead = 448

// Options say how much a tier keeps.
type Options struct {
	// MaxBytes bounds keys and data. Required.
	MaxBytes uint64
	// Keep is for how long an entry that ended stays for [Store.Ended], if it does not itself say more. Default: not at
	// all.
	Keep time.Duration
}

// Store is the memory tier. It is safe for concurrent use.
type Store struct {
	generations *cache.Generations
	entries     *otter.Cache[cache.Key, *cache.Entry]
	overflowed  atomic.Uint64
}

var _ cache.Memory = (*Store)(nil)

// New makes an empty tier.
func New(o Options) (*Store, error) {
	if o.MaxBytes == 0 {
		return nil, fmt.Errorf("memstore: the bound must be positive")
	}
	s := &Store{generations: cache.NewGenerations()}
	entries, err := otter.New(&otter.Options[cache.Key, *cache.Entry]{
		MaximumWeight: o.MaxBytes,
		Weigher: func(k cache.Key, e *cache.Entry) uint32 {
			return uint32(2*len(k) + 2*len(e.Data) + overhead) //nolint:gosec // entries are far below 2 GiB
		},
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[cache.Key, *cache.Entry]) time.Duration {
			return max(time.Until(e.Value.Ends)+max(o.Keep, e.Value.Keep), 0)
		}),
		OnAtomicDeletion: func(e otter.DeletionEvent[cache.Key, *cache.Entry]) {
			if e.Cause == otter.CauseOverflow {
				s.overflowed.Add(1)
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("memstore: %w", err)
	}
	s.entries = entries
	return s, nil
}

// Generations is the table that the stamps of entries are of.
func (s *Store) Generations() *cache.Generations { return s.generations }

// Peek returns the entry of a key, nil where there is none that may be served.
func (s *Store) Peek(key cache.Key, now time.Time) *cache.Entry {
	e := s.Ended(key)
	if e == nil || !now.Before(e.Ends) {
		return nil
	}
	return e
}

// Ended returns the entry of a key, also one that ended, unless it was evicted.
func (s *Store) Ended(key cache.Key) *cache.Entry {
	e, ok := s.entries.GetIfPresent(key)
	if !ok || !s.generations.Holds(e.Stamp) {
		return nil
	}
	return e
}

// Get returns the entries of items. It never fails.
func (s *Store) Get(_ context.Context, items []cache.Item) ([]*cache.Entry, error) {
	entries := make([]*cache.Entry, len(items))
	now := time.Now()
	for i, item := range items {
		if e := s.Ended(item.Key); e != nil && now.Before(e.Ends.Add(item.Keep())) {
			entries[i] = e
		}
	}
	return entries, nil
}

// Begin gives every item its stamp. It never fails.
func (s *Store) Begin(_ context.Context, items []cache.Item) ([]cache.Ticket, error) {
	tickets := make([]cache.Ticket, len(items))
	for i, item := range items {
		tickets[i] = s.generations.Stamp(item)
	}
	return tickets, nil
}

// Fill puts in what was not evicted since its ticket was given. It never fails.
func (s *Store) Fill(_ context.Context, fills []cache.Fill) (stored int, err error) {
	now := time.Now()
	for _, f := range fills {
		stamp, _ := f.Ticket.(*cache.Stamp)
		if stamp == nil || !s.generations.Holds(stamp) || !now.Before(f.Entry.Ends.Add(f.Entry.Keep)) {
			continue
		}
		e := *f.Entry
		e.Stamp = stamp
		s.entries.Set(f.Item.Key, &e)
		stored++
	}
	return stored, nil
}

// Evict ends the stamps of the named keys and tags. It never fails.
func (s *Store) Evict(_ context.Context, w cache.Write) (dropped int, err error) {
	if w.Soft {
		return 0, nil
	}
	s.generations.Evict(w.Eviction)
	now := time.Now()
	for _, k := range w.Keys {
		// Its stamp voids the entry; this only frees its memory sooner.
		if e, ok := s.entries.Invalidate(k); ok && now.Before(e.Ends) {
			dropped++
		}
	}
	return dropped, nil
}

// Bytes is about how much the entries weigh, once what is over the bound has been dropped.
func (s *Store) Bytes() uint64 {
	s.entries.CleanUp()
	return s.entries.WeightedSize()
}

// MaxBytes returns the bound of Bytes.
func (s *Store) MaxBytes() uint64 { return s.entries.GetMaximum() }

// Len is about how many entries there are.
func (s *Store) Len() int { return s.entries.EstimatedSize() }

// Overflowed returns how many entries were dropped so far, or not admitted, because the tier was full.
func (s *Store) Overflowed() uint64 { return s.overflowed.Load() }

// Ending is an entry's key and its end.
type Ending struct {
	Key  cache.Key
	Ends time.Time
}

// Soonest returns the n entries that expire next, the first one first, of those that may be served. It looks at bound entries at most,
// whichever they are, and returns at how many it looked.
func (s *Store) Soonest(n, bound int) (next []Ending, looked int) {
	now := time.Now()
	for key, e := range s.entries.All() {
		if looked == bound {
			break
		}
		looked++
		if !now.Before(e.Ends) || !s.generations.Holds(e.Stamp) {
			continue
		}
		at, _ := slices.BinarySearchFunc(next, e.Ends, func(e Ending, end time.Time) int { return e.Ends.Compare(end) })
		if at < n {
			next = slices.Insert(next[:min(len(next), n-1)], at, Ending{key, e.Ends})
		}
	}
	return next, looked
}

// Close drops everything and ends the goroutines of the tier.
func (s *Store) Close() error {
	s.entries.InvalidateAll()
	s.entries.StopAllGoroutines()
	return nil
}
