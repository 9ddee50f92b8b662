package policy_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache/policy"
)

func planOf(t testing.TB, schema *ast.Schema, query string) *policy.Plan {
	t.Helper()
	objects, err := policy.ReadObjects(schema)
	if err != nil {
		t.Fatal(err)
	}
	doc, errs := gqlparser.LoadQueryWithRules(schema, query, nil)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return policy.NewPlan(schema, objects, doc.Operations[0])
}

// A plan has the policy that is known before an operation runs, and the fields that must be watched
// while it runs.
func TestPlan(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../graph/testdata/contract.graphqls")
	if err != nil {
		t.Fatal(err)
	}
	schema := gqlparser.MustLoadSchema(&ast.Source{Input: string(text)})
	for name, c := range map[string]struct {
		query   string
		static  string
		watched []string
	}{
		"nothing can lower it":                        {`{ user(id: 1) { name country { name } reviews { nodes { body product { name price { amount } } } } } }`, "max-age=60, public", nil},
		"an object that inherits cannot lower it":     {`{ product(id: 1) { name price { amount currency } reviews { totalCount } } }`, "max-age=3600, public", []string{"Product.price", "Product.reviews"}},
		"a field of a lower max age":                  {`{ product(id: 1) { name stock } }`, "max-age=3600, public", []string{"Product.stock"}},
		"a private field":                             {`{ user(id: 1) { name email } }`, "max-age=60, public", []string{"User.email"}},
		"private below a private field":               {`{ me { email orders { nodes { total { amount } } } } }`, "max-age=60, private", nil},
		"several root fields":                         {`{ countries { name } user(id: 1) { name } }`, "max-age=60, public", nil},
		"each is its own fields' measure":             {`{ user(id: 1) { name } products { nodes { stock } } }`, "max-age=60, public", []string{"Product.stock"}},
		"types of a union with a higher max age":      {`{ search(text: "x") { ... on User { name } ... on Product { name stock } } }`, "max-age=30, public", nil},
		"a private field of a union's type":           {`{ search(text: "x") { ... on User { email } } }`, "max-age=30, public", []string{"User.email"}},
		"a variable at the root":                      {`query($on: Boolean!) { countries { name } me @include(if: $on) { name } }`, "max-age=86400, public", []string{"Query.me"}},
		"a variable below a field of the same policy": {`query($on: Boolean!) { user(id: 1) { name @skip(if: $on) bio } }`, "max-age=60, public", nil},
		"a field that is never selected":              {`{ user(id: 1) { name email @skip(if: true) } }`, "max-age=60, public", nil},
		"a fragment in two places":                    {`{ a: user(id: 1) { ...F } me { ...F } } fragment F on User { email }`, "max-age=60, private", []string{"User.email"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := planOf(t, schema, c.query)
			if got := p.Static.Overall().Header(); got != c.static {
				t.Errorf("static: got %s, want %s", got, c.static)
			}
			var watched []string
			for f, all := range p.Watched {
				for _, at := range all {
					watched = append(watched, at.Of.Name+"."+f.Name)
				}
			}
			slices.Sort(watched)
			if !slices.Equal(watched, c.watched) {
				t.Errorf("watched: got %v, want %v", watched, c.watched)
			}
		})
	}
}

// Each fragment spreads the next one twice. A plan that followed each spread would visit 2^200 of
// them.
func TestPlanOfManySpreads(t *testing.T) {
	t.Parallel()
	schema := gqlparser.MustLoadSchema(&ast.Source{Input: `type Query { a: Query x: Int } directive @cacheControl(maxAge: Int) on FIELD_DEFINITION`})
	var query strings.Builder
	query.WriteString("{ ...F0 }")
	for i := range 200 {
		fmt.Fprintf(&query, " fragment F%d on Query { ...F%d ...F%d x }", i, i+1, i+1)
	}
	query.WriteString(" fragment F200 on Query { x }")
	if p := planOf(t, schema, query.String()); len(p.Roots) != 1 {
		t.Errorf("got roots %v, want one", p.Roots)
	}
}
