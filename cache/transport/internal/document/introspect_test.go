package document

import (
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/introspection"
)

// The introspection of a request is limited to what the whole schema takes, whatever the shape of
// the selection. Counting stops as soon as the limit is exceeded.
func TestIntrospectionIsBounded(t *testing.T) {
	t.Parallel()
	v := zoo(5000)
	limit := v.introspectionLimit()
	if limit < 1000 || limit > 20_000 {
		t.Fatalf("got limit %d, want 1000 to 20000", limit)
	}
	const nested = "fields { type { fields { type { name kind } args { type { name kind } } } } }" // a deeper one would not be valid
	many := strings.Repeat(nested, 20)
	for name, c := range map[string]struct {
		document string
		refused  bool
	}{
		"nothing":               {"{ name }", false},
		"a name":                {"{ __typename name }", false},
		"the whole schema":      {introspection.NewQuery(introspection.QueryOptions{OneOf: true}), false},
		"twice":                 {"{ a: __schema { ...S } b: __schema { ...S } } fragment S on __Schema { types { name fields { name type { name } } } }", false},
		"a type":                {`query($n: String!) { __type(name: $n) { name fields { name args { name type { name } } type { name } } } }`, false},
		"no type":               {`{ __type(name: "Unicorn") { ` + many + " } }", false},
		"types of fields":       {"{ __schema { types { " + nested + " } } }", false},
		"of fields, many times": {"{ __schema { types { " + many + " } } }", true},
		"of one type":           {`query($n: String!) { __type(name: $n) { ` + many + many + " } }", true},
		"in fragments":          {"{ ...Q } fragment Q on Query { __schema { types { ...T } } } fragment T on __Type { " + many + " }", true},
		"below a field":         {"{ self { self { __schema { types { " + many + " } } } } }", true},
		"possible types":        {"{ __schema { types {" + strings.Repeat(" possibleTypes { interfaces { name kind } }", 200) + " } } }", true},
		"many times":            {"{ __schema {" + strings.Repeat(" types { fields { name } }", 200) + " } }", true},
		"many fragments":        {"{ ...A ...A } fragment A on Query { ...B ...B __typename } fragment B on Query { a: self { ...C } b: self { ...C } } fragment C on Query { __schema {" + strings.Repeat(" types { fields { name } }", 20) + " } }", true},
	} {
		doc, errs := v.Parse(t.Context(), c.document, v.Budget())
		if len(errs) > 0 {
			t.Fatalf("%s: %v", name, errs)
		}
		b := v.Budget()
		oc := &graphql.OperationContext{Operation: doc.Operations[0], Variables: map[string]any{"n": "Query"}}
		errs = b.spendIntrospection(v, oc)
		if refused := len(errs) > 0; refused != c.refused {
			t.Errorf("%s: got refused %v, want %v: %d of %d", name, refused, c.refused, b.introspected, limit)
		}
		if want := strings.Contains(c.document, "__schema") || strings.Contains(c.document, "__type("); introspects(doc) != want {
			t.Errorf("%s: got introspects %v", name, !want)
		}
		in := introspected{schema: v.schema, variables: oc.Variables, left: limit}
		in.set(oc.Operation.SelectionSet, nil)
		if in.left < -len(c.document) {
			t.Errorf("%s: counting continued for %d fields beyond the limit", name, -in.left)
		}
	}

	// A batch shares the limit. It allows two requests for everything, and refuses the third.
	b := v.Budget()
	doc, _ := v.Parse(t.Context(), introspection.Query, v.Budget())
	refused := 0
	for range 10 {
		refused += len(b.spendIntrospection(v, &graphql.OperationContext{Operation: doc.Operations[0]}))
	}
	if refused != 8 || b.introspected > limit {
		t.Errorf("%d of 10 were refused, after %d of %d fields; want 8", refused, b.introspected, limit)
	}
	if errs := new(Budget).spendIntrospection(v, &graphql.OperationContext{Operation: doc.Operations[0], DisableIntrospection: true}); len(errs) > 0 {
		t.Error(errs)
	}
}
