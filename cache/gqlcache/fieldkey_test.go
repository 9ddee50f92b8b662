package gqlcache

import (
	"fmt"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

const keySchema = `
scalar JSON
enum Sort { UP DOWN }
input Range { from: Int = 0 to: Int }
input Filter { text: String range: Range sorts: [Sort!] any: JSON }
type Query {
  list(first: Int = 10, after: String, filter: Filter, ratio: Float, ids: [ID!], any: JSON, sort: Sort = UP): [Product]
  product: Product
  shape: Shape
}
union Shape = Square | Circle
type Square { size: Int area: Float }
type Circle { size: Int area: Float }
type Product { id: ID! reviews(first: Int! = 10): Int plain: Int }
type Membership { org: ID! user: ID! level: Int }
type PRODUCT { id: ID! }
type product { id: ID! }
`

func keySchemaOf(t testing.TB) *ast.Schema {
	t.Helper()
	schema, err := gqlparser.LoadSchema(&ast.Source{Input: keySchema})
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// keyOf returns the key of the first field of a query, with raw arguments as gqlgen passes them.
func keyOf(t testing.TB, schema *ast.Schema, query string, variables map[string]any) string {
	t.Helper()
	doc, errs := gqlparser.LoadQueryWithRules(schema, query, rules.NewDefaultRules())
	if errs != nil {
		t.Fatal(errs)
	}
	vars, err := validator.VariableValues(schema, doc.Operations[0], variables)
	if err != nil {
		t.Fatal(err)
	}
	field := doc.Operations[0].SelectionSet[0].(*ast.Field)
	fc := &graphql.FieldContext{Field: graphql.CollectedField{Field: field}, Args: field.ArgumentMap(vars)}
	for name, v := range fc.Args { // as gqlgen's generated code has them
		if n, ok := v.(int64); ok {
			fc.Args[name] = int(n)
		}
	}
	k := newFieldKeys(schema, schema.Query, field.Definition, nil)
	b, ok := k.append(nil, nil, fc, vars)
	if !ok {
		t.Fatalf("%s: got no key", query)
	}
	return string(b)
}

func TestFieldKeysAreOneForOneMeaning(t *testing.T) {
	schema := keySchemaOf(t)
	for _, group := range [][]struct {
		query     string
		variables map[string]any
	}{
		{{`{list{id}}`, nil}, {`{list(first:10){id}}`, nil}, {`{list(sort:UP,first:10){id}}`, nil}, {`query($n:Int){list(first:$n){id}}`, map[string]any{"n": 10}},
			{`query($n:Int=10){list(first:$n){id}}`, nil}, {`{a:list(after:null){id}}`, nil}},
		{{`{list(first:null){id}}`, nil}, {`query($n:Int){list(first:$n){id}}`, map[string]any{"n": nil}}},
		{{`{list(filter:{range:{to:5}}){id}}`, nil}, {`{list(filter:{range:{to:5,from:0}}){id}}`, nil},
			{`query($f:Filter){list(filter:$f){id}}`, map[string]any{"f": map[string]any{"range": map[string]any{"to": 5}}}},
			{`query($to:Int){list(filter:{range:{to:$to}}){id}}`, map[string]any{"to": 5}}},
		{{`{list(filter:{sorts:UP}){id}}`, nil}, {`{list(filter:{sorts:[UP]}){id}}`, nil}},
		{{`{list(ids:1){id}}`, nil}, {`{list(ids:["1"]){id}}`, nil}, {`query($ids:[ID!]){list(ids:$ids){id}}`, map[string]any{"ids": "1"}}},
		{{`{list(ratio:1){id}}`, nil}, {`{list(ratio:1.0){id}}`, nil}, {`query($r:Float){list(ratio:$r){id}}`, map[string]any{"r": 1}}},
		{{`{list(any:{a:1,b:2}){id}}`, nil}, {`{list(any:{b:2,a:1}){id}}`, nil}},
	} {
		first := keyOf(t, schema, group[0].query, group[0].variables)
		for _, g := range group[1:] {
			if key := keyOf(t, schema, g.query, g.variables); key != first {
				t.Errorf("%s %v: got %s, want %s", g.query, g.variables, key, first)
			}
		}
	}
}

func TestFieldKeysTellArgumentsApart(t *testing.T) {
	schema := keySchemaOf(t)
	keys := map[string]string{}
	for _, args := range []string{
		`first:1`, `first:null`, `first:11`, `after:"1"`, `after:"null"`, `after:""`, `after:"x)"`, `after:"x,sort=DOWN"`, `sort:DOWN`,
		`after:"x",sort:DOWN`, `filter:{}`, `filter:{text:null}`, `filter:{text:"null"}`, `filter:{text:""}`, `filter:{sorts:[]}`,
		`filter:{sorts:null}`, `filter:{sorts:[UP,DOWN]}`, `filter:{sorts:[DOWN,UP]}`, `filter:{range:{from:1}}`, `filter:{range:{to:1}}`,
		`any:1`, `any:"1"`, `any:true`, `any:"true"`, `any:[1]`, `any:["1"]`, `any:[[1]]`, `any:[]`, `any:{}`, `any:{a:1}`, `any:{a:"1"}`,
		`any:"null"`, `any:["a,b"]`, `any:["a","b"]`, `ratio:0.5`, `ratio:0.05`, `ids:[]`, `ids:[""]`, `ids:["",""]`, `ids:["''"]`, `any:[""]`, `ids:["a,b"]`, `ids:["a","b"]`,
		`after:"` + strings.Repeat("x", 200) + `"`, `after:"` + strings.Repeat("x", 201) + `"`,
	} {
		key := keyOf(t, schema, `{list(`+args+`){id}}`, nil)
		if other := keys[key]; other != "" {
			t.Errorf("%s and %s have the same key %s", args, other, key)
		}
		keys[key] = args
		if len(key) > maxArgs+20 {
			t.Errorf("%s: got a key of %d bytes, want at most maxArgs+20", args, len(key))
		}
		if strings.ContainsAny(key, "{} \"") {
			t.Errorf("%s: the key %s has characters that have a meaning in Redis", args, key)
		}
	}
}

func TestFieldKeysOfParents(t *testing.T) {
	schema := keySchemaOf(t)
	type product struct {
		ID   any
		Name string
	}
	type membership struct{ Org, User string }
	for _, test := range []struct {
		typeName, field string
		key             []string
		parent          any
		args            map[string]any
		want            string // "": none
	}{
		{"Product", "reviews", []string{"id"}, &product{ID: 7}, map[string]any{"first": 5}, "{Product:7}:reviews(first=5)"},
		{"Product", "plain", []string{"id"}, &product{ID: "7"}, nil, "{Product:7}:plain"},
		{"Product", "plain", []string{"id"}, &product{ID: "a}:b"}, nil, "{Product:a%7D%3Ab}:plain"},
		{"Product", "plain", []string{"id"}, &product{}, nil, ""},
		{"Product", "plain", []string{"id"}, nil, nil, ""},
		{"Membership", "level", []string{"org", "user"}, &membership{"a", "b"}, nil, "{membership:org=a,user=b}:level"},
		{"Membership", "level", []string{"org", "user"}, &membership{"a,user=b", ""}, nil, "{membership:org=a%2Cuser%3Db,user=}:level"},
	} {
		t.Run(fmt.Sprint(test.want, test.parent), func(t *testing.T) {
			def := schema.Types[test.typeName]
			f := def.Fields.ForName(test.field)
			k := newFieldKeys(schema, def, f, func(string) []string { return test.key })
			fc := &graphql.FieldContext{Field: graphql.CollectedField{Field: &ast.Field{Definition: f}}, Args: test.args}
			b, ok := k.append(nil, test.parent, fc, nil)
			if ok != (test.want != "") || ok && string(b) != test.want {
				t.Errorf("got %s, %v, want %s", b, ok, test.want)
			}
		})
	}
}

// Objects of two types with the same content are different parents, even if neither has an
// identity.
func TestFieldKeysTellTypesApart(t *testing.T) {
	schema := keySchemaOf(t)
	type square struct{ Size int }
	type circle struct{ Size int }
	keys := map[string]string{}
	for _, test := range []struct {
		typeName string
		parent   any
	}{{"Square", &square{1}}, {"Circle", &circle{1}}, {"Square", &square{2}}, {"Circle", map[string]int{"size": 1}}, {"Square", map[string]int{"size": 1}}} {
		def := schema.Types[test.typeName]
		f := def.Fields.ForName("area")
		root := &graphql.FieldContext{Object: "Query"}
		root.Field.Field = &ast.Field{Name: "shape", Definition: schema.Query.Fields.ForName("shape")}
		fc := &graphql.FieldContext{Object: test.typeName, Parent: root}
		fc.Field.Field = &ast.Field{Name: "area", Definition: f}
		b, ok := newFieldKeys(schema, def, f, func(string) []string { return nil }).append(nil, test.parent, fc, nil)
		if other, taken := keys[string(b)]; !ok || taken {
			t.Errorf("%s %v: got key %s, %v; %s has the same key", test.typeName, test.parent, b, ok, other)
		}
		keys[string(b)] = test.typeName
	}
}

func FuzzFieldKeysTellTextsApart(f *testing.F) {
	f.Add("a", "b")
	f.Add("null", "%6Eull")
	f.Add("x,first=1", "x")
	schema := keySchemaOf(f)
	field := schema.Query.Fields.ForName("list")
	k := newFieldKeys(schema, schema.Query, field, nil)
	f.Fuzz(func(t *testing.T, a, b string) {
		key := func(s string) string {
			fc := &graphql.FieldContext{Args: map[string]any{"after": &s}}
			fc.Args["any"] = map[string]any{s: s}
			fc.Field.Field = &ast.Field{Definition: field, Arguments: ast.ArgumentList{{Name: "any", Value: &ast.Value{Kind: ast.Variable, Raw: "v"}}}}
			out, ok := k.append(nil, nil, fc, map[string]any{"v": map[string]any{s: s}})
			if !ok {
				t.Fatal("no key")
			}
			return string(out)
		}
		if (key(a) == key(b)) != (a == b) {
			t.Errorf("%q and %q: got key %s", a, b, key(a))
		}
	})
}
