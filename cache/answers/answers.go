// Package answers stores complete responses in memory, as the bytes that are written to the client. It is the
// first tier of a request: a hit neither decodes nor parses nor marshals.
//
// A stored response is valid for as long as the [cache.Stamp] of its dependencies holds, and this gateway
// learns of the writes of others. An eviction of an entity, a list or a type therefore evicts the responses
// that depend on it by the same atomic addition. Requests are compared byte by byte: a hash only finds the
// entry. Private responses are stored for the viewer they were computed for. The store is bounded by bytes,
// and admits entries by frequency.
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

// The approximate memory of a stored response besides its bytes: of itself, of its content in one encoding, and of a
// name that it depends on.
const (
	overhead        = 1024
	variantOverhead = 256
	nameOverhead    = 24
)

// Options are the options of a [Store].
type Options struct {
	// Cache is the cache of the values that responses consist of. Required.
	Cache *cache.Cache
	// MaxBytes limits the memory of requests and responses together. Required.
	MaxBytes uint64
}

// Store stores responses. It is safe for concurrent use.
type Store struct {
	cache    *cache.Cache
	seed     maphash.Seed
	entries  *otter.Cache[uint64, *entry]
	inFlight inFlight
	lookups  [kinds]atomic.Uint64

	overflowed atomic.Uint64
	servers    atomic.Uint32
}

// entry is a stored response with its question.
type entry struct {
	server uint32
	kind   Kind
	media  uint8
	text   []byte
	viewer string
	*Answer
}

// Kind is the form of a [Question].
type Kind uint8

// The kinds of questions.
const (
	URL     Kind = iota + 1 // the query part of a URL
	Body                    // the body of a POST
	Meaning                 // the operation and its variables, in a canonical form
	Root                    // one root field of an operation, in a canonical form

	kinds = iota + 1
)

// Question identifies a response. Different questions differ in server, kind, media type, viewer or text. The text is
// compared byte by byte.
type Question struct {
	Server uint32 // whose response it is: see [Store.NewServer]
	Kind   Kind
	Media  uint8  // number of the response's media type
	Text   []byte // copied only if the response is stored
	Viewer string // identifies the viewer; empty if there is none, or if the viewer is unknown
	// Nobody says that the viewer is known to be anonymous. An empty Viewer alone does not say so: the viewer may be
	// unknown. Without a Viewer, private responses are stored and found only if Nobody is set.
	Nobody bool
}

// New returns an empty store. [Store.Close] ends it.
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

// NewServer returns a number for the questions of a server. Servers that share a store may differ in their schema and
// their middleware, and must not get each other's responses.
func (s *Store) NewServer() uint32 { return s.servers.Add(1) }

// Watch returns the Watch of the cache.
func (s *Store) Watch() *cache.Watch { return s.cache.Watch() }

// Lookup is the result of looking up a question.
type Lookup struct {
	// Answer may be served; nil if there is none.
	Answer *Answer

	key     uint64 // of the stored entry
	present bool   // whether there is an entry, even if it has expired or was evicted
}

// Look looks up a question. It does not allocate.
func (s *Store) Look(q Question, now time.Time) (l Lookup) {
	s.lookups[q.Kind].Add(1)
	e := s.candidate(q)
	if e == nil {
		return l
	}
	l.key, l.present = s.hash(q, e.viewer), true
	if s.cache.Trusted(now) && cache.Left(now, e.ends) > 0 && s.cache.Generations().Holds(e.deps.Stamp) && !s.cache.Softened(e.deps.Names, e.created) {
		l.Answer = e.Answer
	}
	return l
}

// Get is [Store.Look] for a caller that needs only the Answer.
func (s *Store) Get(q Question, now time.Time) *Answer { return s.Look(q, now).Answer }

// Lookups returns how often questions of a kind were looked up.
func (s *Store) Lookups(k Kind) uint64 { return s.lookups[k].Load() }

// candidate returns the entry that may serve q. It may have expired or been evicted.
func (s *Store) candidate(q Question) *entry {
	e := s.find(q, "")
	if e != nil && e.private() && (q.Viewer != "" || !q.Nobody) {
		e = nil // it is for anonymous viewers only
	}
	if e == nil && q.Viewer != "" {
		e = s.find(q, q.Viewer)
	}
	return e
}

// find returns the entry for exactly this question and viewer.
func (s *Store) find(q Question, viewer string) *entry {
	e, ok := s.entries.GetIfPresent(s.hash(q, viewer))
	if !ok || e.server != q.Server || e.kind != q.Kind || e.media != q.Media || e.viewer != viewer || !bytes.Equal(e.text, q.Text) {
		return nil
	}
	return e
}

// Put stores the Answer of a question if it is storable. The store owns the Answer from then on. It must not be
// changed.
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
	s.entries.Set(s.hash(q, viewer), &entry{q.Server, q.Kind, q.Media, bytes.Clone(q.Text), viewer, a})
	return true
}

func (s *Store) hash(q Question, viewer string) uint64 {
	h := maphash.Bytes(s.seed, q.Text)
	h ^= uint64(q.Server)<<16 | uint64(q.Kind)<<8 | uint64(q.Media)
	if viewer != "" {
		h ^= maphash.String(s.seed, viewer) * 3
	}
	return h
}

// Bytes returns the approximate memory of the entries, after entries beyond the bound have been
// dropped.
func (s *Store) Bytes() uint64 {
	s.entries.CleanUp()
	return s.entries.WeightedSize()
}

// MaxBytes returns the bound of Bytes.
func (s *Store) MaxBytes() uint64 { return s.entries.GetMaximum() }

// Len returns the approximate number of entries. A response may be stored several times, for questions with
// the same meaning.
func (s *Store) Len() int { return s.entries.EstimatedSize() }

// Overflowed returns how many entries have been dropped, or not admitted, because the store was full.
func (s *Store) Overflowed() uint64 { return s.overflowed.Load() }

// Close drops all entries and ends the goroutines of the store.
func (s *Store) Close() {
	s.entries.InvalidateAll()
	s.entries.StopAllGoroutines()
}
