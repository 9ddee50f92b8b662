package cache_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"fieldcache/cache"
)

// A soft eviction applies to values that depend on what it names, although they are loaded after it
// or have other keys: a request may hold an older row, and a source may read a part through the cache.
func TestSoftEvictionsOfWhatAValueDependsOn(t *testing.T) {
	t.Parallel()
	product := cache.Eviction{Keys: []cache.Key{"product:1"}, Soft: true}
	user := cache.Eviction{Keys: []cache.Key{"user:1"}, Soft: true}
	for name, test := range map[string]struct {
		early, late cache.Eviction // before the value is loaded, but after its request began, and afterwards
		read        func(ctx context.Context, c *cache.Cache, began *cache.Moment) any
		want        string // what another request gets then: served again while it is loaded, or loaded
	}{
		"its request held the row": {
			early: user, want: "loaded",
			read: func(_ context.Context, _ *cache.Cache, began *cache.Moment) any {
				return &cache.Loaded{Value: "old", Since: began}
			},
		},
		"its request held another row": {
			early: product, want: "served",
			read: func(_ context.Context, _ *cache.Cache, began *cache.Moment) any {
				return &cache.Loaded{Value: "old", Since: began}
			},
		},
		"its request held the row, known by a tag after the read": {
			early: cache.Eviction{Tags: []cache.Tag{"{product:1}"}, Soft: true}, want: "loaded",
			read: func(_ context.Context, _ *cache.Cache, began *cache.Moment) any {
				return &cache.Loaded{Value: "old", Since: began, Tags: []cache.Tag{"{product:1}"}}
			},
		},
		"its source read a part through the cache": {
			late: product, want: "revalidating",
			read: func(ctx context.Context, c *cache.Cache, _ *cache.Moment) any {
				part := &slow{row: "old", read: func(_ context.Context, row string) any { return row }}
				return c.Load(ctx, []cache.Request{{Item: cache.Item{Key: "product:1", MaxAge: time.Minute}, Source: part}})[0].Value
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := open(t, nil)
				load := func(ctx context.Context, s cache.Source) cache.Result {
					t.Helper()
					r, err := c.NewBatch().Load(ctx, []cache.Request{{Item: cache.Item{Key: "user:1", MaxAge: time.Minute}, Source: s}})
					if err != nil || r[0].Err != nil {
						t.Fatal(err, r[0].Err)
					}
					return r[0]
				}
				evict := func(ev cache.Eviction) {
					if _, err := c.EvictByHand(t.Context(), ev); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Second)
				}
				evict(user) // has no effect on later requests
				request := c.Begin(t.Context())
				evict(test.early)
				load(request, &slow{read: func(ctx context.Context, _ string) any { return test.read(ctx, c, cache.BeganAt(request)) }})
				time.Sleep(time.Second)
				evict(test.late)
				got := "served"
				switch r := load(c.Begin(t.Context()), &slow{read: func(context.Context, string) any { return "new" }}); {
				case r.Revalidating:
					got = "revalidating"
				case r.Tier == cache.SourceTier:
					got = "loaded"
				}
				if got != test.want {
					t.Errorf("the next value was %s, want %s", got, test.want)
				}
			})
		})
	}
}
