package policy_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache/policy"
)

func load(t *testing.T, sdl string) *ast.Schema {
	t.Helper()
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "directives", Input: policy.Directives}, &ast.Source{Name: "test", Input: sdl})
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

const shop = `
type Query {
  listed(a: ID!, b: ID = "x", in: Filter, of: Filter!): Int
    @cacheRows(table: "products", match: "a = {$args.a}, b = {$args.b}, c = {$args.in.owner}, d = {$args.of.owner}")
  products(category: String, in: Filter): [Product!]! @cacheRows(table: "products", match: "category = {$args.category}", columns: ["category"]) @cacheTag(format: "shelf-{$args.in.region}")
}
input Filter { region: ID owner: ID! }
type Product @cacheRows(table: "products", match: "id = {$key.id}", columns: ["name", "category", "name"]) @cacheTag(format: "p{$key.id}") {
  id: ID!
  stock: Int! @cacheRows(table: "products", match: "id = {$parent.id}, region = {$viewer}", columns: [])
  owner: User
  mail: String @cacheRows(table: "users", match: "id = {$parent.owner.id}")
}
type User @cacheRows(table: "users") { id: ID! name: String }
type Mutation {
  recount(id: ID!): Product! @cacheEvict(tag: "shelf-{$result.id}") @cacheEvict(type: "Product", id: "{$args.id}") @cacheEvict(type: "User")
  drop(id: ID!): ID! @cacheEvict(type: "Product", id: "{$result}")
}
`

func TestReadTellsWhatDirectivesSay(t *testing.T) {
	s, err := policy.Read(load(t, shop), nil)
	if err != nil {
		t.Fatal(err)
	}
	ref := func(origin policy.Origin, path ...string) policy.Ref { return policy.Ref{Origin: origin, Path: path} }
	for _, test := range []struct {
		name      string
		got, want any
	}{
		{"rows of a type", s.Type("Product").Rows, []policy.Rows{{"products", []policy.Term{{Column: "id", Value: ref(policy.Key, "id")}}, []string{"category", "name"}}}},
		{"rows of a type by its own key", s.Type("User").Rows, []policy.Rows{{Table: "users"}}},
		{"rows of a root field", s.Field("Query.products").Rows, []policy.Rows{{"products", []policy.Term{{"category", ref(policy.Args, "category"), true}}, []string{"category"}}}},
		{"several columns", s.Field("Product.stock").Rows, []policy.Rows{{"products", []policy.Term{{Column: "id", Value: ref(policy.Parent, "id")}, {Column: "region", Value: ref(policy.Viewer)}}, []string{}}}},
		{"an argument that may be null", optionals(s.Field("Query.listed")), []bool{false, true, true, false}},
		{"a path", s.Field("Product.mail").Rows, []policy.Rows{{"users", []policy.Term{{Column: "id", Value: ref(policy.Parent, "owner", "id")}}, nil}}},
		{"a tag", s.Field("Query.products").Tags[0].String(), "shelf-{$args.in.region}"},
		{"a tag of a type", s.Type("Product").Tags[0].String(), "p{$key.id}"},
		{"key", s.Key("Product"), []string{"id"}},
		{"evicted objects", len(s.Evicts("Mutation.recount")), 3},
		{"evicted by the result", *s.Evicts("Mutation.drop")[0].ID, policy.Ref{Origin: policy.Result}},
	} {
		if !reflect.DeepEqual(test.got, test.want) {
			t.Errorf("%s: got %#v, want %#v", test.name, test.got, test.want)
		}
	}
}

// optionals returns for each condition of a field's rows whether it is optional.
func optionals(t policy.Truth) (list []bool) {
	for _, term := range t.Rows[0].Match {
		list = append(list, term.Optional)
	}
	return list
}

func TestReadReportsEveryFault(t *testing.T) {
	for _, test := range []struct{ sdl, want string }{
		{`type Query { a: Int @cacheRows(table: "t", match: "id = {$parent.id}") }`, "Query.a: @cacheRows(match:): {$parent.id}: a root field has no parent"},
		{`type Query { a(x: Int): Int @cacheRows(table: "t", match: "id = {$args.y}") }`, "the field has no argument y"},
		{`type Query { a(x: [Int]): Int @cacheRows(table: "t", match: "id = {$args.x}") }`, "[Int] is not a scalar"},
		{`type Query { a: Int @cacheRows(table: "t", match: "id") }`, `"id" is not a match`},
		{`type Query { a(x: Int): Int @cacheRows(table: "t", match: "id = {$args.x}, id = {$args.x}") }`, "matches the column id twice"},
		{`type Query { a: Int @cacheRows(table: "t", match: "id = {$foo.x}") }`, "unknown origin $foo"},
		{`type Query { a: Int @cacheRows(table: "t", match: "id = {$viewer.x}") }`, "$viewer has no fields"},
		{`type Query { a: Int @cacheTag(format: "x-{$args") }`, "has a { without a }"},
		{`type Query { a: Int @cacheTag(format: "x}") }`, "has a } without a {"},
		{`type Query { a: Int @cacheTag(format: "") }`, "it is empty"},
		{`type Query { a: Int @cacheRows(table: "") }`, "the table has no name"},
		{`type Query { a: A } type A @cacheRows(table: "t") { x: Int }`, "A: @cacheRows without match needs a type with an id or a @key"},
		{`directive @key(fields: String!) on OBJECT type Query { a: A } type A @key(fields: "x y") @cacheRows(table: "t") { x: Int y: Int }`, "needs a match here"},
		{`type Query { a: A } type A @cacheRows(table: "t", match: "id = {$parent.x}") { x: Int }`, "only {$key.field} is allowed on a type"},
		{`type Query { a: A } type A { x: Int y: Int @cacheRows(table: "t", match: "id = {$parent.z}") }`, "A has no field z"},
		{`type Query { a: A } type A { x: [Int] y: Int @cacheRows(table: "t", match: "id = {$parent.x}") }`, "A.x is a list"},
		{`type Query { a: A } type A { x: A y: Int @cacheRows(table: "t", match: "id = {$parent.x}") }`, "A.x is not a scalar"},
		{`type Query { a: Int @cacheEvict(tag: "x") }`, "@cacheEvict belongs on a field of the mutation type"},
		{`type Query { a: Int } type Mutation { b: Int @cacheEvict }`, "give tag or type"},
		{`type Query { a: Int } type Mutation { b: Int @cacheEvict(tag: "x", type: "Query") }`, "give tag or type"},
		{`type Query { a: Int } type Mutation { b: Int @cacheEvict(type: "Nothing") }`, "no object type Nothing"},
		{`type Query { a: Int } type Mutation { b: Int @cacheEvict(type: "Query", id: "7") }`, "is not a reference"},
		{`type Query { a: A } type A { name: String } type Mutation { b(id: ID!): Int @cacheEvict(type: "A", id: "{$args.id}") }`, "type A has no id and no @key"},
		{`directive @key(fields: String!) on OBJECT type Query { a: A } type A @key(fields: "x y") { id: ID! x: ID! y: ID! } type Mutation { b(id: ID!): Int @cacheEvict(type: "A", id: "{$args.id}") }`, "type A is known by several fields"},
		{`type Query { u: U } union U = A | B type A { id: ID! } type B { name: String } type Mutation { b(id: ID!): Int @cacheEvict(type: "U", id: "{$args.id}") }`, "type B has no id and no @key"},
		{`type Query { a: Int } type Mutation { b: Int @cacheEvict(tag: "x-{$result.id}") }`, "the result is not an object"},
	} {
		t.Run(test.sdl, func(t *testing.T) {
			_, err := policy.Read(load(t, test.sdl), nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want %s", err, test.want)
			}
		})
	}
	_, err := policy.Read(load(t, `type Query { a: Int @cacheRows(table: "") b: Int @cacheTag(format: "") }`), nil)
	if err == nil || !strings.Contains(err.Error(), "Query.a") || !strings.Contains(err.Error(), "Query.b") {
		t.Errorf("got error %v, want one that names both faults", err)
	}
}

func TestAttributesThatAreNoFields(t *testing.T) {
	schema := load(t, `type Query { a: A } type A { x: Int y: Int @cacheRows(table: "t", match: "id = {$parent.hidden}") }`)
	if _, err := policy.Read(schema, func(typeName, name string) bool { return typeName == "A" && name == "hidden" }); err != nil {
		t.Error(err)
	}
}

func TestKeys(t *testing.T) {
	s, err := policy.Read(load(t, `
directive @key(fields: String!) repeatable on OBJECT
type Query { a: A b: B c: C }
type A @key(fields: "org name") { org: ID! name: String! }
type B @key(fields: "a { org }") @key(fields: "id") { id: ID! a: A }
type C { x: Int }`), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{"A": {"org", "name"}, "B": {"id"}, "C": nil} {
		if got := s.Key(name); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}
