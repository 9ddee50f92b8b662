package cache_test

import (
	"testing"
	"time"

	"fieldcache/cache"
)

type (
	shaped struct {
		ID   int64  `json:"id"`
		Name string `json:"name"`
	}
	sameShape struct {
		ID     int64  `json:"id"`
		Name   string `json:"name"`
		Unkept int    `json:"-"`
		hidden int
	}
	renamed struct {
		ID   int64  `json:"id"`
		Name string `json:"title"`
	}
	retyped struct {
		ID   int32  `json:"id"`
		Name string `json:"name"`
	}
	optional struct {
		ID   int64   `json:"id"`
		Name *string `json:"name"`
	}
	longer struct {
		ID   int64  `json:"id"`
		Name string `json:"name"`
		Bio  string `json:"bio"`
	}
	timed struct {
		At time.Time `json:"at"`
	}
	textual struct {
		At string `json:"at"`
	}
	tree struct {
		Name string `json:"name"`
		Kids []tree `json:"kids"`
	}
	otherTree struct {
		Name string      `json:"name"`
		Kids []otherTree `json:"kids"`
		Leaf bool        `json:"leaf"`
	}
)

func TestShapeOf(t *testing.T) {
	t.Parallel()
	_ = sameShape{hidden: 0}
	if cache.ShapeOf[shaped]() != cache.ShapeOf[sameShape]() {
		t.Error("a field that encoding/json ignores changes the shape")
	}
	if first, again := cache.ShapeOf[shaped](), cache.ShapeOf[shaped](); first != again {
		t.Error("two calls return different shapes")
	}
	shapes := map[string]string{}
	for name, shape := range map[string]string{
		"a struct":             cache.ShapeOf[shaped](),
		"another name":         cache.ShapeOf[renamed](),
		"another type":         cache.ShapeOf[retyped](),
		"a pointer":            cache.ShapeOf[optional](),
		"an additional member": cache.ShapeOf[longer](),
		"a list":               cache.ShapeOf[[]shaped](),
		"an array of two":      cache.ShapeOf[[2]shaped](),
		"an array of one":      cache.ShapeOf[[1]shaped](),
		"a list of others":     cache.ShapeOf[[]longer](),
		"a map":                cache.ShapeOf[map[string]shaped](),
		"a map of numbers":     cache.ShapeOf[map[int]shaped](),
		"a moment":             cache.ShapeOf[timed](),
		"a text":               cache.ShapeOf[textual](),
		"a tree":               cache.ShapeOf[tree](),
		"another tree":         cache.ShapeOf[otherTree](),
		"a number":             cache.ShapeOf[int64](),
		"any":                  cache.ShapeOf[any](),
	} {
		if !isShape(shape) {
			t.Errorf("%s: got shape %q, want lowercase letters and digits", name, shape)
		}
		if other, ok := shapes[shape]; ok {
			t.Errorf("%s has the same shape as %s", name, other)
		}
		shapes[shape] = name
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
