package cache_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fieldcache/cache"
)

// nest is a source that makes values of other values, which it reads through the cache while it
// loads.
type nest struct {
	load func(context.Context, []cache.Request) ([]cache.Result, error) // reads the other values
	of   map[cache.Key][]cache.Key
	tags map[cache.Key][]cache.Tag

	mu      sync.Mutex
	values  map[cache.Key]string
	calls   int
	running int
	most    int           // the most calls that ran at a time, without those that waited for a nested load
	meet    chan struct{} // if set, a load that reads other values waits for it first
}

func (n *nest) request(k cache.Key) cache.Request {
	return cache.Request{Item: cache.Item{Key: k, Tags: n.tags[k], MaxAge: time.Hour}, Source: n}
}

// Load returns for each key its value, followed by the values that it is made of.
func (n *nest) Load(ctx context.Context, requests []cache.Request) ([]any, cache.Snapshot, error) {
	n.mu.Lock()
	n.calls++
	n.running++
	n.most = max(n.most, n.running)
	meet := n.meet
	n.mu.Unlock()
	values := make([]any, len(requests))
	for i, r := range requests {
		n.mu.Lock()
		text := n.values[r.Key]
		n.mu.Unlock()
		if len(n.of[r.Key]) > 0 && meet != nil {
			<-meet
		}
		for _, k := range n.of[r.Key] {
			n.mu.Lock()
			n.running--
			n.mu.Unlock()
			results, err := n.load(ctx, []cache.Request{n.request(k)})
			n.mu.Lock()
			n.running++
			n.mu.Unlock()
			if err = errors.Join(err, results[0].Err); err != nil {
				return nil, cache.Snapshot{}, err
			}
			text += " " + results[0].Value.(string)
		}
		values[i] = text
	}
	n.mu.Lock()
	n.running--
	n.mu.Unlock()
	return values, cache.SnapshotAfter(1 << 40), nil
}

func (*nest) Also(cache.Request) []cache.Request { return nil }

func (*nest) Decode(_ cache.Request, data []byte) (v any, err error) {
	var text string
	err = json.Unmarshal(data, &text)
	return text, err
}

// nesting returns a source of values that are made of others. The source reads those through the
// cache itself or through a batch of the operation, as by says.
func nesting(t *testing.T, p *process, by string, of map[cache.Key][]cache.Key) *nest {
	t.Helper()
	n := &nest{of: of, values: map[cache.Key]string{}, tags: map[cache.Key][]cache.Tag{}}
	for k, others := range of {
		n.values[k] = string(k)
		for _, o := range others {
			n.values[o] = string(o)
		}
	}
	batch := p.NewBatch()
	n.load = batch.Load
	if by == "cache" {
		n.load = func(ctx context.Context, rs []cache.Request) ([]cache.Result, error) {
			return p.Cache.Load(ctx, rs), nil
		}
	}
	return n
}

// nestings are the two ways in which a source reads other values.
var nestings = []string{"cache", "batch"}

// More sources load at once than may run at a time, and each reads through the cache while it
// loads. Waiting for a nested load takes no turn, so they do not block each other.
func TestFault23NestedLoadsHoldNoTurn(t *testing.T) {
	t.Parallel()
	for _, by := range nestings {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const loads = 3
				p := start(t, newDatabase(1), nil, func(o *cache.Options) { o.MaxLoads = loads })
				defer p.end(t)()
				of := map[cache.Key][]cache.Key{}
				for i := range 2 * loads {
					k := cache.Key(fmt.Sprintf("a:%d", i))
					of[k] = []cache.Key{cache.Key(fmt.Sprintf("b:%d", i))}
					of[of[k][0]] = []cache.Key{cache.Key(fmt.Sprintf("c:%d", i))}
				}
				n := nesting(t, p, by, of)
				n.meet = make(chan struct{})
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var wg sync.WaitGroup
				for i := range 2 * loads {
					wg.Go(func() {
						k := cache.Key(fmt.Sprintf("a:%d", i))
						time.Sleep(time.Duration(i) * 2 * time.Millisecond) // each in a call of its own
						r, err := n.load(ctx, []cache.Request{n.request(k)})
						if want := fmt.Sprintf("a:%d b:%d c:%d", i, i, i); err != nil || r[0].Err != nil || r[0].Value != want {
							t.Errorf("got %v, %v, want %s", r, err, want)
						}
					})
				}
				time.Sleep(time.Second) // all turns are taken
				close(n.meet)
				wg.Wait()
				if n.most > loads {
					t.Errorf("got %d concurrent calls, want at most %d", n.most, loads)
				}
			})
		})
	}
}

// A source that requests what it is loading, directly or through others, gets an error instead of
// waiting forever.
func TestFault23Cycles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		of     map[cache.Key][]cache.Key
		reads  [][]cache.Key // keys by reader; the readers run concurrently
		errors bool
	}{
		"itself":                     {map[cache.Key][]cache.Key{"a": {"a"}}, [][]cache.Key{{"a"}}, true},
		"of two":                     {map[cache.Key][]cache.Key{"a": {"b"}, "b": {"a"}}, [][]cache.Key{{"a"}}, true},
		"of two readers":             {map[cache.Key][]cache.Key{"a": {"b"}, "b": {"a"}}, [][]cache.Key{{"a"}, {"b"}}, true},
		"of three readers":           {map[cache.Key][]cache.Key{"a": {"b"}, "b": {"c"}, "c": {"a"}}, [][]cache.Key{{"a"}, {"b"}, {"c"}}, true},
		"no cycle, but in one call":  {map[cache.Key][]cache.Key{"a": {"b"}, "b": {"c"}}, [][]cache.Key{{"a", "b", "c"}}, false},
		"no cycle, but crosswise":    {map[cache.Key][]cache.Key{"a": {"d"}, "b": {"c"}}, [][]cache.Key{{"a", "c"}, {"b", "d"}}, false},
		"no cycle, but deep":         {chain(15), [][]cache.Key{{"n0"}}, false},
		"no cycle, but far too deep": {chain(40), [][]cache.Key{{"n0"}}, true},
	} {
		for _, by := range nestings {
			t.Run(name+", by "+by, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					p := start(t, newDatabase(1), nil, func(o *cache.Options) { o.MaxLoads = 2 })
					defer p.end(t)()
					n := nesting(t, p, by, c.of)
					n.meet = make(chan struct{})
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					var wg sync.WaitGroup
					for i, keys := range c.reads {
						wg.Go(func() {
							time.Sleep(time.Duration(i) * 2 * time.Millisecond)
							requests := make([]cache.Request, len(keys))
							for i, k := range keys {
								requests[i] = n.request(k)
							}
							results, err := n.load(ctx, requests)
							if err != nil {
								t.Error(err)
							}
							for i, r := range results {
								if c.errors && (r.Err == nil || !strings.Contains(r.Err.Error(), "deep")) || !c.errors && r.Err != nil {
									t.Errorf("%s: got %v, error %v", keys[i], r.Value, r.Err)
								}
							}
						})
					}
					time.Sleep(time.Second)
					close(n.meet)
					wg.Wait()
				})
			})
		}
	}
}

// chain returns n keys, each of which is made of the next.
func chain(n int) map[cache.Key][]cache.Key {
	of := map[cache.Key][]cache.Key{}
	for i := range n {
		of[cache.Key(fmt.Sprintf("n%d", i))] = []cache.Key{cache.Key(fmt.Sprintf("n%d", i+1))}
	}
	return of
}

// What a source reads through the cache becomes a dependency of its value, even if the item's own
// tags do not include it: evicting it evicts the value. Such a value is cached in memory only.
func TestFault23WhatIsReadNestedIsNoted(t *testing.T) {
	t.Parallel()
	for _, by := range nestings {
		for _, tagged := range []bool{false, true} {
			t.Run(fmt.Sprintf("by %s, tagged: %v", by, tagged), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					redis := newFakeRedis(1)
					d := newDatabase(1)
					p := start(t, d, redis)
					defer p.end(t)()
					n := nesting(t, p, by, map[cache.Key][]cache.Key{"a": {"b"}})
					if tagged {
						n.tags["a"] = []cache.Tag{"b"}
					}
					read := func() cache.Result { return p.Cache.Load(t.Context(), []cache.Request{n.request("a")})[0] }
					named := func(r cache.Result) bool { return tagged || slices.Contains(r.Tags, "b") } // for HTTP caches that purge by names
					if r := read(); r.Value != "a b" || (r.Unstored == "") != tagged || !named(r) {
						t.Errorf("got %+v", r)
					}
					if r := read(); r.Value != "a b" || r.Tier != cache.MemoryTier || !named(r) {
						t.Errorf("got %+v, want it from memory", r)
					}
					n.values["b"] = "new"
					if _, err := p.Evict(t.Context(), cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{"b"}, Tags: []cache.Tag{"b"}}}); err != nil {
						t.Fatal(err)
					}
					if r := read(); r.Value != "a new" {
						t.Errorf(`got %+v after the eviction, want "a new"`, r)
					}
				})
			})
		}
	}
}
