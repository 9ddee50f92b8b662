package cache_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"fieldcache/cache"
)

// namesOf builds every sort of name from texts, and tells by which texts: names are equal where that is.
func namesOf(a, b, c string) map[string]string {
	names := map[string]string{}
	add := func(name, form string, parts ...string) { names[name] = fmt.Sprintf("%s%q", form, parts) }
	key := func(k cache.Key, form string, parts ...string) {
		add(string(k), form, parts...)
		add(k.Fence(), "fence of "+form, parts...)
	}
	tag := func(t cache.Tag, form string, parts ...string) {
		add(t.Generation(), "generation of "+form, parts...)
		key(t.List(), "list of "+form, parts...)
		key(t.List(b, c), "list by one of "+form, parts...)
		key(t.List(b, c, "x", a), "list by two of "+form, parts...)
		key(t.Count(), "count of "+form, parts...)
	}
	entity := cache.Entity(a, b)
	key(entity, "entity", a, b)
	key(entity.Part("p"+c), "part", a, b, c)
	tag(entity.Collection("c"+c), "collection", a, b, c)
	tag(entity.Collection("c"+c).Where(a, c), "filtered collection", a, b, c)
	tag(cache.All(a), "all", a, b, c)
	tag(cache.All(a).Where(b, c), "filtered", a, b, c)
	return names
}

func checkNames(t *testing.T, a, b, c string) {
	t.Helper()
	total := 0
	for _, texts := range [][3]string{{a, b, c}, {c, b, a}, {a, c, b}} {
		names := namesOf(texts[0], texts[1], texts[2])
		total = max(total, len(names))
		for name := range names {
			if strings.ContainsAny(name, " \t\r\n\"\\") {
				t.Errorf("%q has a character of its surroundings", name)
			}
		}
	}
	if total != 40 {
		t.Errorf("%q, %q and %q make %d different names, want 40", a, b, c, total)
	}
	for _, text := range []string{a, b, c} {
		name := string(cache.Entity("k", text))
		if back, err := url.PathUnescape(strings.TrimPrefix(name, "k:")); err != nil || back != text {
			t.Errorf("%q comes back from %s as %q (%v)", text, name, back, err)
		}
	}
}

// separators are what stands between the parts of names, and what looks like it.
var separators = []string{
	"", "a", "g", "list", "count", ":", "{", "}", ",", "=", "%", "%2C", "}:g", ":g", "a:b", "a,b=c", "{a}", "a}:list:b", "ä", "\xff", "\n", " ", "\x00", `"`, "a=b:list",
}

func TestFault35NamesOfDifferentThingsDiffer(t *testing.T) {
	t.Parallel()
	for i, a := range separators {
		for j, b := range separators {
			checkNames(t, a, b, separators[(7*i+3*j)%len(separators)])
			if t.Failed() {
				return
			}
		}
	}
	product := cache.Entity("product", "7")
	for _, name := range []cache.Key{product.Part("g"), cache.Key(product.Collection("g"))} {
		if string(name) == product.Fence() {
			t.Errorf("a field called g has the name of a fence: %s", name)
		}
	}
}

// Two sorts of names never meet, whatever texts each is built from.
func FuzzFault35Names(f *testing.F) {
	for i, s := range separators {
		f.Add(s, separators[(i+3)%len(separators)], separators[(i+7)%len(separators)], "a", "b", "c")
	}
	f.Fuzz(func(t *testing.T, a, b, c, d, e, g string) {
		checkNames(t, a, b, c)
		one, two := namesOf(a, b, c), namesOf(d, e, g)
		for name, form := range one {
			if other, ok := two[name]; ok && kindOf(form) != kindOf(other) {
				t.Errorf("%s is %s and %s", name, form, other)
			}
		}
	})
}

// kindOf is the sort of a name, without the texts that it is built from.
func kindOf(form string) string { sort, _, _ := strings.Cut(form, "["); return sort }
