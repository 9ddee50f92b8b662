package gqlcache_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
	"fieldcache/cache/policy"
)

// age and scope return hints.
func age(seconds int) gqlcache.Hint {
	return gqlcache.Hint{MaxAge: new(time.Duration(seconds) * time.Second)}
}

func scope(s cache.Scope) gqlcache.Hint { return gqlcache.Hint{Scope: &s} }

// calling returns a resolver that calls each function in turn.
func calling(each ...func(context.Context)) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, say := range each {
			say(ctx)
		}
		return nil
	}
}

func set(h gqlcache.Hint) func(context.Context) {
	return func(ctx context.Context) { gqlcache.SetHint(ctx, h) }
}

func restrict(h gqlcache.Hint) func(context.Context) {
	return func(ctx context.Context) { gqlcache.Restrict(ctx, h) }
}

func TestDynamicHints(t *testing.T) {
	t.Parallel()
	const shop = `
		type Query { a: A x: Int bare: Bare mine: A @cacheControl(scope: PRIVATE) any: Any }
		type A @cacheControl(maxAge: 60) { x: Int b: B @cacheControl(maxAge: 90) list: [B] @cacheControl(maxAge: 60) }
		type B { x: Int y: Int @cacheControl(maxAge: 70, scope: PRIVATE) }
		type Bare { x: Int }
		union Any @cacheControl(maxAge: 60) = Secret
		type Secret @cacheControl(maxAge: 30, scope: PRIVATE) { x: Int }
		type Mutation { a: A }
	`
	type resolvers = map[string]func(context.Context) error
	check(t, shop, map[string]policyCase{
		"set replaces: more":                            {query: `{ a { x } }`, resolvers: resolvers{"Query.a": calling(set(age(120)))}, want: "max-age=120, public"},
		"set replaces: less":                            {query: `{ a { x } }`, resolvers: resolvers{"Query.a": calling(set(age(5)))}, want: "max-age=5, public"},
		"set replaces: 0":                               {query: `{ a { x } }`, resolvers: resolvers{"Query.a": calling(set(age(0)))}, want: noStore},
		"set replaces: a negative age is 0":             {query: `{ a { x } }`, resolvers: resolvers{"Query.a": calling(set(age(-5)))}, want: noStore},
		"set replaces an earlier one":                   {query: `{ a { x } }`, resolvers: resolvers{"Query.a": calling(set(age(5)), set(age(90)))}, want: "max-age=90, public"},
		"set only the scope":                            {query: `{ a { x } }`, resolvers: resolvers{"Query.a": calling(set(scope(cache.Private)))}, want: private},
		"set the scope: public again":                   {query: `{ mine { x } }`, resolvers: resolvers{"Query.mine": calling(set(scope(cache.Public)))}, want: minute},
		"set attribute by attribute":                    {query: `{ a { x } }`, resolvers: resolvers{"Query.a": calling(set(scope(cache.Private)), set(age(90)))}, want: "max-age=90, private"},
		"set on a root field without a hint":            {query: `{ x bare { x } }`, resolvers: resolvers{"Query.x": calling(set(age(60))), "Query.bare": calling(set(age(70)))}, want: minute},
		"set on one of two without a hint":              {query: `{ x bare { x } }`, resolvers: resolvers{"Query.x": calling(set(age(60)))}, want: noStore},
		"set on a scalar below":                         {query: `{ a { x } }`, resolvers: resolvers{"A.x": calling(set(age(5)))}, want: "max-age=5, public"},
		"set more than the parent":                      {query: `{ a { x } }`, resolvers: resolvers{"A.x": calling(set(age(90)))}, want: minute},
		"set on an alias":                               {query: `{ other: a { x } a { x } }`, resolvers: resolvers{"Query.a": calling(set(age(120)))}, want: "max-age=120, public"},
		"a field below a root that sets more":           {query: `{ a { b { x } } }`, resolvers: resolvers{"Query.a": calling(set(age(120)))}, want: "max-age=90, public"},
		"an absent field below it":                      {query: `{ a { b { y } } }`, data: `{"a": {"__typename": "A", "b": null}}`, resolvers: resolvers{"Query.a": calling(set(age(120)))}, want: "max-age=90, public"},
		"private below a root that sets public":         {query: `{ mine { b { y } } }`, resolvers: resolvers{"Query.mine": calling(set(scope(cache.Public)))}, want: private},
		"a type of a union below a root that sets more": {query: `{ any { __typename } }`, data: `{"any": {"__typename": "Secret"}}`, resolvers: resolvers{"Query.any": calling(set(age(120)))}, want: "max-age=30, private"},
		"set in items: the lowest":                      {query: `{ a { list { x } } }`, data: `{"a": {"__typename": "A", "list": [{"__typename": "B"}, {"__typename": "B"}]}}`, resolvers: resolvers{"B.x": everyOther(set(age(5)))}, want: "max-age=5, public"},
		"set in one item: the others as the schema":     {query: `{ a { list { y } } }`, data: `{"a": {"__typename": "A", "list": [{"__typename": "B"}, {"__typename": "B"}]}}`, resolvers: resolvers{"B.y": everyOther(set(scope(cache.Public)))}, want: private},
		"set in every item":                             {query: `{ a { list { y } } }`, data: `{"a": {"__typename": "A", "list": [{"__typename": "B"}, {"__typename": "B"}]}}`, resolvers: resolvers{"B.y": calling(set(scope(cache.Public)))}, want: minute},

		"restrict lowers":                       {query: `{ a { x } }`, resolvers: resolvers{"Query.a": calling(restrict(age(5)))}, want: "max-age=5, public"},
		"restrict does not raise":               {query: `{ a { x } }`, resolvers: resolvers{"Query.a": calling(restrict(age(90)))}, want: minute},
		"restrict: the lowest in any order":     {query: `{ a { x } }`, resolvers: resolvers{"Query.a": calling(restrict(age(7)), restrict(age(5)), restrict(age(9)))}, want: "max-age=5, public"},
		"restrict: 0 sticks":                    {query: `{ a { x } }`, resolvers: resolvers{"Query.a": calling(restrict(age(0)), restrict(age(5)))}, want: noStore},
		"restrict: PRIVATE sticks":              {query: `{ a { x } }`, resolvers: resolvers{"Query.a": calling(restrict(scope(cache.Private)), restrict(scope(cache.Public)))}, want: private},
		"restrict after set":                    {query: `{ a { x } }`, resolvers: resolvers{"Query.a": calling(set(age(90)), restrict(age(70)))}, want: "max-age=70, public"},
		"restrict before set holds":             {query: `{ a { x } }`, resolvers: resolvers{"Query.a": calling(restrict(age(70)), set(age(90)))}, want: "max-age=70, public"},
		"restrict before set: PRIVATE holds":    {query: `{ a { x } }`, resolvers: resolvers{"Query.a": calling(restrict(scope(cache.Private)), set(scope(cache.Public)))}, want: private},
		"restrict on a field without a hint":    {query: `{ x }`, resolvers: resolvers{"Query.x": calling(restrict(age(60)))}, want: minute},
		"restrict the scope of one without":     {query: `{ x }`, resolvers: resolvers{"Query.x": calling(restrict(scope(cache.Private)))}, want: noStore},
		"restrict a scalar below":               {query: `{ a { x } }`, resolvers: resolvers{"A.x": calling(restrict(scope(cache.Private)))}, want: private},
		"restrict a watched field":              {query: `{ a { b { y } } }`, resolvers: resolvers{"B.y": calling(restrict(age(5)))}, want: "max-age=5, private"},
		"a mutation stays no-store":             {query: `mutation { a { x } }`, resolvers: resolvers{"Mutation.a": calling(set(age(90)), restrict(age(60)))}, want: noStore},
		"a hint in a field that does not count": {query: `{ __typename a { b { x } } }`, resolvers: resolvers{"A.b": calling(set(age(30)))}, want: "max-age=30, public"},
	})
}

// everyOther returns a resolver that calls say in the first of two calls.
func everyOther(say func(context.Context)) func(context.Context) error {
	var calls atomic.Int64
	return func(ctx context.Context) error {
		if calls.Add(1)%2 == 1 {
			say(ctx)
		}
		return nil
	}
}

// A goroutine of a resolver may give a hint after the resolver has returned. Such a hint can only
// lower the policy.
func TestLateHintsLower(t *testing.T) {
	t.Parallel()
	var late context.Context
	k := policyCase{
		schema: `type Query { a: A b: A } type A @cacheControl(maxAge: 60) { x: Int }`, query: `{ a { x } }`,
		resolvers: map[string]func(context.Context) error{
			"Query.a": func(ctx context.Context) error { late = ctx; return nil },
			"A.x": func(context.Context) error {
				gqlcache.SetHint(late, age(120))
				gqlcache.Restrict(late, scope(cache.Private))
				return nil
			},
		},
		want: private,
	}
	check(t, "", map[string]policyCase{"a late hint": k})
}

func TestHintsOfConcurrentResolvers(t *testing.T) {
	t.Parallel()
	var items []any
	for range 100 {
		items = append(items, map[string]any{"__typename": "A"})
	}
	w := (&policyCase{schema: `type Query { list: [A] @cacheControl(maxAge: 60) } type A { x: Int }`}).world(t)
	w.data = map[string]any{"list": items}
	seconds := make(chan int, len(items))
	for i := range items {
		seconds <- 1000 - i
	}
	w.resolvers = map[string]func(context.Context) error{"A.x": func(ctx context.Context) error {
		n := <-seconds
		var both sync.WaitGroup
		both.Go(func() { gqlcache.SetHint(ctx, age(n)) })
		both.Go(func() { gqlcache.Restrict(ctx, age(n-899)) })
		both.Wait()
		return nil
	}}
	if got := run(t, w, graphql.RawParams{Query: `{ list { x } }`}).overall.Header(); got != "max-age=2, public" {
		t.Errorf("got %s, want max-age=2, public", got)
	}
}

func TestHintsOutsideOfAField(t *testing.T) {
	t.Parallel()
	gqlcache.SetHint(t.Context(), age(5))
	gqlcache.Restrict(t.Context(), age(5))
	if o := policy.OverallOf(t.Context()); o != (policy.Overall{}) {
		t.Errorf("got %+v, want the zero policy", o)
	}
}
