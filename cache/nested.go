package cache

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"
)

// maxDepth limits how deep sources load from one another through a cache. A deeper nesting is
// usually a cycle: a source that requests what it is loading.
const maxDepth = 16

// loading is one running call of a source. The context of the call carries it, so that loads of the
// source through a cache are known to be nested. A call that waits for a nested one gives up its
// turn, so that any number of them may be nested.
type loading struct {
	flights *flights // those of the cache that the source is of
	turns   *semaphore.Weighted
	depth   int             // in how many others it is nested
	waits   map[*flight]int // how many nested loads wait for what; guarded by flights.mu

	mu     sync.Mutex
	turn   bool // whether it holds one of the cache's turns
	nested int  // loads that it waits for
	ended  bool
}

type loadingKey struct{}

// loadingOf returns the call of a source that ctx belongs to; nil if there is none.
func loadingOf(ctx context.Context) *loading {
	l, _ := ctx.Value(loadingKey{}).(*loading)
	return l
}

// enter begins a call of a source. turn reports whether it holds one of the turns. The call
// collects what the source reads through a cache, and its statements are known.
func (c *Cache) enter(ctx context.Context, depth int, turn bool) (context.Context, *loading, *Collector) {
	l := &loading{flights: c.flights, turns: c.loads, depth: depth, turn: turn}
	ctx, collector := collect(ctx, &Collector{known: true})
	return context.WithValue(ctx, loadingKey{}, l), l, collector
}

// end gives up the turn, if the call still holds it.
func (l *loading) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	if l.turn {
		l.turn = false
		l.turns.Release(1)
	}
}

// pause gives up the turn before the call waits for a nested load.
func (l *loading) pause() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nested++
	if l.turn {
		l.turn = false
		l.turns.Release(1)
	}
}

// resume waits for a turn again, once no nested load is waited for. If ctx ends first, the call
// continues without one until it ends.
func (l *loading) resume(ctx context.Context) {
	l.mu.Lock()
	l.nested--
	waits := l.nested > 0 || l.ended
	l.mu.Unlock()
	if waits || l.turns.Acquire(ctx, 1) != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.turn || l.ended || l.nested > 0 { // it has one, or needs none
		l.turns.Release(1)
		return
	}
	l.turn = true
}

// tooDeep returns an error if a load is nested too deep.
func (l *loading) tooDeep(wants []*want) error {
	if l == nil || l.depth < maxDepth {
		return nil
	}
	return fmt.Errorf("cache: sources load from one another more than %d deep, at last %q: does one ask for what it is loading?", maxDepth, string(wants[0].Key))
}

// waitsFor reports whether a flight waits for l, through any number of nested loads. A load nested
// in l must not join it. The caller holds l.flights.mu.
func (f *flight) waitsFor(l *loading) bool {
	if f.loading == nil || l == nil {
		return false
	}
	if f.loading == l {
		return true
	}
	for next := range f.loading.waits {
		if next.waitsFor(l) {
			return true
		}
	}
	return false
}

// waitFor records what l waits for. The caller holds flights.mu; l may be nil, or belong to another
// cache.
func (s *flights) waitFor(l *loading, f *flight) {
	if l == nil || l.flights != s {
		return
	}
	if l.waits == nil {
		l.waits = map[*flight]int{}
	}
	l.waits[f]++
}

// waited undoes waitFor for all wants.
func (s *flights) waited(l *loading, wants []*want) {
	if l == nil || l.flights != s {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range wants {
		if l.waits[w.flight]--; l.waits[w.flight] <= 0 {
			delete(l.waits, w.flight)
		}
	}
}

// fly records which call loads the flights.
func (s *flights) fly(l *loading, fs []*flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range fs {
		f.loading = l
	}
}

// deepest is how deep flights are nested in calls of sources.
func deepest(fs []*flight) (depth int) {
	for _, f := range fs {
		depth = max(depth, f.depth)
	}
	return depth
}

// names reports whether all of these are names of the flight's item: its key and tags.
func (f *flight) names(all []string) bool {
	for _, n := range all {
		if n != string(f.Key) && !slices.Contains(f.Tags, Tag(n)) {
			return false
		}
	}
	return true
}

// LoadContext returns a context for nested loads of a [Source]. It ends with load, which the source
// was given, belongs to that load as far as the cache is concerned, and has the values of caller,
// whose request is being loaded. Loads of several callers are carried out together, so load has the
// values of any of them.
func LoadContext(load, caller context.Context) context.Context {
	return loadContext{load, caller}
}

type loadContext struct {
	context.Context
	caller context.Context
}

// Value implements [context.Context].
func (c loadContext) Value(key any) any {
	switch key.(type) {
	case loadingKey, collectorKey:
		return c.Context.Value(key)
	}
	return c.caller.Value(key)
}
