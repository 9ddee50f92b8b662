package gqlcache_test

import (
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"fieldcache/cache/gqlcache"
	"fieldcache/internal/tracker"
)

// Statements that whole responses and cached fields save are counted. After Close the registry can
// be used again.
func TestStatementsSavedAreCounted(t *testing.T) {
	t.Parallel()
	a := adopt(t, "", nil)
	if err := a.gateway.Close(); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	for range 2 {
		schema := tracker.NewExecutableSchema(tracker.Config{Resolvers: &tracker.Resolver{DB: a.db}})
		g, err := gqlcache.Open(t.Context(), schema, gqlcache.Options{Database: a.db, Metrics: registry, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		saved := func() (n float64) {
			t.Helper()
			families, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range families {
				if f.GetName() == "fieldcache_statements_saved_total" {
					n = f.GetMetric()[0].GetCounter().GetValue()
				}
			}
			return n
		}
		url := listen(t, g.Handler(newServer(schema, g)))
		post(t, url, titleOf)
		if n := saved(); n != 0 {
			t.Errorf("got %v saved statements, want 0: nothing was cached", n)
		}
		for _, query := range []string{titleOf, "{other: issue(id:\"" + bug + "\"){title}}"} { // the whole response, and a field of it
			a.eventually("no load is saved by "+query, func() bool {
				before := saved()
				post(t, url, query)
				return saved() > before
			})
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		if families, err := registry.Gather(); err != nil || len(families) > 0 {
			t.Errorf("got %d metrics after Close, error %v", len(families), err)
		}
	}
}
