package gqlcache_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/99designs/gqlgen/graphql/handler/extension"
	"github.com/99designs/gqlgen/graphql/handler/lru"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
	"fieldcache/cache/internal/schematest"
	"fieldcache/cache/policy"
)

// policyCase is a request and the Cache-Control header of its response.
type policyCase struct {
	schema    string
	query     string
	operation string
	variables map[string]any
	data      string // JSON for the data of world; "" if all of it is made up
	resolvers map[string]func(context.Context) error
	want      string
}

func (k *policyCase) world(t testing.TB) *world {
	t.Helper()
	w := &world{schema: schema(t, k.schema), resolvers: k.resolvers}
	if k.data != "" {
		if err := json.Unmarshal([]byte(k.data), &w.data); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// check runs each request of a table twice on one server: first without a plan, then with the plan
// of the first run. A case without a schema uses the given one.
func check(t *testing.T, schema string, table map[string]policyCase) {
	for name, k := range table {
		if k.schema == "" {
			k.schema = schema
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := server(k.world(t))
			e.SetQueryCache(lru.New[*ast.QueryDocument](10))
			for range 2 {
				o := execute(t, e, graphql.RawParams{Query: k.query, OperationName: k.operation, Variables: k.variables})
				if got := o.overall.Header(); got != k.want {
					t.Errorf("got %s, want %s; response %s, errors %v", got, k.want, o.data, o.errors)
				}
				if o.errors != nil && k.want != "no-store" {
					t.Errorf("got errors %v", o.errors)
				}
			}
		})
	}
}

const (
	minute  = "max-age=60, public"
	private = "max-age=60, private"
	noStore = "no-store"
)

// Cases in which the policy is the same as Apollo Server's.
func TestOverall(t *testing.T) {
	t.Parallel()
	check(t, "", map[string]policyCase{
		"root composite without a hint": {
			schema: `type Query { a: A } type A { x: Int @cacheControl(maxAge: 60) }`,
			query:  `{ a { x } }`, want: noStore,
		},
		"root scalar without a hint": {schema: `type Query { x: Int }`, query: `{ x }`, want: noStore},
		"root scalar without a hint and one with a hint": {
			schema: `type Query { x: Int y: Int @cacheControl(maxAge: 60) }`, query: `{ x y }`, want: noStore,
		},
		"type hint": {
			schema: `type Query { a: A } type A @cacheControl(maxAge: 60) { x: Int }`, query: `{ a { x } }`, want: minute,
		},
		"field hint": {
			schema: `type Query { a: A @cacheControl(maxAge: 60) } type A { x: Int }`, query: `{ a { x } }`, want: minute,
		},
		"field hint on a root scalar": {schema: `type Query { x: Int @cacheControl(maxAge: 60) }`, query: `{ x }`, want: minute},
		"a field may lengthen": {
			schema: `type Query { a: A @cacheControl(maxAge: 120) } type A @cacheControl(maxAge: 60) { x: Int }`,
			query:  `{ a { x } }`, want: "max-age=120, public",
		},
		"field age over a private type": {
			schema: `type Query { a: A @cacheControl(maxAge: 120) } type A @cacheControl(maxAge: 60, scope: PRIVATE) { x: Int }`,
			query:  `{ a { x } }`, want: "max-age=120, private",
		},
		"field scope over a type's age": {
			schema: `type Query { a: A @cacheControl(scope: PRIVATE) } type A @cacheControl(maxAge: 60) { x: Int }`,
			query:  `{ a { x } }`, want: private,
		},
		"explicit 0 of a type": {
			schema: `type Query { a: A } type A @cacheControl(maxAge: 0) { x: Int }`, query: `{ a { x } }`, want: noStore,
		},
		"explicit 0 of a scalar": {
			schema: `type Query { a: A } type A @cacheControl(maxAge: 60) { x: Int @cacheControl(maxAge: 0) }`, query: `{ a { x } }`, want: noStore,
		},
		"hint on extend type": {
			schema: `type Query { a: A } type A { x: Int } extend type A @cacheControl(maxAge: 60)`, query: `{ a { x } }`, want: minute,
		},
		"hint on a field of extend type": {
			schema: `type Query { y: Int } extend type Query { x: Int @cacheControl(maxAge: 60) }`, query: `{ x }`, want: minute,
		},
		"scalar 30 under 60": {
			schema: `type Query { a: A } type A @cacheControl(maxAge: 60) { x: Int y: Int @cacheControl(maxAge: 30) }`,
			query:  `{ a { x y } }`, want: "max-age=30, public",
		},
		"scalar 30 under 60 that is not selected": {
			schema: `type Query { a: A } type A @cacheControl(maxAge: 60) { x: Int y: Int @cacheControl(maxAge: 30) }`,
			query:  `{ a { x } }`, want: minute,
		},
		"scalar 90 under 60": {
			schema: `type Query { a: A } type A @cacheControl(maxAge: 60) { y: Int @cacheControl(maxAge: 90) }`, query: `{ a { y } }`, want: minute,
		},
		"nested composite without a hint, with hinted scalars": {
			schema: `type Query { a: A } type A @cacheControl(maxAge: 60) { b: B } type B { x: Int @cacheControl(maxAge: 60) }`,
			query:  `{ a { b { x } } }`, want: noStore,
		},
		"list: every item's children count": {
			schema: `type Query { list: [A] @cacheControl(maxAge: 60) } type A { b: B x: Int } type B @cacheControl(maxAge: 30) { x: Int }`,
			query:  `{ list { x b { x } } }`, data: `{"list": [{"__typename": "A", "b": null}, {"__typename": "A"}]}`, want: "max-age=30, public",
		},
		"inheritMaxAge on a field": {
			schema: `type Query { a: A } type A @cacheControl(maxAge: 60) { b: B @cacheControl(inheritMaxAge: true) } type B { x: Int }`,
			query:  `{ a { b { x } } }`, want: minute,
		},
		"inheritMaxAge on a type": {
			schema: `type Query { a: A } type A @cacheControl(maxAge: 60) { b: B } type B @cacheControl(inheritMaxAge: true) { x: Int }`,
			query:  `{ a { b { x } } }`, want: minute,
		},
		"inheritMaxAge with scope PRIVATE on a type": {
			schema: `type Query { a: A } type A @cacheControl(maxAge: 60) { b: B } type B @cacheControl(inheritMaxAge: true, scope: PRIVATE) { x: Int }`,
			query:  `{ a { b { x } } }`, want: private,
		},
		"inheritMaxAge with scope PRIVATE on a field": {
			schema: `type Query { a: A } type A @cacheControl(maxAge: 60) { b: B @cacheControl(inheritMaxAge: true, scope: PRIVATE) } type B { x: Int }`,
			query:  `{ a { b { x } } }`, want: private,
		},
		"inheritMaxAge on a root field": {
			schema: `type Query { a: A @cacheControl(inheritMaxAge: true) } type A { x: Int @cacheControl(maxAge: 60) }`,
			query:  `{ a { x } }`, want: noStore,
		},
		"inheritMaxAge on the type of a root field": {
			schema: `type Query { a: A } type A @cacheControl(inheritMaxAge: true) { x: Int }`, query: `{ a { x } }`, want: noStore,
		},
		"inheritMaxAge on a field whose type has 33": {
			schema: `type Query { a: A } type A @cacheControl(maxAge: 60) { b: B @cacheControl(inheritMaxAge: true) } type B @cacheControl(maxAge: 33) { x: Int }`,
			query:  `{ a { b { x } } }`, want: "max-age=33, public",
		},
		"field age over a type's inheritMaxAge": {
			schema: `type Query { a: A } type A @cacheControl(maxAge: 60) { b: B @cacheControl(maxAge: 5) } type B @cacheControl(inheritMaxAge: true) { x: Int }`,
			query:  `{ a { b { x } } }`, want: "max-age=5, public",
		},
		"scope without any maxAge": {
			schema: `type Query { a: A } type A @cacheControl(scope: PUBLIC) { x: Int }`, query: `{ a { x } }`, want: noStore,
		},
		"scope without any maxAge on a root scalar": {
			schema: `type Query { x: Int @cacheControl(scope: PRIVATE) }`, query: `{ x }`, want: noStore,
		},
		"public child of a private type": {
			schema: `type Query { a: A } type A @cacheControl(maxAge: 60, scope: PRIVATE) { x: Int @cacheControl(scope: PUBLIC) }`,
			query:  `{ a { x } }`, want: private,
		},
		"private scalar of a public type": {
			schema: `type Query { a: A } type A @cacheControl(maxAge: 60) { x: Int @cacheControl(scope: PRIVATE) }`, query: `{ a { x } }`, want: private,
		},
		"private scalar under an alias": {
			schema: `type Query { a: A } type A @cacheControl(maxAge: 60) { x: Int @cacheControl(scope: PRIVATE) }`, query: `{ a { y: x } }`, want: private,
		},
		"null parent": {
			schema: `type Query { a: A } type A @cacheControl(maxAge: 60) { b: B @cacheControl(maxAge: 90) } type B { x: Int @cacheControl(maxAge: 5, scope: PRIVATE) }`,
			query:  `{ a { b { x } } }`, data: `{"a": {"__typename": "A", "b": null}}`, want: minute,
		},
		"the same parent that is not null": {
			schema: `type Query { a: A } type A @cacheControl(maxAge: 60) { b: B @cacheControl(maxAge: 90) } type B { x: Int @cacheControl(maxAge: 5, scope: PRIVATE) }`,
			query:  `{ a { b { x } } }`, want: "max-age=5, private",
		},
		"a null field counts itself": {
			schema: `type Query { a: A } type A @cacheControl(maxAge: 60) { b: B } type B @cacheControl(maxAge: 30) { x: Int }`,
			query:  `{ a { b { x } } }`, data: `{"a": {"__typename": "A", "b": null}}`, want: "max-age=30, public",
		},
		"empty list": {
			schema: `type Query { list: [A] } type A @cacheControl(maxAge: 60) { x: Int @cacheControl(maxAge: 5) }`,
			query:  `{ list { x } }`, data: `{"list": []}`, want: minute,
		},
		"list of nulls": {
			schema: `type Query { list: [A] } type A @cacheControl(maxAge: 60) { x: Int @cacheControl(maxAge: 5) }`,
			query:  `{ list { x } }`, data: `{"list": [null, null]}`, want: minute,
		},
		"@skip": {
			schema: `type Query { a: A } type A @cacheControl(maxAge: 60) { x: Int y: Int @cacheControl(maxAge: 5) }`,
			query:  `query($on: Boolean!) { a { x y @skip(if: $on) } }`, variables: map[string]any{"on": true}, want: minute,
		},
		"@skip(if: false)": {
			schema: `type Query { a: A } type A @cacheControl(maxAge: 60) { x: Int y: Int @cacheControl(maxAge: 5) }`,
			query:  `query($on: Boolean!) { a { x y @skip(if: $on) } }`, variables: map[string]any{"on": false}, want: "max-age=5, public",
		},
		"@skip at the root": {
			schema: `type Query { x: Int @cacheControl(maxAge: 60) y: Int }`,
			query:  `query($on: Boolean!) { x y @skip(if: $on) }`, variables: map[string]any{"on": true}, want: minute,
		},
		"@include at the root": {
			schema: `type Query { x: Int @cacheControl(maxAge: 60) y: Int }`,
			query:  `query($on: Boolean!) { x ... @include(if: $on) { y } }`, variables: map[string]any{"on": true}, want: noStore,
		},
		"@include of a fragment at the root": {
			schema: `type Query { x: Int @cacheControl(maxAge: 60) y: Int }`,
			query:  `query($on: Boolean!) { x ...F @include(if: $on) } fragment F on Query { y }`, variables: map[string]any{"on": false}, want: minute,
		},
		"@skip without a variable": {
			schema: `type Query { x: Int @cacheControl(maxAge: 60) y: Int }`, query: `{ x y @skip(if: true) z: y @include(if: false) }`, want: minute,
		},
		"everything skipped": {
			schema: `type Query { x: Int @cacheControl(maxAge: 60) }`, query: `{ x @skip(if: true) }`, want: noStore,
		},
		"one of two equal fields skipped": {
			schema: `type Query { x: Int @cacheControl(maxAge: 60) }`,
			query:  `query($on: Boolean!) { x @include(if: $on) x }`, variables: map[string]any{"on": true}, want: minute,
		},
		"only __typename":         {schema: `type Query { x: Int @cacheControl(maxAge: 60) }`, query: `{ __typename }`, want: noStore},
		"only __schema":           {schema: `type Query { x: Int @cacheControl(maxAge: 60) }`, query: `{ __schema { queryType { name } } }`, want: noStore},
		"only __type":             {schema: `type Query { x: Int @cacheControl(maxAge: 60) }`, query: `{ __type(name: "Query") { name } }`, want: noStore},
		"__typename and a field":  {schema: `type Query { x: Int @cacheControl(maxAge: 60) }`, query: `{ __typename x }`, want: minute},
		"__schema and a field":    {schema: `type Query { x: Int @cacheControl(maxAge: 60) }`, query: `{ __schema { queryType { name } } x }`, want: minute},
		"__typename of an object": {schema: `type Query { a: A } type A @cacheControl(maxAge: 60) { x: Int }`, query: `{ a { __typename } }`, want: minute},
		"aliases of one field": {
			schema: `type Query { a: A } type A @cacheControl(maxAge: 60) { x: Int @cacheControl(maxAge: 30) }`,
			query:  `{ a { x } b: a { y: x z: x } }`, want: "max-age=30, public",
		},
		"field hint through an interface, 30": {
			schema: named, query: `{ thing { name } }`, data: `{"thing": {"__typename": "Slow"}}`, want: minute,
		},
		"field hint through an interface, 5": {
			schema: named, query: `{ thing { name } }`, data: `{"thing": {"__typename": "Quick"}}`, want: "max-age=5, public",
		},
		"field of a narrower type through an interface": {
			schema: named, query: `{ thing { part { __typename } } }`, data: `{"thing": {"__typename": "Quick"}}`, want: "max-age=7, public",
		},
		"fragments": {
			schema: named, query: `{ ...R } fragment R on Query { thing { ...N ...N } } fragment N on Named { ... on Quick { name } }`,
			data: `{"thing": {"__typename": "Quick"}}`, want: "max-age=5, public",
		},
		"fragments for another type": {
			schema: named, query: `{ thing { ... on Quick { name } } }`, data: `{"thing": {"__typename": "Slow"}}`, want: minute,
		},
		"the query type below the root": {
			schema: `type Query { self: Query @cacheControl(maxAge: 60) x: Int }`, query: `{ self { x } }`, want: minute,
		},
		"several operations: the one executed": {
			schema: `type Query { x: Int @cacheControl(maxAge: 60) y: Int }`, query: `query A { x } query B { y }`, operation: "A", want: minute,
		},
		"several operations: the other one": {
			schema: `type Query { x: Int @cacheControl(maxAge: 60) y: Int }`, query: `query A { x } query B { y }`, operation: "B", want: noStore,
		},
		"an error": {
			schema: `type Query { x: Int @cacheControl(maxAge: 60) y: Int @cacheControl(maxAge: 60) }`, query: `{ x y }`, data: `{"y": "__fails"}`, want: noStore,
		},
		"parse failure":                {schema: `type Query { x: Int @cacheControl(maxAge: 60) }`, query: `{ x`, want: noStore},
		"validation failure":           {schema: `type Query { x: Int @cacheControl(maxAge: 60) }`, query: `{ x y }`, want: noStore},
		"no such operation":            {schema: `type Query { x: Int @cacheControl(maxAge: 60) }`, query: `{ x }`, operation: "A", want: noStore},
		"@defer":                       {schema: deferrable, query: `{ x ... @defer { y } }`, want: noStore},
		"@defer of a spread":           {schema: deferrable, query: `{ a { ...F @defer } } fragment F on A { x }`, want: noStore},
		"@defer(if: true)":             {schema: deferrable, query: `query($on: Boolean!) { a { ... @defer(if: $on) { x } } }`, variables: map[string]any{"on": true}, want: noStore},
		"@defer(if: false)":            {schema: deferrable, query: `query($on: Boolean!) { a { ... @defer(if: $on) { x } } }`, variables: map[string]any{"on": false}, want: minute},
		"@defer in a skipped fragment": {schema: deferrable, query: `{ a { x ... @skip(if: true) { ... @defer { x } } } }`, want: minute},
	})
}

const named = `
	type Query { thing: Named @cacheControl(maxAge: 60) }
	interface Named { name: String part: Named }
	type Slow implements Named { name: String part: Named }
	type Quick implements Named { name: String @cacheControl(maxAge: 5) part: Quick @cacheControl(maxAge: 7) }
`

const deferrable = `
	type Query { x: Int @cacheControl(maxAge: 60) y: Int @cacheControl(maxAge: 60) a: A }
	type A @cacheControl(maxAge: 60) { x: Int }
`

func TestAnswersSentAsOne(t *testing.T) {
	t.Parallel()
	mine := policy.Overall{MaxAge: time.Minute, Scope: cache.Private}
	open := policy.Overall{MaxAge: 30 * time.Second}
	for name, c := range map[string]struct {
		a, b policy.Overall
		want string
	}{
		"lowest age, private if any": {mine, open, "max-age=30, private"},
		"both public":                {open, policy.Overall{MaxAge: time.Hour}, "max-age=30, public"},
		"no-store if any":            {mine, policy.Overall{}, noStore},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := c.a.And(c.b); got != c.b.And(c.a) || got.Header() != c.want {
				t.Errorf("got %s, and %s with the operands exchanged, want %s", got.Header(), c.b.And(c.a).Header(), c.want)
			}
		})
	}
}

func TestHeader(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]policy.Overall{
		"max-age=60, public":    {MaxAge: time.Minute},
		"max-age=60, private":   {MaxAge: time.Minute, Scope: cache.Private},
		"max-age=1, public":     {MaxAge: 1999 * time.Millisecond},
		"max-age=86400, public": {MaxAge: 24 * time.Hour},
		"no-store":              {MaxAge: 999 * time.Millisecond, Scope: cache.Private},
	} {
		if got := o.Header(); got != want {
			t.Errorf("%+v: got %q, want %q", o, got, want)
		}
	}
}

// A persisted query that the server does not have is not executed.
func TestUnknownPersistedQuery(t *testing.T) {
	t.Parallel()
	k := policyCase{schema: `type Query { x: Int @cacheControl(maxAge: 60) }`}
	e := server(k.world(t), extension.AutomaticPersistedQuery{Cache: lru.New[string](10)})
	o := execute(t, e, graphql.RawParams{Extensions: map[string]any{"persistedQuery": map[string]any{"version": 1, "sha256Hash": "0"}}})
	if len(o.errors) != 1 || o.errors[0].Message != "PersistedQueryNotFound" || o.overall.Header() != noStore {
		t.Errorf("got %v, %s", o.errors, o.overall.Header())
	}
}

func TestHintsRefuseContradictions(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`type Query { x: Int @cacheControl(maxAge: -5) }`:                                                            "Query.x: @cacheControl(maxAge: -5)",
		`type Query { x: Int @cacheControl(maxAge: 5, inheritMaxAge: true) }`:                                        "Query.x: @cacheControl has maxAge and inheritMaxAge",
		`type Query { a: A } type A @cacheControl(maxAge: 5) { x: Int } extend type A @cacheControl(scope: PRIVATE)`: "A: @cacheControl is given 2 times",
		`type Query { x: Int @cacheControl(scope: PRVATE) }`:                                                         "Query.x: @cacheControl(scope: PRVATE)",
		`type Query { x: Int @cacheControl(scope: "PRIVATE") }`:                                                      `Query.x: @cacheControl(scope: "PRIVATE")`,
		`type Query { x: Int @cacheControl(maxAge: 99999999999) }`:                                                   "Query.x: @cacheControl(maxAge: 99999999999)",
		`type Query { x: Int @cacheControl(inheritMaxAge: "true") }`:                                                 `Query.x: @cacheControl(inheritMaxAge: "true")`,
	} {
		s, err := gqlparser.LoadSchema(&ast.Source{Name: "test", Input: schematest.Directive + text})
		if err == nil {
			w := world{schema: s}
			err = (&gqlcache.Hints{}).Validate(w.executable())
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

// Extensions that know a schema refuse a server of another one, and leave what they know as it is.
func TestExtensionsOfOneSchema(t *testing.T) {
	t.Parallel()
	load := func(text string) graphql.ExecutableSchema {
		schema := gqlparser.MustLoadSchema(&ast.Source{Input: text})
		return &graphql.ExecutableSchemaMock{SchemaFunc: func() *ast.Schema { return schema }}
	}
	one, other := load("type Query { a: Int }"), load("type Query { b: Int }")
	for name, e := range map[string]graphql.HandlerExtension{"hints": &gqlcache.Hints{}, "count": &gqlcache.FieldCount{}} {
		for i, c := range []struct {
			es      graphql.ExecutableSchema
			refused bool
		}{{one, false}, {one, false}, {other, true}, {one, false}} {
			if err := e.Validate(c.es); (err != nil) != c.refused {
				t.Errorf("%s, server %d: got error %v, want one: %v", name, i, err, c.refused)
			}
		}
	}
}

// gqlgen panics if an extension refuses a schema, so the server does not start.
func TestServerDoesNotStartWithContradictions(t *testing.T) {
	t.Parallel()
	defer func() {
		if err, _ := recover().(error); err == nil || !strings.Contains(err.Error(), "Query.x") {
			t.Errorf("got panic %v, want an error with Query.x", err)
		}
	}()
	k := policyCase{schema: `type Query { x: Int @cacheControl(maxAge: -5) }`}
	executor.New(k.world(t).executable()).Use(&gqlcache.Hints{})
}
