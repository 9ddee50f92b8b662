package graph_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
	"fieldcache/cache/outbox"
	"fieldcache/cache/policy"
	"fieldcache/dataloader"
	"fieldcache/db"
	"fieldcache/graph"
)

// planned is what a schema determines about the cache.
type planned struct {
	policies *policy.Policies
	kinds    *dataloader.Kinds
	fields   *gqlcache.FieldPlan
}

func planOf(schema graphql.ExecutableSchema, d *db.DB) (p planned, err error) {
	if p.policies, err = policy.ReadPolicies(schema.Schema()); err != nil {
		return p, err
	}
	p.kinds, err = dataloader.NewKinds(d, p.policies.Of)
	if err != nil {
		return p, err
	}
	p.fields, err = gqlcache.PlanFields(schema, p.kinds.Stored()...)
	return p, err
}

// cachedRows are the rows that cached values of the shop are made of.
var cachedRows = func() []outbox.Rows {
	p, err := planOf(graph.NewSchema(nil, slog.Default()), nil)
	if err != nil {
		panic(err)
	}
	return p.fields.Rows()
}()

// load makes loaders that read d, and the fields that are cached beside them.
func (p planned) load(t testing.TB, c *cache.Cache, d *db.DB, log *slog.Logger) (*dataloader.Factory, *gqlcache.Fields) {
	t.Helper()
	rows, err := d.RowTags(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	loaders := dataloader.New(c, p.kinds, rows.Evictions)
	// A batch runs when its count is complete. If the count is wrong, this makes tests so slow that
	// they fail.
	loaders.Patience = time.Minute
	fields, err := gqlcache.NewFields(gqlcache.FieldsOptions{
		Cache: c, Plan: p.fields, Rows: rows, Viewer: viewerOf, Batch: batchOf, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	return loaders, fields
}

// batchOf returns the cache batch of an operation's loaders.
func batchOf(ctx context.Context) *cache.Batch { return dataloader.For(ctx).Batch() }

// viewerOf identifies the viewer.
func viewerOf(ctx context.Context) string {
	if v := graph.ViewerFrom(ctx); v.ID != 0 {
		return fmt.Sprint(v.ID, v.Admin)
	}
	return ""
}

// untrue returns the eviction for a commit.
func (s *shop) untrue(t testing.TB, c db.Commit) cache.Eviction {
	t.Helper()
	rows, err := s.db.RowTags(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return rows.Evictions(c.Changes...)
}
