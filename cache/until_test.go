package cache_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"fieldcache/cache"
)

// A response may be kept for as long as its oldest part may: a value is as old as what its source read
// through the cache, and a source may give it less time than its item has.
func TestUntilWhenAPartMayBeKept(t *testing.T) {
	for name, test := range map[string]struct {
		read func(v any) any // what the source returns for the part that it read
		ends time.Duration   // after the part was loaded
		far  bool            // whether another process gets the value from the shared tier
	}{
		"a part":                      {read: func(v any) any { return v }, ends: time.Minute, far: true},
		"a part of an unstored value": {read: func(v any) any { return &cache.Loaded{Value: v, Unstored: "test"} }, ends: time.Minute},
		"a source that gives it less": {read: func(v any) any { return &cache.Loaded{Value: v, MaxAge: 5 * time.Second} }, ends: 50 * time.Second, far: true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d, redis := newDatabase(1), newFakeRedis(1)
				p, q := begin(t, d, redis), begin(t, d, redis)
				part := func() cache.Request {
					s := &slow{row: "part", read: func(_ context.Context, row string) any { return row }}
					return cache.Request{Item: cache.Item{Key: "product:1", MaxAge: time.Minute}, Source: s}
				}
				until := func(p *process) time.Time {
					t.Helper()
					s := &slow{read: func(ctx context.Context, _ string) any {
						return test.read(p.Cache.Load(ctx, []cache.Request{part()})[0].Value)
					}}
					ctx, collector := cache.Collect(t.Context())
					item := cache.Item{Key: "user:1", Tags: []cache.Tag{"product:1"}, MaxAge: time.Minute}
					if r, err := p.NewBatch().Load(ctx, []cache.Request{{Item: item, Source: s}}); err != nil || fmt.Sprint(r[0].Value) == "" {
						t.Fatalf("got %+v, error %v", r, err)
					}
					return collector.Deps().Until
				}
				began := time.Now()
				p.Cache.Load(t.Context(), []cache.Request{part()})
				time.Sleep(45 * time.Second)
				for _, p := range []*process{p, p, q} {
					if p == q && !test.far {
						continue
					}
					if left := until(p).Sub(began); left > test.ends+time.Second || left < test.ends-time.Minute/5 {
						t.Errorf("process %v: it may be kept until %v after the part was loaded, want about %v", p == q, left, test.ends)
					}
				}
			})
		})
	}
}
