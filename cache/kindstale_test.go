package cache_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"fieldcache/cache"
)

// pages is a kind whose values are the rows "user:1" and so on of the fake database.
type pages struct {
	*cache.Kind[int, string]
	p *process
}

func (p *process) pages(policy cache.Policy) pages {
	kinds := cache.NewKinds(func(string) (cache.Policy, error) { return policy, nil })
	name := func(id int) (cache.Key, cache.Tag) { return cache.Entity("user", strconv.Itoa(id)), "{users}" }
	return pages{p: p, Kind: cache.NewKind(kinds, cache.KindOptions[int, string]{
		Of: "Query.users", Types: []string{"User"}, Name: name,
		Load: func(ctx context.Context, ids []int) (map[int]string, cache.Snapshot, error) {
			requests := make([]cache.Request, len(ids))
			for i, id := range ids {
				requests[i].Key, _ = name(id)
			}
			values, seen, err := p.client.Load(ctx, requests)
			if err != nil {
				return nil, cache.Snapshot{}, err
			}
			found := map[int]string{}
			for i, id := range ids {
				if v, ok := values[i].(string); ok {
					found[id] = v
				}
			}
			return found, seen, nil
		},
	})}
}

// get reads page 1 as an operation of its own. result is the result that the batch observed.
func (g pages) get(t *testing.T) (value string, result cache.Result, err error) {
	t.Helper()
	b := g.p.NewBatch()
	b.Observe = func(_ context.Context, _ cache.Item, r cache.Result) { result = r }
	value, err = g.Get(t.Context(), b, 1)
	return value, result, err
}

// An expired value of a kind is served immediately within its window, from either tier, and loaded
// again once.
func TestStaleWhileRevalidateOfKinds(t *testing.T) {
	policy := cache.Policy{MaxAge: time.Minute, StaleWhileRevalidate: 10 * time.Minute}
	for name, from := range map[string]cache.Tier{"from memory": cache.MemoryTier, "from the shared tier": cache.SharedTier} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d, redis := newDatabase(1), newFakeRedis(1)
				d.seed("user:1", "old")
				p := begin(t, d, redis)
				k := p.pages(policy)
				_, first, err := k.get(t)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Until(first.Ends) + time.Minute)
				if from == cache.SharedTier {
					p = begin(t, d, redis)
					k = p.pages(policy)
				}
				d.seed("user:1", "new") // without a write
				for i := range 20 {
					v, result, err := k.get(t)
					if err != nil || v != "old" || i == 0 && (!result.Revalidating || result.Tier != from) {
						t.Fatalf("read %d after the expiry: got %q, %+v, error %v; want old, revalidating", i, v, result, err)
					}
				}
				time.Sleep(time.Second)
				d.loaded(t, 2)
				if v, result, err := k.get(t); err != nil || v != "new" || result.Revalidating || result.Tier != cache.MemoryTier {
					t.Errorf("after the refresh: got %q, %+v, error %v; want new from memory", v, result, err)
				}
			})
		})
	}
}

// After an eviction no window serves the old value of a kind: neither while it is loaded again nor
// when its source fails.
func TestNoWindowOfAKindOutlivesAnEviction(t *testing.T) {
	policy := cache.Policy{MaxAge: time.Minute, StaleWhileRevalidate: 10 * time.Minute, StaleIfError: 10 * time.Minute}
	for name, ev := range map[string]cache.Eviction{
		"by its key":        {Keys: []cache.Key{"user:1"}},
		"by its list":       {Tags: []cache.Tag{"{users}"}},
		"by its type":       {Tags: []cache.Tag{cache.Type("User")}},
		"by its coordinate": {Tags: []cache.Tag{cache.Coordinate("Query.users")}},
	} {
		for after, down := range map[string]bool{", its source answers": false, ", its source is down": true} {
			t.Run(name+after, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					d, redis := newDatabase(1), newFakeRedis(1)
					d.seed("user:1", "old")
					p, other := begin(t, d, redis), begin(t, d, redis)
					here, there := p.pages(policy), other.pages(policy)
					_, first, err := here.get(t)
					if err != nil {
						t.Fatal(err)
					}
					if _, _, err = there.get(t); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Until(first.Ends) + time.Minute)
					// The other gateway learns of it by a poll.
					if _, err := p.EvictByHand(t.Context(), ev); err != nil {
						t.Fatal(err)
					}
					d.seed("user:1", "new")
					time.Sleep(2 * time.Second)
					d.setDown(down)
					for gateway, k := range map[string]pages{"here": here, "there": there} {
						v, result, err := k.get(t)
						if down && (err == nil || result.Stale) || !down && (err != nil || v != "new" || result.Revalidating) {
							t.Errorf("%s: got %q, %+v, error %v", gateway, v, result, err)
						}
					}
				})
			})
		}
	}
}

// A kind's stale value is served instead of an error for as long as the schema says. The schema
// takes precedence over the option.
func TestStaleIfErrorOfKinds(t *testing.T) {
	for name, c := range map[string]struct {
		window, after time.Duration
		stale         bool
	}{
		"within the window":     {time.Hour, 20 * time.Minute, true},
		"after the window":      {time.Hour, 61 * time.Minute, false},
		"the option":            {0, 30 * time.Second, true},
		"no window, the option": {-1, 30 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d, redis := newDatabase(1), newFakeRedis(1)
				d.seed("user:1", "old")
				p := begin(t, d, redis, func(o *cache.Options) { o.StaleIfError = time.Minute })
				k := p.pages(cache.Policy{MaxAge: time.Minute, StaleIfError: c.window})
				_, first, err := k.get(t)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Until(first.Ends) + c.after)
				d.setDown(true)
				v, result, err := k.get(t)
				if got := err == nil && v == "old" && result.Stale; got != c.stale {
					t.Errorf("got stale %t, want %t: %q, %+v, error %v", got, c.stale, v, result, err)
				}
				d.setDown(false)
				time.Sleep(time.Second)
				if v, result, err := k.get(t); err != nil || result.Stale || v != "old" {
					t.Errorf("after the source recovered: got %q, %+v, error %v", v, result, err)
				}
			})
		})
	}
}
