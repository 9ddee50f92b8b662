package gqlcache_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
	"fieldcache/internal/tracker"
)

// countingQuery resolves one field, whose rows are declared.
type countingQuery struct {
	tracker.QueryResolver
	written func(context.Context) (int, error)
}

type counting struct {
	*tracker.Resolver
	written func(context.Context) (int, error)
}

func (c counting) Query() tracker.QueryResolver { return countingQuery{written: c.written} }

func (q countingQuery) Written(ctx context.Context, _ *string) (int, error) { return q.written(ctx) }

// fleeting is a source whose values are not stored.
type fleeting struct{}

func (fleeting) Load(_ context.Context, requests []cache.Request) ([]any, cache.Snapshot, error) {
	values := make([]any, len(requests))
	for i := range values {
		values[i] = &cache.Loaded{Value: "x", Unstored: "for a test"}
	}
	return values, cache.Snapshot{}, nil
}

func (fleeting) Also(cache.Request) []cache.Request { return nil }

func (fleeting) Decode(cache.Request, []byte) (any, error) { return "x", nil }

// The own statements of a field with declared rows do not prevent its value from being stored. They
// must not hide another reason that does.
func TestOwnStatementsHideNoOtherReason(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		part   bool                                // whether the resolver reads through the cache what is not stored
		report func(context.Context, *cache.Watch) // how its statement is reported
		stored bool
	}{
		"a statement":                       {report: statement, stored: true},
		"a statement, and an unstored part": {part: true, report: statement},
		"a statement with a context of its own, and an unstored part": {part: true, report: func(_ context.Context, w *cache.Watch) { statement(context.Background(), w) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, end := exampleDatabase()
			t.Cleanup(end)
			var g *gqlcache.Gateway
			calls, watch := 0, new(cache.Watch)
			schema := tracker.NewExecutableSchema(tracker.Config{Resolvers: counting{written: func(ctx context.Context) (int, error) {
				calls++
				if test.part {
					r := cache.Request{Item: cache.Item{Key: "part", MaxAge: time.Minute}, Source: fleeting{}}
					if got := gqlcache.CacheOf(g).Load(ctx, []cache.Request{r})[0]; got.Err != nil {
						return 0, got.Err
					}
				}
				test.report(ctx, watch)
				return 1, nil
			}}})
			g, err := gqlcache.Open(t.Context(), schema, gqlcache.Patient(gqlcache.Options{Database: db, Watch: watch, Log: slog.New(slog.DiscardHandler)}))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = g.Close() }()
			srv := newServer(schema, g)
			for range 2 {
				if got := exampleAsk(srv, `{written}`); got != `{"data":{"written":1}}` {
					t.Fatal(got)
				}
			}
			if stored := calls == 1; stored != test.stored {
				t.Errorf("got %d calls of the resolver for 2 requests, want the value stored: %v", calls, test.stored)
			}
		})
	}
}

// statement reports a statement.
func statement(ctx context.Context, w *cache.Watch) {
	w.Began(ctx, "SELECT 1")
	w.Ended(ctx, "SELECT 1")
}
