package cache_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"fieldcache/cache"
)

// evicting is a memory that executes a write when the cache next takes a stamp.
type evicting struct {
	cache.Memory
	write func()
}

func (m *evicting) Generations() *cache.Generations {
	if write := m.write; write != nil {
		m.write = nil
		write()
	}
	return m.Memory.Generations()
}

// An audit and shadow mode compare a cached value with what a request reads. The request may hold an
// older row, or the value may be older than a write that came before the comparison began. Neither
// is a fault, nor is a value that was softly evicted, nor the row of a standby.
func TestComparisonsKnowWhatIsOlder(t *testing.T) {
	t.Parallel()
	user, other := cache.Eviction{Keys: []cache.Key{"user:1"}}, cache.Eviction{Keys: []cache.Key{"user:2"}}
	for name, test := range map[string]struct {
		held      bool           // whether the request holds what it read before the cached value was loaded
		before    cache.Eviction // then
		soft      bool           // whether the user is softly evicted after the cached value was loaded
		meanwhile bool           // whether the user is evicted after an audit was chosen, and before it begins
		standby   bool           // whether the row of the comparison is that of a standby
		fault     bool
	}{
		"the request held the row":             {held: true, before: user},
		"the request held it, another changed": {held: true, before: other, fault: true},
		"the row was written meanwhile":        {meanwhile: true},
		"the row was softly evicted":           {soft: true},
		"a standby was read":                   {standby: true},
		"nothing was written":                  {fault: true},
	} {
		for _, shadow := range []bool{false, true} {
			if shadow && test.meanwhile {
				continue
			}
			t.Run(fmt.Sprintf("%s, shadow mode: %v", name, shadow), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					memory, watch := &evicting{Memory: memory(t)}, new(cache.Watch)
					c, err := cache.New(cache.Options{
						Memory: memory, Watch: watch, Audit: 1, Shadow: func(string) bool { return shadow }, Log: slog.New(slog.DiscardHandler),
					})
					if err != nil {
						t.Fatal(err)
					}
					defer func() { _ = c.Close() }()
					read := func(ctx context.Context, row string) {
						t.Helper()
						s := &slow{row: row, read: func(loading context.Context, row string) any {
							if test.standby && row == "another" {
								ranOnStandby(loading, watch)
							}
							if test.held {
								return &cache.Loaded{Value: row, Since: cache.BeganAt(ctx)}
							}
							return row
						}}
						r := cache.Request{Item: cache.Item{Key: "user:1", MaxAge: time.Minute, Meter: c.Meter("User")}, Source: s}
						if _, err := c.NewBatch().Load(ctx, []cache.Request{r}); err != nil {
							t.Fatal(err)
						}
					}
					write := func(ev cache.Eviction) {
						if _, err := c.EvictByHand(t.Context(), ev); err != nil {
							t.Fatal(err)
						}
					}
					request := c.Begin(t.Context())
					write(test.before)
					read(c.Begin(t.Context()), "cached")
					time.Sleep(time.Second)
					if test.soft {
						write(cache.Eviction{Keys: user.Keys, Soft: true})
					}
					if test.meanwhile {
						memory.write = func() { write(user) }
					}
					read(request, "another")
					time.Sleep(time.Minute)
					s := c.Stats()
					compared, faults := s.Audits.Load(), s.AuditsStale.Load()
					if shadow {
						compared, faults = s.ShadowHits.Load(), s.ShadowDifferences.Load()
					}
					if compared == 0 && test.fault || (faults == 1) != test.fault {
						t.Errorf("got %d faults of %d comparisons, want a fault: %v", faults, compared, test.fault)
					}
				})
			})
		}
	}
}
