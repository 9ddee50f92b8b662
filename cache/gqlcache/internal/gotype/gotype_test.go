package gotype_test

import (
	"context"
	"reflect"
	"testing"

	"fieldcache/cache/gqlcache/internal/gotype"
	"fieldcache/internal/tracker"
)

func TestTypesOfGeneratedCode(t *testing.T) {
	schema := tracker.NewExecutableSchema(tracker.Config{Resolvers: &tracker.Resolver{}})
	types, ok := gotype.Of(schema)
	if !ok {
		t.Fatal("a schema that gqlgen generated was not recognized")
	}
	for coordinate, want := range map[string]reflect.Type{
		"Query.issues":           reflect.TypeFor[[]*tracker.Issue](),
		"Query.feed":             reflect.TypeFor[[]tracker.FeedItem](),
		"Query.node":             reflect.TypeFor[tracker.Node](),
		"Query.grid":             reflect.TypeFor[[][]int](),
		"Issue.commentCount":     reflect.TypeFor[int](),
		"IssueStats.readingTime": reflect.TypeFor[float64](),
	} {
		if r := types.Resolver(coordinate); r == nil || r.Result != want {
			t.Errorf("%s: got %+v, want type %v", coordinate, r, want)
		}
	}
	for _, coordinate := range []string{"Issue.title", "Issue.stats", "Query.nothing"} {
		if types.Resolver(coordinate) != nil {
			t.Errorf("%s: got a resolver, want none", coordinate)
		}
	}
	for name, want := range map[string]reflect.Type{
		"Issue": reflect.TypeFor[tracker.Issue](), "Comment": reflect.TypeFor[tracker.Comment](),
		"Account": reflect.TypeFor[tracker.Account](), "Member": reflect.TypeFor[tracker.Member](),
		"IssueStats": reflect.TypeFor[tracker.IssueStats](),
	} {
		if got := types.Object(name); got != want || types.Name(want) != name {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	if !types.Attribute("Issue", "authorID") || types.Attribute("Issue", "nothing") {
		t.Error("Attribute is wrong for an attribute that is not a field of the schema")
	}
	if types.Runs("cacheControl") {
		t.Error("Runs returns true for a directive that is skipped at run time")
	}
}

func TestResolversAreCalledWithTheirOwnTypes(t *testing.T) {
	types, _ := gotype.Of(tracker.NewExecutableSchema(tracker.Config{Resolvers: &tracker.Resolver{}}))
	score := types.Resolver("Issue.score")
	issue := tracker.Issue{Title: "two words", Labels: []string{"x"}}
	for _, test := range []struct {
		name   string
		parent any
	}{
		{"the object", &issue}, {"a slot of a list", &[]*tracker.Issue{&issue}[0]}, {"an interface", any(&issue)},
		{"a slot of a list of values", &[]tracker.Issue{issue}[0]}, {"a value behind an interface", issue},
	} {
		receiver, ok := score.Receiver(test.parent)
		if !ok {
			t.Errorf("%s: got no receiver", test.name)
			continue
		}
		got, err := score.Call(context.Background(), receiver, map[string]any{"weights": []float64{2, 3}})
		if err != nil || got.Float() != 7 {
			t.Errorf("%s: got %v, error %v, want 7", test.name, got, err)
		}
	}
	if _, ok := score.Receiver(&tracker.Comment{}); ok {
		t.Error("a comment was accepted as an issue")
	}
	if _, ok := score.Receiver(nil); ok {
		t.Error("nil was accepted as an issue")
	}
	if _, err := score.Call(context.Background(), reflect.ValueOf(&issue), map[string]any{"weights": "x"}); err == nil {
		t.Error("an argument of another type was accepted")
	}
	if got, err := types.Resolver("Query.grid").Call(context.Background(), reflect.Value{}, map[string]any{"size": 2}); err != nil || got.Len() != 2 {
		t.Errorf("root field: got %v, error %v", got, err)
	}
}
