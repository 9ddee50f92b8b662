package graph_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"fieldcache/cache/transport"
	"fieldcache/dataloader"
	"fieldcache/graph"
)

// nested returns a query with the given depth.
func nested(depth int) string {
	var text strings.Builder
	text.WriteString("{ users(first: 1)")
	last := "users(first: 1)"
	for i := range depth - 2 {
		last = "nodes"
		if i > 0 {
			last = []string{"reviews(first: 1)", "nodes", "author"}[(i-1)%3]
		}
		text.WriteString(" { " + last)
	}
	leaf := " { id"
	if strings.Contains(last, "first") {
		leaf = " { totalCount"
	}
	return text.String() + leaf + strings.Repeat(" }", depth)
}

// repeated repeats text n times and replaces %d in it by 0 to n-1.
func repeated(n int, text string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.ReplaceAll(text, "%d", fmt.Sprint(i)))
	}
	return b.String()
}

func TestLimits(t *testing.T) {
	t.Parallel()
	s := open(t, sqlite(t), "")
	const none = ""
	for name, c := range map[string]struct{ query, code, message string }{
		"depth 15":                    {nested(15), none, ""},
		"depth 16":                    {nested(16), "DEPTH_LIMIT_EXCEEDED", "15"},
		"depth 15 in fragments":       {`{ users(first: 1) { nodes { ...A } } } fragment A on User { reviews(first: 1) { nodes { ...B } } } fragment B on Review { author { ... on User { reviews(first: 1) { nodes { author { reviews(first: 1) { nodes { author { reviews(first: 1) { nodes { author { id } } } } } } } } } } } }`, none, ""},
		"depth 16 in fragments":       {`{ users(first: 1) { nodes { ...A } } } fragment A on User { reviews(first: 1) { nodes { ...B } } } fragment B on Review { author { ... on User { reviews(first: 1) { nodes { author { reviews(first: 1) { nodes { author { reviews(first: 1) { nodes { author { country { name } } } } } } } } } } } } }`, "DEPTH_LIMIT_EXCEEDED", "15"},
		"depth 16 of introspection":   {`{ __schema { types { fields { type { ` + strings.Repeat("ofType { ", 11) + "name" + strings.Repeat(" }", 16), "DEPTH_LIMIT_EXCEEDED", "15"},
		"30 aliases":                  {"{" + repeated(30, " a%d: __typename") + " }", none, ""},
		"31 aliases":                  {"{" + repeated(31, " a%d: __typename") + " }", "ALIAS_LIMIT_EXCEEDED", "30"},
		"30 aliases in fragments":     {"{" + repeated(15, " ...F") + " } fragment F on Query { a: __typename ... on Query { b: __typename } }", none, ""},
		"32 aliases in fragments":     {"{" + repeated(16, " ...F") + " } fragment F on Query { a: __typename ... on Query { b: __typename } }", "ALIAS_LIMIT_EXCEEDED", "30"},
		"aliases in unused fragments": {`query A { __typename }` + " query B {" + repeated(31, " a%d: __typename") + " }", none, ""},
		"2000 tokens":                 {"{" + repeated(1998, " __typename") + " }", none, ""},
		"2001 tokens":                 {"{" + repeated(1999, " __typename") + " }", "GRAPHQL_PARSE_FAILED", "2000"},
		"complexity 10000":            {"{" + repeated(33, " ...F") + " } fragment F on Query { products(first: 100) { nodes { id name } } }", none, ""},
		"complexity 10001":            {"{ users(first: 100) { nodes { id name reviews(first: 48) { nodes { id } } } } }", "COMPLEXITY_LIMIT_EXCEEDED", "10000"},
		"complexity of an alias":      {"{" + repeated(30, " a%d: countries { code name }") + " }", "COMPLEXITY_LIMIT_EXCEEDED", "10000"},
		"a size beyond numbers":       {fmt.Sprintf("{ users(first: 100) { nodes { id reviews(first: %d) { nodes { id } } } } }", math.MaxInt), "COMPLEXITY_LIMIT_EXCEEDED", "10000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			operation := map[string]any{"query": c.query}
			if name == "aliases in unused fragments" {
				operation["operationName"] = "A"
			}
			body, err := json.Marshal(operation)
			if err != nil {
				t.Fatal(err)
			}
			_, a := send(t, s.handler, http.MethodPost, "/graphql", string(body))
			switch {
			case a.code() != c.code:
				t.Errorf("code %q, want %q: %.500s", a.code(), c.code, a.raw)
			case c.code == none && (len(a.Errors) > 0 || string(a.Data) == "null"):
				t.Errorf("got %.500s, want no error", a.raw)
			case c.code != none && string(a.Data) != "" && string(a.Data) != "null":
				t.Errorf("the operation was over the limit, but ran: %.500s", a.raw)
			case c.code != none && !strings.Contains(a.Errors[0].Message, c.message):
				t.Errorf("the message does not name the limit %s: %s", c.message, a.Errors[0].Message)
			}
		})
	}
}

// Small documents that expand to very large ones are refused before they cost anything, whichever
// check refuses them first.
func TestBombsEndQuickly(t *testing.T) {
	t.Parallel()
	s := open(t, sqlite(t), "")
	chain := func(each string) string {
		return "{ ...F0 }" + repeated(60, " fragment F%d on Query { "+each+" }")
	}
	for name, c := range map[string]struct {
		query string
		codes []string
	}{
		"fragments that double":         {next(chain("...N%d ...N%d")), []string{"DEPTH_LIMIT_EXCEEDED", "GRAPHQL_VALIDATION_FAILED"}},
		"fragments that double aliases": {next(chain("a%d: __typename ...N%d ...N%d")), []string{"ALIAS_LIMIT_EXCEEDED"}},
		"fragments that double inside": {
			"{ user(id: 1) { ...F0 } }" + next(repeated(12, " fragment F%d on User { reviews(first: 1) { nodes { author { ...N%d ...N%d } } } }")),
			[]string{"DEPTH_LIMIT_EXCEEDED"},
		},
		"fragments in a circle": {"{ ...F0 } fragment F0 on Query { ...F1 } fragment F1 on Query { ...F0 }", []string{"GRAPHQL_VALIDATION_FAILED"}},
		"one field many times":  {"{" + repeated(490, " user(id: 1) { id }")[:9000] + " }", []string{"GRAPHQL_PARSE_FAILED"}},
		"fields to be merged":   {"{" + repeated(160, " users(first: 100) { nodes { id } }") + " }", []string{"COMPLEXITY_LIMIT_EXCEEDED"}},
		"braces":                {strings.Repeat("{ users ", 600) + strings.Repeat("}", 600), []string{"GRAPHQL_VALIDATION_FAILED"}},
		"lists in lists":        {"{ user(id: " + strings.Repeat("[", 990) + strings.Repeat("]", 990) + ") { id } }", []string{"GRAPHQL_VALIDATION_FAILED", "GRAPHQL_PARSE_FAILED"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			a := s.execute(t, everyone, c.query)
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("took %v, want at most 5 s", took)
			}
			if !slices.Contains(c.codes, a.code()) {
				t.Errorf("code %q, want one of %q: %.300s", a.code(), c.codes, a.raw)
			}
		})
	}
}

// next makes fragment F0 spread F1 in place of N0, and so on. The last fragment spreads none.
func next(chain string) string {
	n := strings.Count(chain, " fragment ")
	for i := range n {
		to := fmt.Sprintf("...F%d", i+1)
		if i == n-1 {
			to = "__typename"
		}
		chain = strings.NewReplacer(fmt.Sprintf("...N%d ", i), to+" ", fmt.Sprintf("...N%d }", i), to+" }").Replace(chain)
	}
	return chain
}

// graphiql is GraphiQL's introspection query: every option of graphql-js' getIntrospectionQuery.
const graphiql = `query IntrospectionQuery {
	__schema {
		description
		queryType { name kind } mutationType { name kind } subscriptionType { name kind }
		types { ...FullType }
		directives { name description isRepeatable locations args(includeDeprecated: true) { ...InputValue } }
	}
}
fragment FullType on __Type {
	kind name description specifiedByURL isOneOf
	fields(includeDeprecated: true) {
		name description
		args(includeDeprecated: true) { ...InputValue }
		type { ...TypeRef }
		isDeprecated deprecationReason
	}
	inputFields(includeDeprecated: true) { ...InputValue }
	interfaces { ...TypeRef }
	enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason }
	possibleTypes { ...TypeRef }
}
fragment InputValue on __InputValue {
	name description type { ...TypeRef } defaultValue isDeprecated deprecationReason
}
fragment TypeRef on __Type {
	kind name
	ofType { name kind ofType { name kind ofType { name kind
		ofType { name kind ofType { name kind ofType { name kind
			ofType { name kind ofType { name kind ofType { name kind } } }
		} } }
	} } }
}`

// The operations of a batch share one budget for introspection, and a full introspection fits it.
func TestFault32IntrospectionOfABatch(t *testing.T) {
	t.Parallel()
	s := open(t, sqlite(t), "")
	query, err := json.Marshal(graphiql)
	if err != nil {
		t.Fatal(err)
	}
	one := `{"query": ` + string(query) + `}`
	all := sendBatch(t, s.handler, "["+strings.Repeat(one+",", 9)+`{"query": "{ user(id: 1) { id } }"}]`)
	answered, refused := 0, 0
	for _, a := range all[:9] {
		switch a.code() {
		case "":
			answered++
		case "COMPLEXITY_LIMIT_EXCEEDED":
			refused++
		}
	}
	if answered < 1 || answered > 3 || answered+refused != 9 {
		t.Errorf("%d operations ran and %d were refused, want 1 to 3 of 9 to run", answered, refused)
	}
	if len(all[9].Errors) > 0 {
		t.Error(all[9].Errors)
	}
}

func TestIntrospection(t *testing.T) {
	t.Parallel()
	s := open(t, sqlite(t), "")
	var schema struct {
		Schema struct {
			QueryType struct{ Name string }
			Types     []struct {
				Name   string
				Fields []struct{ Name string }
			}
			Directives []struct{ Name string }
		} `json:"__schema"`
	}
	s.read(t, &schema, graphiql)
	if schema.Schema.QueryType.Name != "Query" {
		t.Errorf("the query type is %q, want Query", schema.Schema.QueryType.Name)
	}
	fields := map[string]int{}
	for _, typ := range schema.Schema.Types {
		fields[typ.Name] = len(typ.Fields)
	}
	if fields["User"] != 9 || fields["Mutation"] != 8 {
		t.Errorf("User has %d fields, want 9; Mutation has %d, want 8", fields["User"], fields["Mutation"])
	}
	if got := s.sql(); len(got) > 0 {
		t.Errorf("introspection ran statements:\n%s", lines(got))
	}

	// With introspection off, neither introspection nor errors reveal the schema.
	log := slog.New(slog.DiscardHandler)
	off := handlerOf(t, graph.NewExecutor(graph.NewSchema(s.db, log), new(dataloader.Factory), graph.Options{
		Limits: graph.Limits{MaxDepth: 15, MaxAliases: 30}, MaxComplexity: 10_000,
	}, log), transport.Options{HideSchema: true})
	for name, query := range map[string]string{
		"GraphiQL": graphiql, "__schema": `{ __schema { queryType { name } } }`, "__type": `{ __type(name: "User") { name } }`,
		"__schema in a fragment": `{ ...F } fragment F on Query { a: __schema { queryType { name } } }`,
		"a guess":                `{ usr(id: 1) { id } }`,
		"a guess of an argument": `{ user(idd: 1) { id } }`,
		"a guess of a type":      `{ search(text: "a") { ... on Usr { id } } }`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := json.Marshal(map[string]any{"query": query})
			if err != nil {
				t.Fatal(err)
			}
			_, a := send(t, off, http.MethodPost, "/graphql", string(body))
			if a.code() != "GRAPHQL_VALIDATION_FAILED" || a.Data != nil {
				t.Errorf("got %s, want GRAPHQL_VALIDATION_FAILED", a.raw)
			}
			if strings.Contains(a.raw, "Did you mean") || strings.Contains(a.raw, `"name":"`) {
				t.Errorf("the response reveals the schema: %s", a.raw)
			}
		})
	}
}
