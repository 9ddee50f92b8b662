package gqlcache_test

import (
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"

	"fieldcache/cache/gqlcache"
)

// Cases in which the policy is stricter than Apollo Server's.
func TestStricter(t *testing.T) {
	t.Parallel()
	const union = `
		type Query { any: Any list: [[Any]] @cacheControl(maxAge: 90) wide: Any @cacheControl(scope: PUBLIC) }
		union Any @cacheControl(maxAge: 60) = Open | Mine | Short | Below
		type Open { x: Int }
		type Mine @cacheControl(maxAge: 60, scope: PRIVATE) { x: Int }
		type Short @cacheControl(maxAge: 5) { x: Int }
		type Below @cacheControl(inheritMaxAge: true) { x: Int }
	`
	check(t, "", map[string]policyCase{
		"private type of a union":                   {schema: union, query: `{ any { ... on Mine { x } } }`, data: `{"any": {"__typename": "Mine"}}`, want: private},
		"public type of the same union":             {schema: union, query: `{ any { ... on Mine { x } } }`, data: `{"any": {"__typename": "Open"}}`, want: minute},
		"inheriting type of the same union":         {schema: union, query: `{ any { ... on Mine { x } } }`, data: `{"any": {"__typename": "Below"}}`, want: minute},
		"only its __typename":                       {schema: union, query: `{ any { __typename } }`, data: `{"any": {"__typename": "Mine"}}`, want: private},
		"shorter type of a union":                   {schema: union, query: `{ any { __typename } }`, data: `{"any": {"__typename": "Short"}}`, want: "max-age=5, public"},
		"private type of a field with scope PUBLIC": {schema: union, query: `{ wide { __typename } }`, data: `{"wide": {"__typename": "Mine"}}`, want: private},
		"no object":              {schema: union, query: `{ any { ... on Mine { x } } }`, data: `{"any": null}`, want: minute},
		"in a list of lists":     {schema: union, query: `{ list { __typename } }`, data: `{"list": [null, [], [null, {"__typename": "Open"}, {"__typename": "Mine"}]]}`, want: "max-age=60, private"},
		"not in a list of lists": {schema: union, query: `{ list { __typename } }`, data: `{"list": [null, [], [null, {"__typename": "Open"}]]}`, want: "max-age=90, public"},
		"the type does not restrict its own field": {
			schema: `type Query { any: Any mine: Mine @cacheControl(maxAge: 90) } union Any @cacheControl(maxAge: 60) = Mine type Mine @cacheControl(maxAge: 5) { x: Int }`,
			query:  `{ mine { ...F } any { ...F } } fragment F on Mine { x }`, data: `{"any": null}`, want: minute,
		},
		"private type of an interface": {
			schema: `type Query { a: Node } interface Node @cacheControl(maxAge: 60) { id: ID } type A implements Node @cacheControl(scope: PRIVATE) { id: ID }`,
			query:  `{ a { id } }`, data: `{"a": {"__typename": "A"}}`, want: private,
		},
		"hinted mutation": {
			schema: `type Query { x: Int } type Mutation { a: A } type A @cacheControl(maxAge: 60) { x: Int }`, query: `mutation { a { x } }`, want: noStore,
		},
		"hinted subscription": {
			schema: `type Query { x: Int } type Subscription { a: A } type A @cacheControl(maxAge: 60) { x: Int }`, query: `subscription { a { x } }`, want: noStore,
		},
		"_entities: all hinted": {
			schema: entities, query: `{ _entities(representations: []) { __typename } }`,
			data: `{"_entities": [{"__typename": "A"}, null, {"__typename": "B"}]}`, want: "max-age=30, public",
		},
		"_entities: one without a hint": {
			schema: entities, query: `{ _entities(representations: []) { ... on A { x } } }`,
			data: `{"_entities": [{"__typename": "A"}, {"__typename": "C"}]}`, want: noStore,
		},
		"_entities: none": {
			schema: entities, query: `{ _entities(representations: []) { ... on A { x } } }`, data: `{"_entities": []}`, want: noStore,
		},
	})
}

const entities = `
	scalar _Any
	union _Entity = A | B | C
	type Query { _entities(representations: [_Any!]!): [_Entity]! }
	type A @cacheControl(maxAge: 60) { x: Int }
	type B @cacheControl(maxAge: 30) { x: Int }
	type C { x: Int }
`

// If fields of an object are selected, gqlgen itself knows the type, whatever TypeOf returns.
func TestTypeOfMayErr(t *testing.T) {
	t.Parallel()
	k := policyCase{
		schema: `
			type Query { any: Any @cacheControl(maxAge: 60) }
			union Any = Open | Mine
			type Open { x: Int }
			type Mine @cacheControl(scope: PRIVATE) { x: Int }
		`,
		data: `{"any": {"__typename": "Mine"}}`,
	}
	e := executor.New(k.world(t).executable())
	e.Use(&gqlcache.Hints{TypeOf: func(any) string { return "Open" }})
	if got := execute(t, e, graphql.RawParams{Query: `{ any { ... on Mine { x } } }`}).overall.Header(); got != private {
		t.Errorf("got %s, want it private", got)
	}
}
