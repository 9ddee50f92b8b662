package gqlcache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
	"fieldcache/internal/testservers"
	"fieldcache/internal/tracker"
)

// The window after the expiry comes from the schema, and Redis retains the key for it.
func TestSchemasSayHowLongAfterItsEndAValueIsAnswered(t *testing.T) {
	url, address := testservers.Postgres(t), testservers.Redis(t)
	s := openTrackerSite(t, url, address, nil)
	const q = `{ticks}`
	last := responseTo(t, s.cached, "", q) // each load returns another value
	s.eventually("an expired value is not served while it is reloaded", func() bool {
		before, revalidating := last, s.cache.Stats().Revalidating.Load()
		last = responseTo(t, s.cached, "", q)
		return last == before && s.cache.Stats().Revalidating.Load() > revalidating
	})
	s.eventually("the value is not reloaded", func() bool { return responseTo(t, s.cached, "", q) != last })
	o, err := redis.ParseURL(address)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(o)
	defer client.Close()
	left, err := client.PTTL(t.Context(), "query:ticks").Result()
	if err != nil || left <= 800*time.Second || left > 901*time.Second {
		t.Errorf("Redis retains the key for %v, error %v; want 900s after the expiry", left, err)
	}
}

func TestShadowModeAnswersFromResolvers(t *testing.T) {
	var calls atomic.Int64
	var text atomic.Pointer[string]
	text.Store(new("first"))
	s := openTrackerSite(t, testservers.Postgres(t), "", func(context.Context) (*string, error) {
		calls.Add(1)
		return text.Load(), nil
	}, func(o *siteOptions) {
		o.shadow = []string{"Query.motto", "Account"}
		o.cache.Lease = time.Second // a difference is reported two leases later
	})
	s.seed()
	motto, grid := s.cache.Meter("Query.motto"), s.cache.Meter("Query.grid")
	questions := int64(0)
	question := func() {
		t.Helper()
		questions++
		if got, want := responseTo(t, s.cached, "", `{motto grid(size:2)}`), fmt.Sprintf(`{"motto":%q,`, *text.Load()); !strings.HasPrefix(got, want) {
			t.Fatalf("got %s, want %s…", got, want)
		}
		if n := calls.Load(); n != questions {
			t.Fatalf("got %d calls of the resolver for %d requests", n, questions)
		}
	}
	question()
	if motto.Shadow.Load() != 0 || grid.Hits() != 0 {
		t.Error("the first request counted as a hit")
	}
	// While the lease is lost, no request counts as a hit.
	s.eventually("five wrong values are not counted, or another field is not cached", func() bool {
		question()
		return motto.Shadow.Load() >= 5 && grid.Hits() >= 4
	})
	if n := motto.Shadow.Load(); n >= uint64(questions) {
		t.Errorf("got %d shadow hits in %d requests, want fewer than requests", n, questions)
	}
	if n := motto.Differences.Load(); n != 0 {
		t.Errorf("got %d differences although nothing changed, want 0", n)
	}
	changes := uint64(0)
	s.eventually("a difference is not reported", func() bool {
		changes++
		text.Store(new(fmt.Sprint("text ", changes)))
		question()
		return motto.Differences.Load() > 0 && strings.Contains(s.log.String(), "Query.motto")
	})
	if n := motto.Differences.Load(); n > changes {
		t.Errorf("got %d differences after %d changes", n, changes)
	}
	before := s.cache.Meter("Issue.author").Missed.Load()
	q := fmt.Sprintf(`{issue(id:%q){author{handle}}}`, bug)
	for range 3 {
		s.same(ann, q)
	}
	if n := s.cache.Meter("Issue.author").Missed.Load() - before; n < 3 {
		t.Errorf("a field of a type in shadow mode was resolved %d times, want at least 3", n)
	}
}

func TestShadowModeKnowsItsNames(t *testing.T) {
	schema := tracker.NewExecutableSchema(tracker.Config{}).Schema()
	_, err := gqlcache.Shadowed(schema, []string{"Issue.nothing", "Nobody", "*", "Issue.score"})
	if err == nil || !strings.Contains(err.Error(), "Issue.nothing") || !strings.Contains(err.Error(), "Nobody") || strings.Contains(err.Error(), "score") {
		t.Error(err)
	}
}

// A field that failed an audit is not served from the cache until an operator evicts it.
func TestAuditsBarFields(t *testing.T) {
	for name, test := range map[string]struct {
		motto func(forgotten *atomic.Int64) func(context.Context) (*string, error)
		count func(*cache.Stats) *atomic.Uint64
	}{
		"that depend on the viewer": {func(*atomic.Int64) func(context.Context) (*string, error) {
			return func(ctx context.Context) (*string, error) { return new("for " + tracker.ViewerOf(ctx)), nil }
		}, func(s *cache.Stats) *atomic.Uint64 { return &s.AuditsLeaks }},
		"with an undeclared dependency": {func(f *atomic.Int64) func(context.Context) (*string, error) {
			return func(context.Context) (*string, error) { return new(fmt.Sprint(f.Load())), nil }
		}, func(s *cache.Stats) *atomic.Uint64 { return &s.AuditsStale }},
	} {
		t.Run(name, func(t *testing.T) {
			var forgotten atomic.Int64
			s := openTrackerSite(t, testservers.Postgres(t), "", test.motto(&forgotten), func(o *siteOptions) {
				o.cache.Audit = 1
				o.cache.Lease = time.Second // a fault is reported two leases later
			})
			s.seed()
			responseTo(t, s.cached, ann, `{motto}`)
			forgotten.Add(1)
			s.eventually("no fault is found", func() bool {
				responseTo(t, s.cached, ann, `{motto grid(size:2)}`)
				return slices.Equal(s.fields.Barred(), []string{"Query.motto"})
			})
			const barMessage = "a field is no longer cached"
			s.eventually("no fault is logged", func() bool { return strings.Contains(s.log.String(), barMessage) }) // logged after the field was barred
			if n := test.count(s.cache.Stats()).Load(); n != 1 {
				t.Errorf("got %d faults of this kind, want 1", n)
			}
			if n := s.cache.Stats().AuditsLeaks.Load() + s.cache.Stats().AuditsStale.Load(); n != 1 {
				t.Errorf("got %d faults in all, want 1", n)
			}
			for _, viewer := range []string{ann, bob, ""} {
				forgotten.Add(1)
				want := fmt.Sprintf(`{"motto":"for %s"} `, viewer)
				if name != "that depend on the viewer" {
					want = fmt.Sprintf(`{"motto":"%d"} `, forgotten.Load())
				}
				if got := responseTo(t, s.cached, viewer, `{motto}`); got != want {
					t.Errorf("viewer %q: got %s, want %s", viewer, got, want)
				}
			}
			if n := strings.Count(s.log.String(), barMessage); n != 1 {
				t.Errorf("logged %d times, want once", n)
			}
			if _, err := s.orders().Evict(t.Context(), gqlcache.Order{Coordinates: []string{"Query.motto"}}); err != nil {
				t.Fatal(err)
			}
			if len(s.fields.Barred()) != 0 {
				t.Error("an operator's order does not lift the bar")
			}
		})
	}
}

// A fault that one process finds bars the field in every process. An operator's order in any
// process lifts the bar in every process.
func TestBarsReachOtherProcesses(t *testing.T) {
	url, redis := testservers.Postgres(t), testservers.Redis(t)
	motto := func(ctx context.Context) (*string, error) { return new("for " + tracker.ViewerOf(ctx)), nil }
	finder := openTrackerSite(t, url, redis, motto, func(o *siteOptions) { o.cache.Audit = 1 })
	other := openTrackerSite(t, url, redis, motto)
	barred := func(s *trackerSite) bool { return slices.Equal(s.fields.Barred(), []string{"Query.motto"}) }
	finder.eventually("no fault is found", func() bool {
		responseTo(t, finder.cached, ann, `{motto}`)
		return barred(finder)
	})
	other.eventually("another process still caches the field", func() bool { return barred(other) })
	for _, viewer := range []string{ann, bob} {
		if got, want := responseTo(t, other.cached, viewer, `{motto}`), fmt.Sprintf(`{"motto":"for %s"} `, viewer); strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("viewer %q: got %s from another process, want %s", viewer, got, want)
		}
	}
	later := openTrackerSite(t, url, redis, motto)
	if !barred(later) {
		t.Error("a process that starts later caches the barred field")
	}
	for _, of := range []gqlcache.Order{{Coordinates: []string{"Issue.score"}}, {Rows: []string{"projects:core"}}, {Keys: []string{"query:motto"}}} {
		if _, err := other.orders().Evict(t.Context(), of); err != nil {
			t.Fatal(err)
		}
	}
	if err := finder.cache.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !barred(finder) || !barred(other) {
		t.Error("an order that does not name the field lifts its bar")
	}
	// The order is repeated, because a process may find the fault again before it learns of the
	// first order.
	other.eventually("lifting a bar at one process does not lift it at another", func() bool {
		if _, err := other.orders().Evict(t.Context(), gqlcache.Order{Coordinates: []string{"Query.motto"}}); err != nil {
			t.Fatal(err)
		}
		if err := finder.cache.CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		return len(finder.fields.Barred())+len(other.fields.Barred()) == 0
	})
	later.eventually("lifting a bar does not lift it at a process that read it when it started", func() bool { return len(later.fields.Barred()) == 0 })
	if last := openTrackerSite(t, url, redis, motto); barred(last) {
		t.Error("a process that starts after the order does not cache the field")
	}
}

// orders returns the commands of an operator for the site.
func (s *trackerSite) orders() *gqlcache.Orders {
	return &gqlcache.Orders{Cache: s.cache, Schema: s.fields.Plan().Schema().Schema(), Fields: s.fields, Rows: s.rows, Database: s.db}
}

func TestOperatorsEvict(t *testing.T) {
	url, address := testservers.Postgres(t), testservers.Redis(t)
	s := openTrackerSite(t, url, address, nil)
	s.seed()
	if err := s.cache.CatchUp(t.Context()); err != nil { // so that the seed does not evict anything later
		t.Fatal(err)
	}
	score, title := fmt.Sprintf(`{issue(id:%q){score}}`, bug), fmt.Sprintf(`{issue(id:%q){title}}`, bug)
	const members, grid = `{project(key:"core"){members{load}}}`, `{grid(size:3)}`
	all := []string{title, score, members, grid} // the second also reads what the first reads
	loaded := func(q string) bool {
		loads := s.cache.Stats().Loads.Load()
		responseTo(t, s.cached, ann, q)
		return s.cache.Stats().Loads.Load() != loads
	}
	for _, test := range []struct {
		name    string
		order   gqlcache.Order
		evicted []string
		n       int
	}{
		{"a key", gqlcache.Order{Keys: []string{"query:grid(size=3)", "query:grid(size=4)"}}, []string{grid}, 1},
		{"a coordinate", gqlcache.Order{Coordinates: []string{"Issue.score"}}, []string{score}, 0},
		{"a tag of the schema", gqlcache.Order{Tags: []string{"grid"}}, []string{grid}, 0},
		{"a tag of entries", gqlcache.Order{Tags: []string{"{rows:members}"}}, []string{members}, 0},
		{"a type", gqlcache.Order{Types: []string{"Issue"}}, []string{score, title}, 0},
		{"a row", gqlcache.Order{Rows: []string{"issues:" + strings.ToUpper(bug)}}, []string{score, title, members}, 0},
		{"a row of two keys", gqlcache.Order{Rows: []string{"members:account_id=" + ann + "&project_key=core"}}, []string{members}, 0},
		{"a row that is not there", gqlcache.Order{Rows: []string{"projects:none"}}, []string{members}, 0},
		{"several", gqlcache.Order{Tags: []string{"grid"}, Coordinates: []string{"Issue.score"}}, []string{grid, score}, 0},
	} {
		for _, q := range all {
			s.eventually(q+" is loaded although nothing changed", func() bool { loaded(q); return !loaded(q) })
		}
		n, err := s.orders().Evict(t.Context(), test.order)
		if err != nil || n != test.n {
			t.Errorf("%s: evicted %d entries, error %v; want %d", test.name, n, err, test.n)
		}
		for _, q := range all {
			if got, want := loaded(q), slices.Contains(test.evicted, q); got != want {
				t.Errorf("%s: evicted %s: got %v, want %v", test.name, q, got, want)
			}
		}
	}

	soft := gqlcache.Order{Coordinates: []string{"Query.grid"}, Soft: true}
	s.eventually("the grid is loaded although nothing changed", func() bool { return !loaded(grid) })
	revalidating := s.cache.Stats().Revalidating.Load()
	if _, err := s.orders().Evict(t.Context(), soft); err != nil {
		t.Fatal(err)
	}
	meter := s.cache.Meter("Query.grid")
	missed := meter.Missed.Load()
	refreshes := s.cache.Stats().Refreshes.Load()
	responseTo(t, s.cached, ann, grid)
	if s.cache.Stats().Revalidating.Load() == revalidating || meter.Missed.Load() != missed || s.cache.Stats().Refreshes.Load() == refreshes {
		t.Error("the read after a soft eviction waited, or did not begin a refresh")
	}
	s.eventually("the value stays soft", func() bool {
		revalidating := s.cache.Stats().Revalidating.Load()
		responseTo(t, s.cached, ann, grid)
		return s.cache.Stats().Revalidating.Load() == revalidating
	})

	_, err := s.orders().Evict(t.Context(), gqlcache.Order{
		Types: []string{"Nothing"}, Coordinates: []string{"Issue.nothing", "Issue.title"}, Rows: []string{"nothing:1", "issues:x", "members:" + ann}, Tags: []string{"grid"},
	})
	if !errors.Is(err, gqlcache.ErrNames) || strings.Count(err.Error(), "\n") != 5 || !strings.Contains(err.Error(), "Issue.title by itself: evict the type Issue") {
		t.Errorf("unknown names: got error %v", err)
	}
	if loaded(grid) {
		t.Error("an invalid order evicted something")
	}
}
