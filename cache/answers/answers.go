// Package answers keeps whole answers in memory, as the bytes that are written to the client. It is the
// tier in front of everything else: a hit neither decodes nor parses nor marshals.
//
// An answer is true for as long as the [cache.Stamp] of what it was made of holds, and this gateway hears of
// the writes of others; so whatever evicts an entity, a list or a type evicts the answers made of it by the
// same atomic addition. Requests are compared byte by byte: a hash only says where to look. Answers that
// are private are kept for the viewer they were made for. The store is bounded by bytes, with admission by
// frequency.
package answers

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"fieldcache/cache"
)

// What an answer takes beside its bytes, about: itself, its content in one encoding, and a name of what it is
// made of.
const (
	overhead        = 1024
	variantOverhead = 256
	nameOverhead    = 24
)

// Options say what a store is made of.
type Options struct {
	// Cache is where the answers' parts come from. Required.
	Cache *cache.Cache
	// MaxBytes bounds requests and answers together. Required.
	MaxBytes uint64
}

// Store keeps answers. It is safe for concurrent use.
type Store struct {
	cache    *cache.Cache
	seed     maphash.Seed
	entries  *otter.Cache[uint64, *entry]
	inFlight inFlight
	lookups  [kinds]atomic.Uint64

	overflowed atomic.Uint64
}

// entry is an answer beside the question it answers.
type entry struct {
	kind   Kind
	media  uint8
	text   []byte
	viewer string
	*Answer
}

// Kind is in what form a question was asked.
type Kind uint8

// The kinds of questions.
const (
	URL     Kind = iota + 1 // the query part of a URL
	Body                    // a body that was posted
	Meaning                 // the operation and its variables, in one form however they were written
	Root                    // one root field of an operation, in such a form

	kinds = iota + 1
)

// Question is what was asked. What is a different question differs in its kind or text, which is compared
// byte by byte.
type Question struct {
	Kind   Kind
	Media  uint8  // number of the answer's media type
	Text   []byte // not kept unless the answer is
	Viewer string // tells viewers apart; empty where there is none, or it is not known who asks
	// Nobody reports that nobody is signed in, which an empty Viewer alone does not: it may also be that nothing
	// tells viewers apart. Without a viewer, private answers are stored and found only where it is set.
	Nobody bool
}

// New makes an empty store. [Store.Close] ends it.
func New(o Options) (*Store, error) {
	if o.MaxBytes == 0 || o.Cache == nil {
		return nil, fmt.Errorf("answers: a cache and a positive bound are required")
	}
	s := &Store{cache: o.Cache, seed: maphash.MakeSeed()}
	entries, err := otter.New(&otter.Options[uint64, *entry]{
		MaximumWeight: o.MaxBytes,
		Weigher: func(_ uint64, e *entry) uint32 {
			n := overhead + len(e.text) + len(e.viewer) + e.deps.Stamp.Bytes()
			for i, v := range e.variants {
				if v != nil && (i == 0 || v != e.variants[Identity]) {
					n += variantOverhead + len(v.body)
				}
			}
			for _, name := range e.deps.Names {
				n += nameOverhead + len(name)
			}
			for _, line := range e.tags {
				n += len(line)
			}
			return uint32(n) //nolint:gosec // answers are far below 2 GiB
		},
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[uint64, *entry]) time.Duration {
			return max(time.Until(e.Value.ends), 0)
		}),
		OnAtomicDeletion: func(e otter.DeletionEvent[uint64, *entry]) {
			if e.Cause == otter.CauseOverflow {
				s.overflowed.Add(1)
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("answers: %w", err)
	}
	s.entries = entries
	return s, nil
}

// Watch is what notices statements that no source of the cache sends.
func (s *Store) Watch() *cache.Watch { return s.cache.Watch() }

// Lookup is what a store holds for a question at one moment.
type Lookup struct {
	// Answer may be served at that moment; nil if there is none.
	Answer *Answer

	key     uint64 // of the entry that is there
	present bool   // whether one is, which may have expired or been evicted
}

// Look looks an answer up. It costs no allocation.
func (s *Store) Look(q Question, now time.Time) (l Lookup) {
	s.lookups[q.Kind].Add(1)
	e := s.candidate(q)
	if e == nil {
		return l
	}
	l.key, l.present = s.hash(q, e.viewer), true
	if s.cache.Trusted(now) && now.Before(e.ends) && s.cache.Generations().Holds(e.deps.Stamp) && !s.cache.Softened(e.deps.Names, e.created) {
		l.Answer = e.Answer
	}
	return l
}

// Get is [Store.Look] for who needs the answer alone.
func (s *Store) Get(q Question, now time.Time) *Answer { return s.Look(q, now).Answer }

// Lookups returns how often answers to questions of a kind were looked up.
func (s *Store) Lookups(k Kind) uint64 { return s.lookups[k].Load() }

// candidate returns the entry that q may be answered from, which may have expired or been evicted.
func (s *Store) candidate(q Question) *entry {
	e := s.find(q, "")
	if e != nil && e.private() && (q.Viewer != "" || !q.Nobody) {
		e = nil // it is what nobody sees
	}
	if e == nil && q.Viewer != "" {
		e = s.find(q, q.Viewer)
	}
	return e
}

// find returns the entry for exactly this question and viewer.
func (s *Store) find(q Question, viewer string) *entry {
	e, ok := s.entries.GetIfPresent(s.hash(q, viewer))
	if !ok || e.kind != q.Kind || e.media != q.Media || e.viewer != viewer || !bytes.Equal(e.text, q.Text) {
		return nil
	}
	return e
}

// Put keeps an answer to a question if it may be kept. The answer is the store's from then on and must not
// be changed.
func (s *Store) Put(q Question, a *Answer) (stored bool) {
	if !a.Storable() || !s.cache.Generations().Holds(a.deps.Stamp) {
		return false
	}
	viewer := ""
	if a.private() {
		if viewer = q.Viewer; viewer == "" && !q.Nobody {
			return false
		}
	}
	s.entries.Set(s.hash(q, viewer), &entry{q.Kind, q.Media, bytes.Clone(q.Text), viewer, a})
	return true
}

func (s *Store) hash(q Question, viewer string) uint64 {
	h := maphash.Bytes(s.seed, q.Text)
	h ^= uint64(q.Kind)<<8 | uint64(q.Media)
	if viewer != "" {
		h ^= maphash.String(s.seed, viewer) * 3
	}
	return h
}

// Bytes is about how much the answers weigh, once what is over the bound has been dropped.
func (s *Store) Bytes() uint64 {
	s.entries.CleanUp()
	return s.entries.WeightedSize()
}

// MaxBytes returns the bound of Bytes.
func (s *Store) MaxBytes() uint64 { return s.entries.GetMaximum() }

// Len is about how many answers there are. One may be there several times, for questions that mean the same.
func (s *Store) Len() int { return s.entries.EstimatedSize() }

// Overflowed returns how many answers were dropped so far, or not admitted, because the store was full.
func (s *Store) Overflowed() uint64 { return s.overflowed.Load() }

// Close drops everything and ends the goroutines of the store.
func (s *Store) Close() {
	s.entries.InvalidateAll()
	s.entries.StopAllGoroutines()
}
