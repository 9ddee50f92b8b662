package cache_test

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fieldcache/cache"
)

// taggedTier is a shared tier whose entries have tags of their own.
type taggedTier struct {
	mu          sync.Mutex
	entries     map[cache.Key]cache.Fill
	generations map[cache.Tag]string
	names       int
	// gotten and asked, if not nil, are called once: after Get, and before Generations.
	gotten, asked func()
}

func newTaggedTier() *taggedTier {
	return &taggedTier{entries: map[cache.Key]cache.Fill{}, generations: map[cache.Tag]string{}}
}

func (s *taggedTier) once(hook *func()) {
	s.mu.Lock()
	do := *hook
	*hook = nil
	s.mu.Unlock()
	if do != nil {
		do()
	}
}

func (s *taggedTier) Get(_ context.Context, items []cache.Item) ([]*cache.Entry, error) {
	entries := make([]*cache.Entry, len(items))
	s.mu.Lock()
	for i, item := range items {
		if f, ok := s.entries[item.Key]; ok && maps.Equal(f.Generations, s.current(f.Entry.Tags)) {
			e := *f.Entry
			entries[i] = &e
		}
	}
	s.mu.Unlock()
	s.once(&s.gotten)
	return entries, nil
}

func (s *taggedTier) current(tags []cache.Tag) map[cache.Tag]string {
	found := map[cache.Tag]string{}
	for _, t := range tags {
		found[t] = s.generations[t]
	}
	return found
}

func (s *taggedTier) Begin(_ context.Context, items []cache.Item) ([]cache.Ticket, error) {
	tickets := make([]cache.Ticket, len(items))
	for i := range tickets {
		tickets[i] = i
	}
	return tickets, nil
}

func (s *taggedTier) Fill(_ context.Context, fills []cache.Fill) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, f := range fills {
		if f.Generations = maps.Clone(f.Generations); maps.Equal(f.Generations, s.current(f.Entry.Tags)) {
			s.entries[f.Item.Key] = f
			n++
		}
	}
	return n, nil
}

func (s *taggedTier) Evict(_ context.Context, w cache.Write) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range w.Keys {
		delete(s.entries, k)
	}
	for _, t := range w.Tags {
		delete(s.generations, t)
	}
	return 0, nil
}

func (s *taggedTier) Generations(_ context.Context, tags []cache.Tag) (map[cache.Tag]string, error) {
	s.once(&s.asked)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range tags {
		if s.generations[t] == "" {
			s.names++
			s.generations[t] = fmt.Sprint("name ", s.names)
		}
	}
	return s.current(tags), nil
}

func (*taggedTier) Close() error { return nil }

// The eviction of a write whose number is unknown raises no floor. It evicts a value that has a tag of
// its own all the same, whether the value is on the way into the shared tier or from it.
func TestEvictionsWithoutANumber(t *testing.T) {
	for _, from := range []bool{false, true} {
		t.Run(fmt.Sprintf("from the shared tier: %v", from), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d, tier := newDatabase(1), newTaggedTier()
				start := func() *process {
					return begin(t, d, nil, func(o *cache.Options) { o.Shared = tier })
				}
				read := func(p *process, row string) cache.Result {
					t.Helper()
					s := &slow{row: row, read: func(_ context.Context, row string) any {
						return &cache.Loaded{Value: row, Tags: []cache.Tag{"{row:1}"}}
					}}
					r := p.Cache.Load(t.Context(), []cache.Request{{Item: cache.Item{Key: "user:1", MaxAge: time.Minute}, Source: s}})[0]
					time.Sleep(time.Second) // until a poll allows the fill
					return r
				}
				p := start()
				evicted := false
				evict := func(p *process) func() {
					return func() {
						evicted = true
						if _, err := p.Evict(t.Context(), cache.Write{Eviction: cache.Eviction{Tags: []cache.Tag{"{row:1}"}}}); err != nil {
							t.Error(err)
						}
					}
				}
				row := "old"
				if from {
					read(p, row)
					row = "new" // if it reads the source, then after the write
					p = start()
					tier.mu.Lock()
					tier.gotten = evict(p)
					tier.mu.Unlock()
				} else {
					tier.mu.Lock()
					tier.asked = evict(p)
					tier.mu.Unlock()
				}
				read(p, row)
				synctest.Wait()
				if !evicted {
					t.Fatal("nothing was evicted")
				}
				if r := read(p, "new"); r.Value != "new" {
					t.Errorf("after the write: got %+v, want new", r)
				}
				if r := read(start(), "newest"); r.Value != "\"new\"" && r.Value != "newest" {
					t.Errorf("another process: got %+v, want what was read after the write", r)
				}
			})
		})
	}
}
