package graph

import (
	"context"
	"encoding/json"
	"testing"

	gqlgen "github.com/99designs/gqlgen/complexity"
	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/handler/extension"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
)

// The cost of a list follows from the schema's argument first, for any schema.
func TestComplexityFollowsFromFirst(t *testing.T) {
	t.Parallel()
	schema := gqlparser.MustLoadSchema(&ast.Source{Input: `
		interface Node { children(first: Int! = 3): [Leaf!]! }
		type Leaf implements Node { id: ID! children(first: Int! = 3): [Leaf!]! }
		type Query {
			leaves(first: Int! = 20): [Leaf!]!
			maybe(first: Int): [Leaf!]!
			node: Node
			all: [Leaf!]!
			said(first: Int! = 20): [Leaf!]!
			word(first: String): [Leaf!]!
		}`})
	es := sizedLists{&graphql.ExecutableSchemaMock{
		SchemaFunc: func() *ast.Schema { return schema },
		ComplexityFunc: func(_ context.Context, _, field string, child int, _ map[string]any) (int, bool) {
			return 7, field == "said"
		},
	}}
	for name, c := range map[string]struct {
		query     string
		variables map[string]any
		want      int
	}{
		"the default":             {`{ leaves { id } }`, nil, 1 + 20},
		"a number":                {`{ leaves(first: 5) { id } }`, nil, 1 + 5},
		"a variable":              {`query($n: Int!) { leaves(first: $n) { id } }`, map[string]any{"n": json.Number("6")}, 1 + 6},
		"a variable as an int":    {`query($n: Int!) { leaves(first: $n) { id } }`, map[string]any{"n": int64(6)}, 1 + 6},
		"lists of lists":          {`{ leaves(first: 5) { children(first: 4) { id } } }`, nil, 1 + 5*(1+4)},
		"first below 1":           {`{ leaves(first: 0) { id } }`, nil, 1 + 1},
		"first above the maximum": {`{ leaves(first: 1000000) { id } }`, nil, 1 + maxFirst},
		"first is null":           {`{ maybe { id } }`, nil, 1 + maxFirst},
		"null":                    {`{ maybe(first: null) { id } }`, nil, 1 + maxFirst},
		"by an interface":         {`{ node { children { id } } }`, nil, 1 + 1 + 3},
		"no argument":             {`{ all { id } }`, nil, 1 + 1},
		"another kind of first":   {`{ word(first: "a") { id } }`, nil, 1 + 1},
		"a default in the schema": {`{ said { id } }`, nil, 7},
		"__typename":              {`{ leaves(first: 2) { __typename } }`, nil, 1 + 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			doc, errs := gqlparser.LoadQueryWithRules(schema, c.query, nil)
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			if got := gqlgen.Calculate(t.Context(), es, doc.Operations[0], c.variables); got != c.want {
				t.Errorf("%s costs %d, want %d", c.query, got, c.want)
			}
		})
	}
}

// An operation whose cost does not depend on variables is computed once. The others are computed for
// each request, and what exceeds the limit is refused each time.
func TestComplexityIsComputedOnce(t *testing.T) {
	t.Parallel()
	schema := gqlparser.MustLoadSchema(&ast.Source{Input: `
		type Leaf { id: ID! children(first: Int! = 3, of: Filter): [Leaf!]! }
		input Filter { first: Int }
		type Query { leaf(id: ID!): Leaf, leaves(first: Int! = 20): [Leaf!]! }`})
	for name, c := range map[string]struct {
		query     string
		variables []map[string]any // of one request each
		limit     int
		costs     []int // -1: refused
		once      bool
	}{
		"without variables": {`{ leaves(first: 5) { id } }`, []map[string]any{nil, nil}, 10, []int{6, 6}, true},
		"an ID": {
			`query($id: ID!) { leaf(id: $id) { children { id } } }`,
			[]map[string]any{{"id": "1"}, {"id": "2"}},
			10, []int{5, 5}, true,
		},
		"a number": {
			`query($n: Int!) { leaves(first: $n) { id } }`,
			[]map[string]any{{"n": int64(2)}, {"n": int64(9)}, {"n": int64(11)}, {"n": int64(2)}},
			10, []int{3, 10, -1, 3}, false,
		},
		"a number below a fragment": {
			`query($n: Int!) { leaf(id: 1) { ...f } } fragment f on Leaf { ... on Leaf { children(first: $n) { id } } }`,
			[]map[string]any{{"n": int64(2)}, {"n": int64(9)}},
			10, []int{4, -1}, false,
		},
		"a field of an input": {
			`query($n: Int) { leaf(id: 1) { children(of: {first: $n}) { id } } }`,
			[]map[string]any{{"n": int64(2)}, {"n": int64(9)}},
			10, []int{5, 5}, false,
		},
		"too much": {`{ leaves { id } }`, []map[string]any{nil, nil}, 10, []int{-1, -1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			calls := 0
			limit := newComplexityLimit(c.limit)
			err := limit.Validate(&graphql.ExecutableSchemaMock{
				SchemaFunc: func() *ast.Schema { return schema },
				ComplexityFunc: func(context.Context, string, string, int, map[string]any) (int, bool) {
					calls++
					return 0, false
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			doc, errs := gqlparser.LoadQueryWithRules(schema, c.query, nil)
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			one := 0
			for i, variables := range c.variables {
				oc := &graphql.OperationContext{Doc: doc, Operation: doc.Operations[0], Variables: variables}
				refused := limit.MutateOperationContext(t.Context(), oc)
				stats, _ := oc.Stats.GetExtension("ComplexityLimit").(*extension.ComplexityStats)
				switch {
				case stats == nil || stats.ComplexityLimit != c.limit:
					t.Errorf("request %d has the statistics %+v", i, stats)
				case (refused != nil) != (c.costs[i] < 0):
					t.Errorf("request %d: got the error %v, want a refusal: %t", i, refused, c.costs[i] < 0)
				case refused == nil && stats.Complexity != c.costs[i]:
					t.Errorf("request %d costs %d, want %d", i, stats.Complexity, c.costs[i])
				}
				if i == 0 {
					one = calls
				}
			}
			if one == 0 || c.once != (calls == one) {
				t.Errorf("%d costs of fields were computed, %d of them for the first request; computed once: want %t", calls, one, c.once)
			}
		})
	}
}
