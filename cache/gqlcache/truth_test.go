package gqlcache_test

import (
	"testing"

	"fieldcache/cache/gqlcache"
	"fieldcache/internal/tracker"
)

func TestTruthOfCoordinates(t *testing.T) {
	plan, err := gqlcache.PlanFields(tracker.NewExecutableSchema(tracker.Config{Resolvers: &tracker.Resolver{}}))
	if err != nil {
		t.Fatal(err)
	}
	for coordinate, want := range map[string]gqlcache.Truth{
		"Project":           gqlcache.TruthRows,
		"Project.openCount": gqlcache.TruthRows,
		"Issue.score":       gqlcache.TruthRows, // by its parent
		"Query.issues":      gqlcache.TruthRows, // by its items
		"Query.grid":        gqlcache.TruthTags,
		"Query.motto":       gqlcache.TruthTTL,
		"Query.nothing":     gqlcache.TruthTTL,
	} {
		if got := plan.Truth(coordinate); got != want {
			t.Errorf("%s: got %s, want %s", coordinate, got, want)
		}
	}
}
