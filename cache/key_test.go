package cache_test

import (
	"fmt"
	"strings"
	"testing"

	"fieldcache/cache"
)

func TestKeys(t *testing.T) {
	product := cache.Entity("product", "7")
	for name, c := range map[string]struct{ got, want any }{
		"entity":               {cache.Entity("user", "42"), cache.Key("user:42")},
		"entity, any id":       {cache.Entity("country", "a:b}{%"), cache.Key("country:a%3Ab%7D%7B%25")},
		"part":                 {product.Part("price"), cache.Key("{product:7}:price")},
		"collection":           {product.Collection("reviews"), cache.Tag("{product:7}:reviews")},
		"whole collection":     {cache.All("users"), cache.Tag("{users}")},
		"filtered":             {cache.All("products").Where("category", "home & garden"), cache.Tag("{products}:category=home%20%26%20garden")},
		"list":                 {cache.All("users").List("first", "20", "after", "40"), cache.Key("{users}:list:first=20,after=40")},
		"list, no arguments":   {cache.All("countries").List(), cache.Key("{countries}:list")},
		"count":                {product.Collection("reviews").Count(), cache.Key("{product:7}:reviews:count")},
		"fence of an entity":   {product.Fence(), "{product:7}:g"},
		"fence of a part":      {product.Part("stock").Fence(), "{product:7}:stock:g"},
		"generation of a list": {product.Collection("reviews").Generation(), "{product:7}:reviews:g"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.got != c.want {
				t.Errorf("got %v, want %v", c.got, c.want)
			}
		})
	}
}

// Different things never share a key, whatever text they contain.
func FuzzKeys(f *testing.F) {
	f.Add("1", "2", "1,after=2", "")
	f.Add("1b:2", "3", "1", "2b:3")
	f.Add("a}", ":price", "a", "}:price")
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		if a == c && b == d {
			return
		}
		x := cache.All("products").List("first", a, "after", b)
		if y := cache.All("products").List("first", c, "after", d); x == y {
			t.Errorf("%q,%q and %q,%q share the key %s", a, b, c, d, x)
		}
		if a != c && cache.Entity("user", a) == cache.Entity("user", c) {
			t.Errorf("%q and %q share an entity key", a, c)
		}
		if strings.ContainsAny(string(cache.Entity("user", a))[len("user:"):], "{}:, \n") {
			t.Errorf("%q is not escaped", a)
		}
	})
}

func ExampleEntity() {
	product := cache.Entity("product", "7")
	fmt.Println(product, product.Part("price"), product.Collection("reviews").List("first", "10"))
	// Output: product:7 {product:7}:price {product:7}:reviews:list:first=10
}
