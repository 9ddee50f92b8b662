package gqlcache

import (
	"reflect"
	"testing"

	"fieldcache/cache/policy"
)

// Go types of values behind a union.
type (
	Free     struct{}
	Mine     struct{}
	Foreign  struct{} // not a type of the schema
	anything interface{ isAny() }
)

func (*Free) isAny()   {}
func (Mine) isAny()    {}
func (Foreign) isAny() {}

// Without TypeOf, the type of a value is the one with the name of its Go type, as for gqlgen's
// models.
func TestGoTypesAreObjectTypes(t *testing.T) {
	t.Parallel()
	h := newHints(t, `
		directive @cacheControl(maxAge: Int, scope: CacheControlScope) on FIELD_DEFINITION | OBJECT | UNION
		enum CacheControlScope { PUBLIC PRIVATE }
		type Query { any: [Any] @cacheControl(maxAge: 60) }
		union Any = Free | Mine
		type Free { x: Int }
		type Mine @cacheControl(maxAge: 30, scope: PRIVATE) { x: Int }
	`)
	for name, c := range map[string]struct {
		value any
		want  string
	}{
		"nothing":             {nil, noBound},
		"a nil pointer":       {(*Free)(nil), noBound},
		"a pointer":           {&Free{}, noBound},
		"a value":             {Mine{}, "max-age=30, private"},
		"an empty list":       {[]anything{}, noBound},
		"a list of nothing":   {[]anything{nil, (*Free)(nil)}, noBound},
		"a list":              {[]anything{&Free{}, Mine{}}, "max-age=30, private"},
		"a list of lists":     {[][]*Mine{nil, {nil}, {{}}}, "max-age=30, private"},
		"a pointer to a list": {&[]anything{Mine{}}, "max-age=30, private"},
		"an unknown type":     {Foreign{}, "max-age=30, private"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			counted := &collector{hints: h, plan: &policy.Plan{Static: policy.Unlimited()}}
			b := counted.items(h.objects["Query"].Field("any"), reflect.ValueOf(c.value))
			if got := b.Overall().Header(); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// noBound is the header of a response without an age.
const noBound = "no-store"
