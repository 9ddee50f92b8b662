// Package memstore is the in-process cache tier. It is bounded by bytes and admits entries by
// frequency, so that a flood of keys that are requested once does not push out popular ones.
//
// Evicting a name is one atomic addition, however many entries depend on it: see
// [cache.Generations].
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

// overhead is the measured size in bytes of an entry without its key and data: nodes, stamp, value.
const overhead = 448

// Options configure a [Store].
type Options struct {
	// MaxBytes bounds the size of all entries. Required.
	MaxBytes uint64
	// Keep is how long an expired entry stays available to [Store.Ended], unless its own Keep is
	// longer. Default: 0.
	Keep time.Duration
}

// Store is the memory tier. It is safe for concurrent use. Call Close to stop its goroutines.
type Store struct {
	generations *cache.Generations
	entries     *otter.Cache[cache.Key, *cache.Entry]
	overflowed  atomic.Uint64
}

var _ cache.Memory = (*Store)(nil)

// New returns an empty store. It returns an error if o.MaxBytes is 0.
func New(o Options) (*Store, error) {
	if o.MaxBytes == 0 {
		return nil, fmt.Errorf("memstore: Options.MaxBytes is required")
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

// Generations returns the table of generations that stamps entries.
func (s *Store) Generations() *cache.Generations { return s.generations }

// Peek returns the entry of key, or nil if there is none, it was evicted, or it has expired by now.
func (s *Store) Peek(key cache.Key, now time.Time) *cache.Entry {
	e := s.Ended(key)
	if e == nil || cache.Left(now, e.Ends) <= 0 {
		return nil
	}
	return e
}

// Ended returns the entry of key even if it has expired, or nil if there is none or it was evicted.
func (s *Store) Ended(key cache.Key) *cache.Entry {
	e, ok := s.entries.GetIfPresent(key)
	if !ok || !s.generations.Holds(e.Stamp) {
		return nil
	}
	return e
}

// Get returns an entry for each item, nil for a miss. An expired entry is returned for as long as
// its item asks for. The error is always nil.
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

// Begin returns a stamp for each item. The error is always nil.
func (s *Store) Begin(_ context.Context, items []cache.Item) ([]cache.Ticket, error) {
	tickets := make([]cache.Ticket, len(items))
	for i, item := range items {
		tickets[i] = s.generations.Stamp(item)
	}
	return tickets, nil
}

// Fill stores the entries whose items were not evicted since Begin returned their tickets, and
// returns how many it stored. The error is always nil.
func (s *Store) Fill(_ context.Context, fills []cache.Fill) (stored int, err error) {
	now := time.Now()
	for _, f := range fills {
		stamp, _ := f.Ticket.(*cache.Stamp)
		if stamp == nil || !s.generations.Holds(stamp) || !now.Before(f.Entry.Ends.Add(f.Entry.Keep)) {
			continue
		}
		e := *f.Entry
		e.Stamp, e.Loaded, e.Ends = stamp, cache.WithClock(e.Loaded, now), cache.WithClock(e.Ends, now)
		s.entries.Set(f.Item.Key, &e)
		stored++
	}
	return stored, nil
}

// Evict evicts the entries of the keys and tags of w, and returns how many unexpired entries of the
// keys there were. A soft eviction changes nothing here. The error is always nil.
func (s *Store) Evict(_ context.Context, w cache.Write) (dropped int, err error) {
	if w.Soft {
		return 0, nil
	}
	s.generations.Evict(w.Eviction)
	now := time.Now()
	for _, k := range w.Keys {
		// The stamp is void already; this frees the memory sooner.
		if e, ok := s.entries.Invalidate(k); ok && now.Before(e.Ends) {
			dropped++
		}
	}
	return dropped, nil
}

// Bytes returns the approximate size of all entries in bytes, after dropping those over the bound.
func (s *Store) Bytes() uint64 {
	s.entries.CleanUp()
	return s.entries.WeightedSize()
}

// MaxBytes returns the bound in bytes.
func (s *Store) MaxBytes() uint64 { return s.entries.GetMaximum() }

// Len returns the approximate number of entries.
func (s *Store) Len() int { return s.entries.EstimatedSize() }

// Overflowed returns how many entries were dropped or not admitted because the store was full.
func (s *Store) Overflowed() uint64 { return s.overflowed.Load() }

// Ending is the key of an entry and when the entry expires.
type Ending struct {
	Key  cache.Key
	Ends time.Time
}

// Soonest returns the n unexpired entries that expire next, in order. It examines at most bound
// entries, in no particular order, and returns how many it examined.
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

// Close drops all entries and stops the goroutines of the store. It returns nil.
func (s *Store) Close() error {
	s.entries.InvalidateAll()
	s.entries.StopAllGoroutines()
	return nil
}
