// Package schematest loads schemas for tests.
package schematest

import (
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
)

// Directive is Apollo's @cacheControl, without what fieldcache adds.
const Directive = `
	directive @cacheControl(maxAge: Int, scope: CacheControlScope, inheritMaxAge: Boolean) on FIELD_DEFINITION | OBJECT | INTERFACE | UNION
	enum CacheControlScope { PUBLIC PRIVATE }
`

// Load returns the schema of text and [Directive].
func Load(t testing.TB, text string) *ast.Schema {
	t.Helper()
	s, err := gqlparser.LoadSchema(&ast.Source{Name: "test", Input: Directive + text})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
