package gqlcache

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
)

// newHints is the extension on a schema.
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

// What is known before an operation runs, and what it has to be watched for.
func TestPlan(t *testing.T) {
	t.Parallel()
	h := contract(t)
	for name, c := range map[string]struct {
		query   string
		static  string
		watched []string
	}{
		"nothing can lower it":                  {`{ user(id: 1) { name country { name } reviews { nodes { body product { name price { amount } } } } } }`, "max-age=60, public", nil},
		"neither can an object that inherits":   {`{ product(id: 1) { name price { amount currency } reviews { totalCount } } }`, "max-age=3600, public", []string{"Product.price", "Product.reviews"}},
		"a field of less age":                   {`{ product(id: 1) { name stock } }`, "max-age=3600, public", []string{"Product.stock"}},
		"a private field":                       {`{ user(id: 1) { name email } }`, "max-age=60, public", []string{"User.email"}},
		"private below what is private already": {`{ me { email orders { nodes { total { amount } } } } }`, "max-age=60, private", nil},
		"several root fields":                   {`{ countries { name } user(id: 1) { name } }`, "max-age=60, public", nil},
		"each is its own fields' measure":       {`{ user(id: 1) { name } products { nodes { stock } } }`, "max-age=60, public", []string{"Product.stock"}},
		"types of a union that allow more":      {`{ search(text: "x") { ... on User { name } ... on Product { name stock } } }`, "max-age=30, public", nil},
		"a private field behind a union":        {`{ search(text: "x") { ... on User { email } } }`, "max-age=30, public", []string{"User.email"}},
		"a variable at the root":                {`query($on: Boolean!) { countries { name } me @include(if: $on) { name } }`, "max-age=86400, public", []string{"Query.me"}},
		"a variable below what counts the same": {`query($on: Boolean!) { user(id: 1) { name @skip(if: $on) bio } }`, "max-age=60, public", nil},
		"what is never selected":                {`{ user(id: 1) { name email @skip(if: true) } }`, "max-age=60, public", nil},
		"a fragment in two places":              {`{ a: user(id: 1) { ...F } me { ...F } } fragment F on User { email }`, "max-age=60, private", []string{"User.email"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlan(h.schema, h.objects, h.parse(t, c.query))
			if got := p.static.overall().Header(); got != c.static {
				t.Errorf("static: got %s, want %s", got, c.static)
			}
			var watched []string
			for f, all := range p.watched {
				for _, at := range all {
					watched = append(watched, at.of.name+"."+f.Name)
				}
			}
			slices.Sort(watched)
			if !slices.Equal(watched, c.watched) {
				t.Errorf("watched: got %v, want %v", watched, c.watched)
			}
		})
	}
}

// Each fragment spreads the next one twice: a plan that followed each spread would visit 2^200 of them.
func TestPlanOfManySpreads(t *testing.T) {
	t.Parallel()
	h := newHints(t, `type Query { a: Query x: Int } directive @cacheControl(maxAge: Int) on FIELD_DEFINITION`)
	var query strings.Builder
	query.WriteString("{ ...F0 }")
	for i := range 200 {
		fmt.Fprintf(&query, " fragment F%d on Query { ...F%d ...F%d x }", i, i+1, i+1)
	}
	query.WriteString(" fragment F200 on Query { x }")
	if p := newPlan(h.schema, h.objects, h.parse(t, query.String())); len(p.roots) != 1 {
		t.Errorf("roots: %v", p.roots)
	}
}

// An operation is planned once, whoever asks, and its plan goes when the operation does.
func TestPlansAreKeptWithTheirOperation(t *testing.T) {
	t.Parallel()
	h := contract(t)
	op := h.parse(t, `{ countries { name } }`)
	var asking sync.WaitGroup
	got := make([]*plan, 10)
	for i := range got {
		asking.Go(func() {
			got[i] = h.plans.get(op, func() *plan { return newPlan(h.schema, h.objects, op) })
		})
	}
	asking.Wait()
	if slices.ContainsFunc(got, func(p *plan) bool { return p != got[0] }) {
		t.Error("two plans of one operation")
	}
	again := h.plans.get(op, func() *plan { t.Error("planned anew"); return nil })
	if again != got[0] {
		t.Error("another plan")
	}
	runtime.KeepAlive(op)
	op = nil
	for deadline := time.Now().Add(10 * time.Second); h.plans.len() > 0; {
		if time.Now().After(deadline) {
			t.Fatal("the plan outlives its operation")
		}
		runtime.GC()
	}
}

func (p *plans) len() (n int) {
	p.of.Range(func(any, any) bool { n++; return true })
	return n
}

// What the extension adds to resolving a field: where nothing can lower the policy, where something could
// but not this field, and for a field that counts.
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
			col := &collector{hints: h, plan: newPlan(h.schema, h.objects, op)}
			col.age.Store(int64(unbounded))
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

// No field costs an allocation, whether it counts or not.
func TestCountingDoesNotAllocate(t *testing.T) {
	h := contract(t)
	op := h.parse(t, `{ product(id: 1) { stock } }`)
	root := op.SelectionSet[0].(*ast.Field)
	col := &collector{hints: h, plan: newPlan(h.schema, h.objects, op)}
	col.age.Store(int64(unbounded))
	above := &graphql.FieldContext{Object: "Query", Field: graphql.CollectedField{Field: root}}
	fc := &graphql.FieldContext{Object: "Product", Parent: above, Field: graphql.CollectedField{Field: root.SelectionSet[0].(*ast.Field)}}
	if n := testing.AllocsPerRun(100, func() { col.count(fc, nil) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if got := time.Duration(col.age.Load()); got != 30*time.Second {
		t.Errorf("counted %v", got)
	}
}
