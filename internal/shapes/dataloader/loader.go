package dataloader

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// loader reads the keys of several resolvers with one call, if they arrive within a wait. As usual
// with such loaders, it keeps what it has read.
type loader[V any] struct {
	wait time.Duration
	read func(ctx context.Context, keys []int) (map[int]V, error)

	mu   sync.Mutex
	open *loaderBatch[V]
	kept map[int]V
}

type loaderBatch[V any] struct {
	keys   []int
	done   chan struct{}
	values map[int]V
	err    error
}

// load waits for the batch with the key. The statement runs with the context of the first caller.
func (l *loader[V]) load(ctx context.Context, key int) (v V, ok bool, err error) {
	l.mu.Lock()
	if v, ok = l.kept[key]; ok {
		l.mu.Unlock()
		return v, true, nil
	}
	b := l.open
	if b == nil {
		b = &loaderBatch[V]{done: make(chan struct{})}
		l.open = b
		time.AfterFunc(l.wait, func() {
			l.mu.Lock()
			l.open = nil
			l.mu.Unlock()
			b.values, b.err = l.read(ctx, b.keys)
			close(b.done)
		})
	}
	b.keys = append(b.keys, key)
	l.mu.Unlock()
	<-b.done
	if v, ok = b.values[key]; ok {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.kept == nil {
			l.kept = map[int]V{}
		}
		l.kept[key] = v
	}
	return v, ok, b.err
}

type loaders struct {
	addresses loader[Address]
	orders    loader[[]Order]
	items     loader[[]Item]
}

type loadersKey struct{}

// Loaders is a middleware that gives each request its own loaders. All operations on a websocket
// belong to one request.
func (r *Resolver) Loaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		wait := 250 * time.Microsecond
		l := &loaders{
			addresses: loader[Address]{wait: wait, read: r.addresses},
			orders:    loader[[]Order]{wait: wait, read: r.orders},
			items:     loader[[]Item]{wait: wait, read: r.items},
		}
		next.ServeHTTP(w, q.WithContext(context.WithValue(q.Context(), loadersKey{}, l)))
	})
}

func loadersOf(ctx context.Context) *loaders { return ctx.Value(loadersKey{}).(*loaders) }
