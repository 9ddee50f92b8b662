package gqlcache_test

import (
	"strings"
	"testing"
	"time"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
	"fieldcache/cache/policy"
)

func TestWindowsOfASchema(t *testing.T) {
	t.Parallel()
	read := func(text string) (*policy.Policies, error) {
		s, err := gqlparser.LoadSchema(&ast.Source{Name: "test", Input: policy.Directives + text})
		if err != nil {
			t.Fatal(err)
		}
		return policy.ReadPolicies(s)
	}
	policies, err := read(`
		type Query {
			thing: Thing
			own: Thing @cacheControl(maxAge: 5, staleIfError: 9)
			plain: Int @cacheControl(maxAge: 5)
		}
		type Thing @cacheControl(maxAge: 60, staleWhileRevalidate: 30, staleIfError: 600) {
			inherits: Int
			strict: Int @cacheControl(staleIfError: 0)
			fresh: Int @cacheControl(maxAge: 1, staleWhileRevalidate: 0)
		}
	`)
	if err != nil {
		t.Fatal(err)
	}
	const s = time.Second
	for coordinate, want := range map[string]cache.Policy{
		"Query.thing":    {MaxAge: 60 * s, StaleWhileRevalidate: 30 * s, StaleIfError: 600 * s},
		"Query.own":      {MaxAge: 5 * s, StaleWhileRevalidate: 30 * s, StaleIfError: 9 * s},
		"Query.plain":    {MaxAge: 5 * s},
		"Thing.inherits": {MaxAge: 60 * s, StaleWhileRevalidate: 30 * s, StaleIfError: 600 * s},
		"Thing.strict":   {MaxAge: 60 * s, StaleWhileRevalidate: 30 * s, StaleIfError: -1},
		"Thing.fresh":    {MaxAge: s},
	} {
		if got, err := policies.Of(coordinate); err != nil || got != want {
			t.Errorf("%s: got %+v, error %v; want %+v", coordinate, got, err, want)
		}
	}
	_, err = read(`
		type Query {
			a: Int @cacheControl(maxAge: 0, staleWhileRevalidate: 5)
			b: Int @cacheControl(maxAge: 0, staleIfError: 5)
			c: Int @cacheControl(maxAge: 1, staleWhileRevalidate: -5)
			d: Int @cacheControl(maxAge: 1, staleIfError: 99999999999)
			e: Int @cacheControl(maxAge: 0, staleIfError: 0)
		}
	`)
	for _, field := range []string{"a", "b", "c", "d"} {
		if err == nil || !strings.Contains(err.Error(), "Query."+field+": @cacheControl") {
			t.Errorf("Query.%s: got error %v, want the directive refused", field, err)
		}
	}
	if err != nil && strings.Contains(err.Error(), "Query.e") {
		t.Error(err)
	}
}
