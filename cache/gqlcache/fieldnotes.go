package gqlcache

import (
	"context"
	"sync"

	"fieldcache/cache"
)

// resolverNotes is what the resolver of a cached field reports about its value while it runs.
type resolverNotes struct {
	mu     sync.Mutex
	hinted bool // SetHint or Restrict was called
	tags   []cache.Tag
}

type resolverNotesKey struct{}

// Tag adds a dependency to the value of the field that is being resolved: an eviction of the name,
// which may be any text, evicts the value. Call it before reading what the name stands for. ctx is
// the context of the resolver. Outside of a field that [Fields] caches it does nothing. It is safe
// for concurrent use.
func Tag(ctx context.Context, name string) {
	w, ok := ctx.Value(resolverNotesKey{}).(*resolverNotes)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tags = append(w.tags, cache.Named(name))
}
