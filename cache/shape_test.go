package cache_test

import (
	"testing"
	"time"

	"fieldcache/cache"
)

// tree and forest refer to themselves.
type (
	tree struct {
		Name string `json:"name"`
		Kids []tree `json:"kids"`
	}
	forest struct {
		Trees []tree   `json:"trees"`
		Parts []forest `json:"parts"`
	}
)

// Types of one name, as in several releases, have shapes of their own.
func TestShapeOf(t *testing.T) {
	t.Parallel()
	type value struct {
		ID   int64  `json:"id"`
		Name string `json:"name"`
	}
	type cents int64
	shapes := map[string]string{}
	for name, shape := range map[string]string{
		"a struct": cache.ShapeOf[value](),
		"another name": func() string {
			type value struct {
				ID    int64  `json:"id"`
				Title string `json:"name"`
			}
			return cache.ShapeOf[value]()
		}(),
		"another name in JSON": func() string {
			type value struct {
				ID   int64  `json:"id"`
				Name string `json:"title"`
			}
			return cache.ShapeOf[value]()
		}(),
		"another type": func() string {
			type value struct {
				ID   int32  `json:"id"`
				Name string `json:"name"`
			}
			return cache.ShapeOf[value]()
		}(),
		"a type of the same kind": func() string {
			type value struct {
				ID   cents  `json:"id"`
				Name string `json:"name"`
			}
			return cache.ShapeOf[value]()
		}(),
		"a pointer": func() string {
			type value struct {
				ID   int64   `json:"id"`
				Name *string `json:"name"`
			}
			return cache.ShapeOf[value]()
		}(),
		"an additional member": func() string {
			type value struct {
				ID   int64  `json:"id"`
				Name string `json:"name"`
				Bio  string `json:"bio"`
			}
			return cache.ShapeOf[value]()
		}(),
		"a member that JSON leaves out": func() string {
			type value struct {
				ID   int64  `json:"id"`
				Name string `json:"name"`
				Bio  string `json:"-"`
			}
			return cache.ShapeOf[value]()
		}(),
		"a private member": func() string {
			type value struct {
				ID   int64  `json:"id"`
				Name string `json:"name"`
				bio  string
			}
			return cache.ShapeOf[value]() + value{bio: ""}.bio
		}(),
		"an additional member further down": func() string {
			type inner struct {
				ID   int64  `json:"id"`
				Name string `json:"name"`
			}
			type value struct{ Inner []map[string]*inner }
			return cache.ShapeOf[value]()
		}(),
		"none further down": func() string {
			type inner struct {
				ID int64 `json:"id"`
			}
			type value struct{ Inner []map[string]*inner }
			return cache.ShapeOf[value]()
		}(),
		"a list":           cache.ShapeOf[[]value](),
		"an array of two":  cache.ShapeOf[[2]value](),
		"an array of one":  cache.ShapeOf[[1]value](),
		"a map":            cache.ShapeOf[map[string]value](),
		"a map of numbers": cache.ShapeOf[map[int]value](),
		"a moment":         cache.ShapeOf[time.Time](),
		"a tree":           cache.ShapeOf[tree](),
		"a forest":         cache.ShapeOf[forest](),
		"a number":         cache.ShapeOf[int64](),
		"any":              cache.ShapeOf[any](),
	} {
		if !isShape(shape) {
			t.Errorf("%s: got shape %q, want lowercase letters and digits", name, shape)
		}
		if other, ok := shapes[shape]; ok {
			t.Errorf("%s has the same shape as %s", name, other)
		}
		shapes[shape] = name
	}
	if again := cache.ShapeOf[value](); shapes[again] != "a struct" {
		t.Errorf("got shape %s the second time, which is that of %q", again, shapes[again])
	}
}

// Models that refer to others twice: there are 2^36 paths through pairs36.
type (
	pair[T any]    struct{ Owner, Editor *T }
	pairs6[T any]  = pair[pair[pair[pair[pair[pair[T]]]]]]
	pairs36[T any] = pairs6[pairs6[pairs6[pairs6[pairs6[pairs6[T]]]]]]
)

// A shape takes no time that grows with the number of paths through the types.
func TestShapeOfModelsThatReferToEachOther(t *testing.T) {
	t.Parallel()
	text, number := cache.ShapeOf[pairs36[string]](), cache.ShapeOf[pairs36[int]]()
	if !isShape(text) || text == number {
		t.Errorf("got shapes %q and %q, want two", text, number)
	}
}

func isShape(s string) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// release is a source whose values have the shape of one release.
type release struct {
	*client
	shape string
}

func (r release) Shape(cache.Request) string { return r.shape }

func TestWhatAnotherReleaseStoredIsNotServed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, redis := newDatabase(1), newFakeRedis(1)
		d.run(set("user:1", "one"))
		first, second := begin(t, d, redis), begin(t, d, redis)
		first.at(t, release{first.client, "0001"}, "user:1")
		if r := second.at(t, release{second.client, "0002"}, "user:1"); r.Value != "one" || r.Tier != cache.SourceTier {
			t.Errorf("got %+v, want the value from the source, not the entry of another release", r)
		}
		third := begin(t, d, redis)
		if r := third.at(t, release{third.client, "0002"}, "user:1"); r.Value != "one" || r.Tier != cache.SharedTier {
			t.Errorf("got %+v, want the entry of this release from the shared tier", r)
		}
	})
}
