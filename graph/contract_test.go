package graph_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/graph"
)

const contractFile = "testdata/contract.graphqls"

func contractText(t testing.TB) string {
	text, err := os.ReadFile(contractFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func parseSchema(t testing.TB, text string) *ast.Schema {
	t.Helper()
	s, err := gqlparser.LoadSchema(&ast.Source{Name: contractFile, Input: text})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The schema has everything in the contract that clients rely on. It may have more.
func TestSchemaHoldsContract(t *testing.T) {
	t.Parallel()
	contract := parseSchema(t, contractText(t))
	for _, b := range breaches(contract, graph.NewSchema(nil, nil).Schema()) {
		t.Error(b)
	}
}

// breaches finds each change of the contract that the schema does not fulfil.
func TestBreachesAreSeen(t *testing.T) {
	t.Parallel()
	text := contractText(t)
	got := graph.NewSchema(nil, nil).Schema()
	for name, c := range map[string]struct{ old, new, breach string }{
		"a type is missing":              {"scalar Time", "scalar Time\nscalar Date", "scalar Date is missing"},
		"a field is missing":             {"  body: String!\n", "  body: String!\n  title: String!\n", "Review.title is missing"},
		"a field has another type":       {"  rating: Int!\n", "  rating: Float!\n", "Review.rating is Int!, not Float!"},
		"a field may be null":            {"  bio: String\n  \"", "  bio: String!\n  \"", "User.bio is String, not String!"},
		"a type is of another kind":      {"enum CacheControlScope {", "enum Sort {\n  UP\n}\n\nenum CacheControlScope {", "enum Sort is missing"},
		"an argument is missing":         {"search(text: String!,", "search(text: String!, fuzzy: Boolean,", "Query.search(fuzzy:) is missing"},
		"an argument has another type":   {"country(code: ID!)", "country(code: String!)", "Query.country(code:) is ID!, not String!"},
		"an argument's default differs":  {"search(text: String!, first: Int! = 10)", "search(text: String!, first: Int! = 5)", "Query.search(first:) defaults to 10, not 5"},
		"an argument lacks its default":  {"after: String): UserConnection!\n  \"", "after: String = \"x\"): UserConnection!\n  \"", `Query.users(after:) has no default, not "x"`},
		"an input field is missing":      {"  currency: String!\n}\n\ninput OrderLineInput", "  currency: String!\n  locale: ID\n}\n\ninput OrderLineInput", "MoneyInput.locale is missing"},
		"an input field is needed":       {"  email: String!\n  bio: String\n  countryCode: ID\n}\n\ninput UpdateUserInput", "  bio: String\n  countryCode: ID\n}\n\ninput UpdateUserInput", "CreateUserInput.email is needed, but no client knows of it"},
		"an enum value is missing":       {"  PUBLIC\n", "  PUBLIC\n  SHARED\n", "CacheControlScope.SHARED is missing"},
		"a union's member is missing":    {"union SearchResult = User | Product", "union SearchResult = User | Product | Review", "SearchResult holds no Review"},
		"a directive is missing":         {"scalar Time", "directive @tag on OBJECT\n\nscalar Time", "@tag is missing"},
		"a directive's place is missing": {"| UNION", "| UNION | SCALAR", "@cacheControl is not allowed on SCALAR"},
		"a directive's argument differs": {"inheritMaxAge: Boolean\n", "inheritMaxAge: [Boolean]\n", "@cacheControl(inheritMaxAge:) is Boolean, not [Boolean]"},
		"a field's hint is missing":      {"  body: String!\n", "  body: String! @cacheControl(maxAge: 5)\n", "Review.body has no hint, not @cacheControl(maxAge: 5)"},
		"a field's hint is one too many": {"stock: Int! @cacheControl(maxAge: 30)", "stock: Int!", "Product.stock has @cacheControl(maxAge: 30), not no hint"},
		"a field's hint differs":         {"stock: Int! @cacheControl(maxAge: 30)", "stock: Int! @cacheControl(maxAge: 31)", "Product.stock has @cacheControl(maxAge: 30), not @cacheControl(maxAge: 31)"},
		"a type's hint differs":          {"type User @cacheControl(maxAge: 60)", "type User @cacheControl(maxAge: 60, scope: PRIVATE)", "User has @cacheControl(maxAge: 60), not @cacheControl(maxAge: 60, scope: PRIVATE)"},
		"a mutation is missing":          {"  deleteUser(", "  deleteOrder(id: ID!): ID!\n  deleteUser(", "Mutation.deleteOrder is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if strings.Count(text, c.old) != 1 {
				t.Fatalf("%q is in the contract %d times, want once", c.old, strings.Count(text, c.old))
			}
			if all := breaches(parseSchema(t, strings.Replace(text, c.old, c.new, 1)), got); len(all) != 1 || all[0] != c.breach {
				t.Errorf("got %q, want %q", all, c.breach)
			}
		})
	}
}

// breaches lists where a schema falls short of the contract, in the order of the contract.
func breaches(contract, got *ast.Schema) []string {
	var all []string
	breach := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	arguments := func(place string, want, got ast.ArgumentDefinitionList) {
		for _, w := range want {
			g := got.ForName(w.Name)
			at := fmt.Sprintf("%s(%s:)", place, w.Name)
			switch {
			case g == nil:
				breach("%s is missing", at)
			case g.Type.String() != w.Type.String():
				breach("%s is %s, not %s", at, g.Type, w.Type)
			case text(g.DefaultValue) != text(w.DefaultValue):
				breach("%s %s, not %s", at, defaults(g.DefaultValue), text(w.DefaultValue))
			}
		}
		for _, g := range got {
			if want.ForName(g.Name) == nil && g.Type.NonNull && g.DefaultValue == nil {
				breach("%s(%s:) is needed, but no client knows of it", place, g.Name)
			}
		}
	}
	hint := func(place string, want, got ast.DirectiveList) {
		if w, g := hintText(want), hintText(got); w != g {
			breach("%s has %s, not %s", place, g, w)
		}
	}
	for _, w := range sorted(contract.Directives, func(d *ast.DirectiveDefinition) *ast.Position { return d.Position }) {
		g := got.Directives[w.Name]
		if g == nil {
			breach("@%s is missing", w.Name)
			continue
		}
		for _, l := range w.Locations {
			if !slices.Contains(g.Locations, l) {
				breach("@%s is not allowed on %s", w.Name, l)
			}
		}
		arguments("@"+w.Name, w.Arguments, g.Arguments)
	}
	for _, w := range sorted(contract.Types, func(d *ast.Definition) *ast.Position { return d.Position }) {
		g := got.Types[w.Name]
		if g == nil || g.Kind != w.Kind {
			breach("%s %s is missing", strings.ToLower(string(w.Kind)), w.Name)
			continue
		}
		hint(w.Name, w.Directives, g.Directives)
		for _, member := range w.Types {
			if !slices.Contains(g.Types, member) {
				breach("%s holds no %s", w.Name, member)
			}
		}
		for _, v := range w.EnumValues {
			if g.EnumValues.ForName(v.Name) == nil {
				breach("%s.%s is missing", w.Name, v.Name)
			}
		}
		for _, wf := range w.Fields {
			at := w.Name + "." + wf.Name
			gf := g.Fields.ForName(wf.Name)
			switch {
			case gf == nil:
				breach("%s is missing", at)
				continue
			case gf.Type.String() != wf.Type.String():
				breach("%s is %s, not %s", at, gf.Type, wf.Type)
			case text(gf.DefaultValue) != text(wf.DefaultValue):
				breach("%s %s, not %s", at, defaults(gf.DefaultValue), text(wf.DefaultValue))
			}
			arguments(at, wf.Arguments, gf.Arguments)
			hint(at, wf.Directives, gf.Directives)
		}
		for _, gf := range g.Fields {
			if w.Kind == ast.InputObject && w.Fields.ForName(gf.Name) == nil && gf.Type.NonNull && gf.DefaultValue == nil {
				breach("%s.%s is needed, but no client knows of it", w.Name, gf.Name)
			}
		}
	}
	return all
}

// sorted returns the contract's own definitions in the order of its text, without those of GraphQL
// itself.
func sorted[D any](all map[string]D, position func(D) *ast.Position) []D {
	var own []D
	for _, d := range all {
		if p := position(d); p != nil && p.Src.Name == contractFile {
			own = append(own, d)
		}
	}
	slices.SortFunc(own, func(a, b D) int { return position(a).Start - position(b).Start })
	return own
}

func text(v *ast.Value) string {
	if v == nil {
		return ""
	}
	return v.String()
}

func defaults(v *ast.Value) string {
	if v == nil {
		return "has no default"
	}
	return "defaults to " + v.String()
}

// hintText returns a @cacheControl hint with its arguments sorted by name.
func hintText(list ast.DirectiveList) string {
	d := list.ForName("cacheControl")
	if d == nil {
		return "no hint"
	}
	var args []string
	for _, a := range d.Arguments {
		args = append(args, a.Name+": "+a.Value.String())
	}
	slices.Sort(args)
	return "@cacheControl(" + strings.Join(args, ", ") + ")"
}
