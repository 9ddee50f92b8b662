package redisstore

import "testing"

func TestKindOf(t *testing.T) {
	t.Parallel()
	s := &Store{prefix: "p:"}
	for key, want := range map[string]string{
		"p:user:42":                                      "user",
		"p:{product:7}:price":                            "{product}:price",
		"p:{product:7}:price(currency=EUR)@42":           "{product}:price",
		"p:{product:7}:reviews:list:first=10,after=a%3A": "{product}:reviews:list",
		"p:{product:7}:reviews:count":                    "{product}:reviews:count",
		"p:{users}:list:first=20":                        "{users}:list",
		"p:{users}:country=GB:count":                     "{users}:count",
		"p:query:search(text=a:b)":                       "query:search",
		"p:query:me@42":                                  "query:me",
		"p:query:grid#9f86d081":                          "query:grid",
		"p:query:grid$9f86d081":                          "query:grid",
		"p:query:grid;en@42":                             "query:grid",
		"p:{product:7}:g":                                generations,
		"p:{p:user:42}:g":                                generations,
		"p:{product:7}:reviews:g":                        generations,
		"p:apq:9f86d081":                                 documentsKind,
		"p:fieldcache:database":                          otherKeys,
		"p:what":                                         otherKeys,
		"p:{what":                                        otherKeys,
		"user:42":                                        foreignKeys,
	} {
		if got := s.kindOf(key); got != want {
			t.Errorf("%s: got kind %q, want %q", key, got, want)
		}
	}
}
