package cache_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"fieldcache/cache"
)

// namesOf builds every sort of name from texts. It maps each name to its sort and the texts, so
// that two names may be equal only if their sorts and texts are.
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
				t.Errorf("%q contains white space, a quote or a backslash", name)
			}
		}
	}
	if total != 40 {
		t.Errorf("%q, %q and %q make %d different names, want 40", a, b, c, total)
	}
	for _, text := range []string{a, b, c} {
		name := string(cache.Entity("k", text))
		if back, err := url.PathUnescape(strings.TrimPrefix(name, "k:")); err != nil || back != text {
			t.Errorf("%q: parsing %s returns %q (%v)", text, name, back, err)
		}
	}
}

// separators are the characters and words between the parts of names, and texts that resemble them.
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
			t.Errorf("a field called g has the same name as a fence: %s", name)
		}
	}
}

// Names of two sorts are never equal, whatever texts they are built from.
func FuzzFault35Names(f *testing.F) {
	for i, s := range separators {
		f.Add(s, separators[(i+3)%len(separators)], separators[(i+7)%len(separators)], "a", "b", "c")
	}
	f.Fuzz(func(t *testing.T, a, b, c, d, e, g string) {
		checkNames(t, a, b, c)
		one, two := namesOf(a, b, c), namesOf(d, e, g)
		for name, form := range one {
			if other, ok := two[name]; ok && kindOf(form) != kindOf(other) {
				t.Errorf("%s is both %s and %s", name, form, other)
			}
		}
	})
}

// kindOf returns the sort of a name without the texts that it is built from.
func kindOf(form string) string { sort, _, _ := strings.Cut(form, "["); return sort }
