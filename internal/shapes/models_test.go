package shapes_test

import (
	"strings"
	"testing"
)

// An error that a resolver adds beside its value is in the response once for each alias.
func TestErrorsBesideValuesOfAliases(t *testing.T) {
	s := shapes["models"]
	p := s.open(t, s.database(t, "sqlite", lite(t)), "")
	const query = `{a:blow(how:"add") b:blow(how:"add") c:blow(how:"add")}`
	for range 3 {
		got, _ := request(t, p.whole, query)
		for _, want := range []string{`"path":["a"]`, `"path":["b"]`, `"path":["c"]`, `"data":{"a":"add","b":"add","c":"add"}`} {
			if !strings.Contains(got.Body, want) {
				t.Errorf("got %s, want %s", got.Body, want)
			}
		}
	}
}
