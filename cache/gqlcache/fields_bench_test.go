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

// requester returns a function that executes a query as a request does, but does not write the
// response.
func requester(tb testing.TB, exec *executor.Executor, query string) func() {
	exec.SetQueryCache(lru.New[*ast.QueryDocument](10))
	traced := graphql.StartOperationTrace(tracker.WithViewer(context.Background(), ann))
	return func() {
		rc, errs := exec.CreateOperationContext(traced, &graphql.RawParams{Query: query})
		if errs != nil {
			tb.Fatal(errs)
		}
		responses, ctx := exec.DispatchOperation(traced, rc)
		if r := responses(ctx); len(r.Errors) > 0 {
			tb.Fatal(r.Errors)
		}
	}
}

// BenchmarkFieldHit compares a cached field with the same field and a trivial resolver. The
// difference is the cost of a hit in memory, including what the cache adds to the operation.
func BenchmarkFieldHit(b *testing.B) {
	s := newTrackerSite(b)
	for _, bench := range []struct {
		name string
		exec *executor.Executor
	}{{"uncached", s.plain}, {"cached", s.cached}} {
		b.Run(bench.name, func(b *testing.B) {
			request := requester(b, bench.exec, `{motto}`)
			b.ReportAllocs()
			for b.Loop() {
				request()
			}
		})
	}
}

// BenchmarkBatchHit compares hits of the 20 fields of a level, with a plain resolver and with one
// of gqlgen's batch resolvers. It also measures the query without such a field.
func BenchmarkBatchHit(b *testing.B) {
	s := newTrackerSite(b)
	s.seed()
	s.addIssues(20)
	for _, bench := range []struct{ name, query string }{
		{"parents only", `{account(handle:"ann"){issues{number}}}`},
		{"a plain resolver", `{account(handle:"ann"){issues{number commentCount}}}`},
		{"a batch resolver", `{account(handle:"ann"){issues{number mentions}}}`},
	} {
		b.Run(bench.name, func(b *testing.B) {
			request := requester(b, s.cached, bench.query)
			b.ReportAllocs()
			for b.Loop() {
				request()
			}
		})
	}
}

// A hit in memory costs at most six allocations more than a trivial resolver.
func TestAHitAllocatesLittle(t *testing.T) {
	s := newTrackerSite(t)
	allocs := func(exec *executor.Executor) float64 {
		request := requester(t, exec, `{motto}`)
		request()
		least := testing.AllocsPerRun(300, request)
		for range 5 { // other goroutines allocate as well
			least = min(least, testing.AllocsPerRun(300, request))
		}
		return least
	}
	uncached, cached := allocs(s.plain), allocs(s.cached)
	t.Logf("%v allocations uncached, %v cached", uncached, cached)
	if cached-uncached > 6 {
		t.Errorf("got %v allocations for a hit, %v for a resolver; want at most 6 more", cached, uncached)
	}
}
