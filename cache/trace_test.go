package cache_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"fieldcache/cache"
)

// spans records the traced spans.
type spans struct {
	mu  sync.Mutex
	all []string
}

func (s *spans) trace(ctx context.Context, name string, about ...slog.Attr) (context.Context, func(error, ...slog.Attr)) {
	return ctx, func(err error, more ...slog.Attr) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all = append(s.all, fmt.Sprint(name, slices.Concat(about, more), err))
	}
}

func TestLooksAndLoadsAreTraced(t *testing.T) {
	t.Parallel()
	far := &shared{Store: memory(t)}
	var seen spans
	c, err := cache.New(cache.Options{Memory: memory(t), Shared: far, Trace: seen.trace, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	s := users("1", "2")
	c.Load(t.Context(), []cache.Request{s.request("user:1"), s.request("user:2")})
	c.Load(t.Context(), []cache.Request{s.request("user:1")}) // from memory: nothing to trace
	want := []string{"cache look-up[cache.kind=user cache.keys=2 cache.found=0] <nil>", "cache load[cache.kind=user cache.keys=2] <nil>"}
	if !slices.Equal(seen.all, want) {
		t.Errorf("got spans %q, want %q", seen.all, want)
	}
}
