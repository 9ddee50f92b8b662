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

// loading is one running call of a source. The context of the call carries it, so that the source's
// own loads through a cache are known to be nested. A call that waits for a nested load gives up
// its turn, so that any number of calls may be nested.
type loading struct {
	flights *flights // of the cache that called the source
	turns   *semaphore.Weighted
	depth   int             // the number of other calls in which it is nested
	waits   map[*flight]int // the flights that nested loads wait for, and how many loads wait for each; guarded by flights.mu

	mu     sync.Mutex
	turn   bool // whether it holds one of the cache's turns
	nested int  // nested loads that it waits for
	ended  bool
}

type loadingKey struct{}

// loadingOf returns the call of a source that ctx belongs to, or nil if there is none.
func loadingOf(ctx context.Context) *loading {
	l, _ := ctx.Value(loadingKey{}).(*loading)
	return l
}

// enter begins a call of a source. turn says whether the call holds one of the turns. The call
// collects what the source reads through a cache, and its statements count as known.
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

// resume waits for a turn again, once the call waits for no nested load. If ctx ends first, the
// call continues without a turn.
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
	if l.turn || l.ended || l.nested > 0 { // it has a turn, or needs none
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

// waitsFor reports whether a flight waits for l, directly or through nested loads. A load nested in
// l must not join such a flight. The caller holds l.flights.mu.
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

// fly records l as the call that loads the flights.
func (s *flights) fly(l *loading, fs []*flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range fs {
		f.loading = l
	}
}

// deepest returns the greatest depth of the flights.
func deepest(fs []*flight) (depth int) {
	for _, f := range fs {
		depth = max(depth, f.depth)
	}
	return depth
}

// names reports whether all is a subset of the names of the flight's item: its key and tags.
func (f *flight) names(all []string) bool {
	for _, n := range all {
		if n != string(f.Key) && !slices.Contains(f.Tags, Tag(n)) {
			return false
		}
	}
	return true
}

// LoadContext returns a context for nested loads of a [Source]. load is the context that the source
// was given, and caller the context of the request being loaded. The result ends with load, counts
// as part of that load for the cache, and has the values of caller. It is needed because load has
// the values of any one of the callers whose requests are loaded together.
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
