package graph

import (
	"context"
	"encoding/json"
	"testing"

	gqlgen "github.com/99designs/gqlgen/complexity"
	"github.com/99designs/gqlgen/graphql"
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
		"less than one":           {`{ leaves(first: 0) { id } }`, nil, 1 + 1},
		"more than is allowed":    {`{ leaves(first: 1000000) { id } }`, nil, 1 + maxFirst},
		"no number said":          {`{ maybe { id } }`, nil, 1 + maxFirst},
		"null":                    {`{ maybe(first: null) { id } }`, nil, 1 + maxFirst},
		"by an interface":         {`{ node { children { id } } }`, nil, 1 + 1 + 3},
		"no argument":             {`{ all { id } }`, nil, 1 + 1},
		"another kind of first":   {`{ word(first: "a") { id } }`, nil, 1 + 1},
		"the schema says it":      {`{ said { id } }`, nil, 7},
		"what every type can say": {`{ leaves(first: 2) { __typename } }`, nil, 1 + 2},
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
