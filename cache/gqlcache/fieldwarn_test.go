package gqlcache_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache/gqlcache"
	"fieldcache/cache/policy"
)

// handmade is an executable schema of the form that gqlgen generates.
type handmade struct {
	graphql.ExecutableSchema
	Resolvers  handmadeRoot
	Directives struct {
		Checked func(ctx context.Context) error
	}
}

type handmadeRoot interface {
	Query() handmadeQuery
	Item() handmadeItem
}

type handmadeQuery interface {
	Item(ctx context.Context) (*handmadeModel, error)
	Forbidden(ctx context.Context) (int, error)
	Odd(ctx context.Context, more ...int) (int, error)
	Ageless(ctx context.Context) (int, error)
}

type handmadeItem interface {
	Count(ctx context.Context, obj *handmadeModel) (int, error)
	Fine(ctx context.Context, obj *handmadeModel) (int, error)
}

type handmadeModel struct{ ID, Name, Part string }

// PlanFields warns of every age without effect, with its coordinate.
func TestPlansTellOfEachAgeWithoutEffect(t *testing.T) {
	t.Parallel()
	plan := func(text string) (*gqlcache.FieldPlan, error) {
		schema := gqlparser.MustLoadSchema(&ast.Source{Input: policy.Directives + "directive @checked on FIELD_DEFINITION\n" + text})
		es := handmade{ExecutableSchema: &graphql.ExecutableSchemaMock{SchemaFunc: func() *ast.Schema { return schema }}, Resolvers: stubs{}}
		es.Directives.Checked = func(context.Context) error { return nil }
		return gqlcache.PlanFields(es)
	}
	p, err := plan(`
		type Query {
			item: Item @cacheControl(maxAge: 60)
			forbidden: Int @cacheControl(maxAge: 60) @checked
			odd: Int @cacheControl(maxAge: 60)
			absent: Int @cacheControl(maxAge: 60)
			ageless: Int @cacheTag(format: "a") @cacheControl(staleWhileRevalidate: 5, staleIfError: 5)
		}
		type Item @cacheControl(maxAge: 0) {
			id: ID!
			name: String @cacheControl(maxAge: 60)
			part: String @cacheControl(maxAge: 60) @cacheTag(format: "p")
			count: Int @cacheControl(maxAge: 60)
			fine: Int
		}
		type Mutation { change: Item @cacheControl(maxAge: 60) }
		type Subscription { changed: Item @cacheControl(maxAge: 60) }
		interface Named { name: String @cacheControl(maxAge: 60) }
		type Alone @cacheControl(maxAge: 60) { x: Int }
	`)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"Alone: the age", "Item.count: the age has no effect on responses", "Item.name: the age", "Item.part: the age", "Item.part: its rows or tags",
		"Mutation.change: the age", "Named.name: the age", "Query.absent: the age", "Query.ageless: it declares", "Query.ageless: staleIfError",
		"Query.ageless: staleWhileRevalidate", "Query.forbidden: the age has no effect in the field cache: @checked", "Query.odd: the age has no effect in the field cache: its resolver",
		"Subscription.changed: the age",
	}
	got := p.Warnings()
	if len(got) != len(want) || !slices.IsSorted(got) {
		t.Errorf("got %d warnings, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
	for _, w := range want {
		if !slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, w) }) {
			t.Errorf("got no warning that begins with %q:\n%s", w, strings.Join(got, "\n"))
		}
	}
	_, err = plan(`
		type Query {
			item: Item @cacheControl(maxAge: 60) @cacheTag(format: "{$viewer}")
			ageless: Int @cacheControl(maxAge: 60) @cacheTag(format: "{$viewer}")
			odd: Int @cacheControl(maxAge: 0, staleWhileRevalidate: 1)
		}
		type Item { id: ID! }
	`)
	if err == nil || !strings.Contains(err.Error(), "Query.odd") {
		t.Errorf("got error %v, want one that names Query.odd", err)
	}
	_, err = plan(`
		type Query {
			item: Item @cacheControl(maxAge: 60) @cacheTag(format: "{$viewer}")
			ageless: Int @cacheControl(maxAge: 60) @cacheTag(format: "{$viewer}")
		}
		type Item { id: ID! }
	`)
	if err == nil || !strings.Contains(err.Error(), "Query.item") || !strings.Contains(err.Error(), "Query.ageless") {
		t.Errorf("got error %v, want one that names both contradictions", err)
	}
}

// stubs are resolvers that are never called.
type stubs struct{}

type stubQuery struct{}

func (stubQuery) Item(context.Context) (*handmadeModel, error) { return nil, nil }
func (stubQuery) Forbidden(context.Context) (int, error)       { return 0, nil }
func (stubQuery) Odd(context.Context, ...int) (int, error)     { return 0, nil }
func (stubQuery) Ageless(context.Context) (int, error)         { return 0, nil }

type stubItem struct{}

func (stubItem) Count(context.Context, *handmadeModel) (int, error) { return 0, nil }
func (stubItem) Fine(context.Context, *handmadeModel) (int, error)  { return 0, nil }

func (stubs) Query() handmadeQuery { return stubQuery{} }
func (stubs) Item() handmadeItem   { return stubItem{} }
