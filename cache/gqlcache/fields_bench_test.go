package gqlcache_test

import (
	"context"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/99designs/gqlgen/graphql/handler/lru"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/internal/tracker"
)

// BenchmarkField compares a field that is cached with the same one resolved by a resolver that does
// next to nothing: the difference is what a hit in memory costs.
func BenchmarkField(b *testing.B) {
	s := newTrackerSite(b)
	for _, bench := range []struct {
		name string
		exec *executor.Executor
	}{{"uncached", s.plain}, {"cached", s.cached}} {
		b.Run(bench.name, func(b *testing.B) {
			bench.exec.SetQueryCache(lru.New[*ast.QueryDocument](10))
			begun := graphql.StartOperationTrace(tracker.WithViewer(context.Background(), ""))
			b.ReportAllocs()
			for b.Loop() {
				rc, errs := bench.exec.CreateOperationContext(begun, &graphql.RawParams{Query: `{motto}`})
				if errs != nil {
					b.Fatal(errs)
				}
				responses, ctx := bench.exec.DispatchOperation(begun, rc)
				if r := responses(ctx); len(r.Errors) > 0 {
					b.Fatal(r.Errors)
				}
			}
		})
	}
}
