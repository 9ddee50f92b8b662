package gqlcache

import (
	"os"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache/policy"
)

// newHints returns the extension for a schema.
func newHints(t testing.TB, text string) *Hints {
	t.Helper()
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "test", Input: text})
	if err != nil {
		t.Fatal(err)
	}
	h := &Hints{}
	if err := h.Validate(&graphql.ExecutableSchemaMock{SchemaFunc: func() *ast.Schema { return schema }}); err != nil {
		t.Fatal(err)
	}
	return h
}

func contract(t testing.TB) *Hints {
	t.Helper()
	text, err := os.ReadFile("../../graph/testdata/contract.graphqls")
	if err != nil {
		t.Fatal(err)
	}
	return newHints(t, string(text))
}

func (h *Hints) parse(t testing.TB, query string) *ast.OperationDefinition {
	t.Helper()
	doc, err := gqlparser.LoadQueryWithRules(h.schema, query, nil)
	if err != nil {
		t.Fatal(err)
	}
	return doc.Operations[0]
}

// BenchmarkField measures what the extension adds to resolving a field: if no field can lower the
// policy, if another field can, and if this field can.
func BenchmarkField(b *testing.B) {
	h := contract(b)
	for name, c := range map[string]struct{ query, object string }{
		"nothing watched":       {`{ user(id: 1) { name } }`, "User"},
		"another field watched": {`{ product(id: 1) { name stock } }`, "Product"},
		"watched":               {`{ product(id: 1) { stock name } }`, "Product"},
	} {
		b.Run(name, func(b *testing.B) {
			op := h.parse(b, c.query)
			root := op.SelectionSet[0].(*ast.Field)
			col := &collector{hints: h, plan: policy.NewPlan(h.schema, h.objects, op)}
			col.age.Store(int64(policy.Unlimited().Age))
			ctx := graphql.WithFieldContext(b.Context(), &graphql.FieldContext{Object: "Query"})
			ctx = graphql.WithFieldContext(ctx, &graphql.FieldContext{Object: "Query", Field: graphql.CollectedField{Field: root}})
			ctx = graphql.WithFieldContext(ctx, &graphql.FieldContext{Object: c.object, Field: graphql.CollectedField{Field: root.SelectionSet[0].(*ast.Field)}})
			value := any("x")
			b.ReportAllocs()
			for b.Loop() {
				col.resolved(ctx, value)
			}
		})
	}
}

// A field that can lower the policy costs no allocation.
func TestCountingDoesNotAllocate(t *testing.T) {
	h := contract(t)
	op := h.parse(t, `{ product(id: 1) { stock } }`)
	root := op.SelectionSet[0].(*ast.Field)
	col := &collector{hints: h, plan: policy.NewPlan(h.schema, h.objects, op)}
	col.age.Store(int64(policy.Unlimited().Age))
	above := &graphql.FieldContext{Object: "Query", Field: graphql.CollectedField{Field: root}}
	fc := &graphql.FieldContext{Object: "Product", Parent: above, Field: graphql.CollectedField{Field: root.SelectionSet[0].(*ast.Field)}}
	if n := testing.AllocsPerRun(100, func() { col.count(fc, nil) }); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
	if got := time.Duration(col.age.Load()); got != 30*time.Second {
		t.Errorf("got age %v, want 30s", got)
	}
}
