package cache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fieldcache/cache"
)

// slow is a source that reads a row at once and returns later what the test makes of it. Like a
// loader that lives as long as its request, it returns the first row to that request again.
type slow struct {
	row  string
	read func(ctx context.Context, row string) any
	wait chan struct{} // nil: it takes a millisecond
}

func (s *slow) Load(ctx context.Context, requests []cache.Request) ([]any, cache.Snapshot, error) {
	v := s.read(ctx, s.row)
	if s.wait != nil {
		<-s.wait
	} else {
		time.Sleep(time.Millisecond)
	}
	if err, failed := v.(error); failed {
		return nil, cache.Snapshot{}, err
	}
	return slices.Repeat([]any{v}, len(requests)), cache.Snapshot{}, nil
}

func (*slow) Also(cache.Request) []cache.Request { return nil }

func (*slow) Decode(_ cache.Request, data []byte) (any, error) { return string(data), nil }

// Promise 1: a reader that waits for the load of another one, and began after a write, does not get
// a value from before the write. A load may have a part from before it although its own key was not
// evicted.
func TestReadersDoNotShareAValueFromBeforeAWrite(t *testing.T) {
	t.Parallel()
	failed := errors.New("the row says so")
	tests := map[string]struct {
		evicted cache.Eviction
		early   bool // whether it is evicted before the first load begins, but not before its request
		// read returns what the source of a request returns for a row.
		read func(ctx context.Context, c *cache.Cache, began *cache.Moment, row string) any
	}{
		"its request held the row": {
			evicted: cache.Eviction{Keys: []cache.Key{"user:1"}}, early: true,
			read: func(_ context.Context, _ *cache.Cache, began *cache.Moment, row string) any {
				return &cache.Loaded{Value: row, Since: began}
			},
		},
		"its request held the row, and the value is not stored": {
			evicted: cache.Eviction{Keys: []cache.Key{"product:1"}},
			read: func(_ context.Context, _ *cache.Cache, began *cache.Moment, row string) any {
				return &cache.Loaded{Value: row, Since: began, Unstored: "its rows are unknown"}
			},
		},
		"its request held the row, and the value is an error": {
			evicted: cache.Eviction{Keys: []cache.Key{"product:1"}},
			read: func(_ context.Context, _ *cache.Cache, began *cache.Moment, row string) any {
				if row == "old" {
					return &cache.Loaded{Err: failed, Since: began}
				}
				return &cache.Loaded{Value: row, Since: began}
			},
		},
		"its source read the row through the cache, and failed": {
			evicted: cache.Eviction{Keys: []cache.Key{"product:1"}},
			read: func(ctx context.Context, c *cache.Cache, _ *cache.Moment, row string) any {
				part := &slow{row: row, read: func(_ context.Context, row string) any { return row }}
				if v := c.Load(ctx, []cache.Request{{Item: cache.Item{Key: "product:1", MaxAge: time.Minute}, Source: part}})[0].Value; v != "old" {
					return v
				}
				return failed
			},
		},
		"its source read the row through the cache": {
			evicted: cache.Eviction{Keys: []cache.Key{"product:1"}},
			read: func(ctx context.Context, c *cache.Cache, _ *cache.Moment, row string) any {
				part := &slow{row: row, read: func(_ context.Context, row string) any { return row }}
				return c.Load(ctx, []cache.Request{{Item: cache.Item{Key: "product:1", MaxAge: time.Minute}, Source: part}})[0].Value
			},
		},
		"its source read through the cache what its request held": {
			evicted: cache.Eviction{Keys: []cache.Key{"product:1"}}, early: true,
			read: func(ctx context.Context, c *cache.Cache, began *cache.Moment, row string) any {
				part := &slow{row: row, read: func(_ context.Context, row string) any { return &cache.Loaded{Value: row, Since: began} }}
				return c.Load(ctx, []cache.Request{{Item: cache.Item{Key: "product:1", MaxAge: time.Minute}, Source: part}})[0].Value
			},
		},
		"the row is known by a tag only after the read": {
			evicted: cache.Eviction{Tags: []cache.Tag{"{product:1}"}},
			read: func(_ context.Context, _ *cache.Cache, _ *cache.Moment, row string) any {
				return &cache.Loaded{Value: row, Tags: []cache.Tag{"{product:1}"}}
			},
		},
		"nothing was written": {
			read: func(_ context.Context, _ *cache.Cache, began *cache.Moment, row string) any {
				return &cache.Loaded{Value: row, Since: began, Unstored: "its rows are unknown"}
			},
		},
		"another row was written": {
			evicted: cache.Eviction{Keys: []cache.Key{"product:2"}},
			read: func(_ context.Context, _ *cache.Cache, began *cache.Moment, row string) any {
				return &cache.Loaded{Value: row, Since: began, Tags: []cache.Tag{"{product:1}"}}
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := open(t, nil)
				item := cache.Item{Key: "user:1", MaxAge: time.Minute}
				type outcome struct {
					value any
					err   error
				}
				load := func(ctx context.Context, row string, wait chan struct{}) chan outcome {
					got := make(chan outcome, 1)
					s := &slow{row: row, wait: wait, read: func(loading context.Context, row string) any {
						return test.read(loading, c, cache.BeganAt(ctx), row)
					}}
					go func() {
						r := c.Load(ctx, []cache.Request{{Item: item, Source: s}})[0]
						got <- outcome{r.Value, r.Err}
					}()
					time.Sleep(10 * time.Millisecond) // longer than a load waits for others
					synctest.Wait()
					return got
				}
				write := func() {
					if _, err := c.Evict(t.Context(), cache.Write{Eviction: test.evicted}); err != nil {
						t.Fatal(err)
					}
				}
				ctx, held := c.Begin(t.Context()), make(chan struct{})
				if test.early {
					write()
				}
				first := load(ctx, "old", held)
				if !test.early {
					write()
				}
				var later []chan outcome
				for range 5 {
					later = append(later, load(c.Begin(t.Context()), "new", nil))
				}
				loads := c.Stats().Loads.Load()
				close(held)
				if got := <-first; got != (outcome{"old", nil}) && got != (outcome{nil, failed}) {
					t.Errorf("the first reader got %v, want what its request held", got)
				}
				want, most := outcome{"new", nil}, uint64(2) // loads of the later readers together, one for a part
				if test.evicted.Empty() || name == "another row was written" {
					want, most = outcome{"old", nil}, 0
				}
				for _, l := range later {
					if got := <-l; got != want {
						t.Errorf("a reader after the write got %v, want %v", got, want)
					}
				}
				if n := c.Stats().Loads.Load() - loads; n > most {
					t.Errorf("the later readers caused %d loads, want at most %d", n, most)
				}
			})
		})
	}
}

// lasting is a source that takes a while, and counts its calls. Its values are not stored.
type lasting struct {
	slow
	takes time.Duration
	calls atomic.Int64
}

func (s *lasting) Load(_ context.Context, requests []cache.Request) ([]any, cache.Snapshot, error) {
	s.calls.Add(1)
	time.Sleep(s.takes)
	return slices.Repeat([]any{&cache.Loaded{Value: s.row, Unstored: "its rows are unknown"}}, len(requests)), cache.Snapshot{}, nil
}

// Promise 10: readers that load a value anew, since the load that they had waited for began before a
// write, share one load, even if other rows are written all the time.
func TestReadersThatLoadAnewShareOneLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, nil)
		shared := &lasting{takes: 20 * time.Millisecond}
		var readers sync.WaitGroup
		for i := range 8 {
			// The reader waits for another value, too, and so it begins the next load at a time of its own.
			other := &lasting{takes: time.Duration(30+i) * time.Millisecond}
			readers.Go(func() {
				c.Load(t.Context(), []cache.Request{
					{Item: cache.Item{Key: "query:shared", MaxAge: time.Minute}, Source: shared},
					{Item: cache.Item{Key: cache.Key(fmt.Sprint("user:", i)), MaxAge: time.Minute}, Source: other},
				})
			})
			synctest.Wait()
			time.Sleep(500 * time.Microsecond)
			if _, err := c.Evict(t.Context(), cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{"product:1"}}}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(500 * time.Microsecond)
		}
		done := make(chan struct{})
		go func() { readers.Wait(); close(done) }()
		for ended := false; !ended; {
			if _, err := c.Evict(t.Context(), cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{"product:1"}}}); err != nil {
				t.Fatal(err)
			}
			select {
			case <-done:
				ended = true
			case <-time.After(700 * time.Microsecond):
			}
		}
		if n := shared.calls.Load(); n > 2 {
			t.Errorf("got %d loads of one value for 8 readers, want the first one and one more", n)
		}
	})
}

// A source may say that a value is for one reader. Those that wait for it load their own.
func TestAValueForOneReaderIsNotShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, nil)
		var readers sync.WaitGroup
		for i := range 3 {
			want := fmt.Sprint("for ", i)
			s := &slow{row: want, read: func(_ context.Context, row string) any { return &cache.Loaded{Value: row, Alone: true} }}
			readers.Go(func() {
				r := c.Load(t.Context(), []cache.Request{{Item: cache.Item{Key: "user:1", MaxAge: time.Minute}, Source: s}})[0]
				if r.Value != want || r.Joined || r.Stamp != nil || r.Unstored == "" {
					t.Errorf("got %v, joined: %v, stored: %v, want %s", r.Value, r.Joined, r.Stamp != nil, want)
				}
			})
		}
		readers.Wait()
	})
}
