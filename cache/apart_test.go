package cache_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"fieldcache/cache"
)

// holding is a source for one request, whose loader has held a value since the request began.
type holding struct {
	value string
	since *cache.Moment
	wait  chan struct{}
}

func (h *holding) Load(context.Context, []cache.Request) ([]any, cache.Snapshot, error) {
	if h.wait != nil {
		<-h.wait
	}
	return []any{&cache.Loaded{Value: h.value, Since: h.since}}, cache.Snapshot{}, nil
}

func (*holding) Also(cache.Request) []cache.Request { return nil }

func (*holding) Decode(_ cache.Request, data []byte) (any, error) { return string(data), nil }

// A request may hold a value from before a write. A reader that waits for its load, and began after
// the write, does not get it.
func TestValuesFromBeforeAWriteAreForTheirRequestAlone(t *testing.T) {
	t.Parallel()
	for name, written := range map[string]bool{"after a write": true, "without a write": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := open(t, nil)
				item := cache.Item{Key: "user:1", MaxAge: time.Minute}
				first := c.Begin(t.Context())
				if written {
					if _, err := c.Evict(t.Context(), cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{"user:1"}}}); err != nil {
						t.Fatal(err)
					}
				}
				old := &holding{"old", cache.BeganAt(first), make(chan struct{})}
				got := make(chan any, 2)
				load := func(ctx context.Context, s *holding) {
					r := c.Load(ctx, []cache.Request{{Item: item, Source: s}})[0]
					if r.Err != nil {
						t.Error(r.Err)
					}
					got <- r.Value
				}
				go load(first, old)
				synctest.Wait()
				second := c.Begin(t.Context())
				go load(second, &holding{value: "new", since: cache.BeganAt(second)})
				synctest.Wait() // the second reader waits for the load of the first
				close(old.wait)
				values := map[any]bool{<-got: true, <-got: true}
				if !values["old"] || values["new"] != written {
					t.Errorf("got %v, want old for the request that held it, new for the other one after a write", values)
				}
			})
		})
	}
}
