package gqlcache

import (
	"context"
	"sync"

	"fieldcache/cache"
)

// words is what the resolver of a cached field says of its value while it runs.
type words struct {
	mu     sync.Mutex
	hinted bool // it gave a hint, by SetHint or Restrict
	tags   []cache.Tag
}

type wordsKey struct{}

// Tag names something, which may be any text, that the value of the field that is being resolved is made of:
// an eviction of the tag evicts the value. Call it before reading what it stands for. ctx is that of the
// resolver; outside of a field that [Fields] caches it does nothing. It is safe for concurrent use.
func Tag(ctx context.Context, name string) {
	w, ok := ctx.Value(wordsKey{}).(*words)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tags = append(w.tags, cache.Named(name))
}
