package operator

import (
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
)

// PrivateKeys returns a function that reports whether the value of a key may belong to a single
// viewer: the key names a viewer, or an object whose type is private or has a private field.
func PrivateKeys(schema *ast.Schema, policy func(coordinate string) (cache.Policy, error)) func(cache.Key) bool {
	private := map[string]bool{} // by type name in lower case
	for name, def := range schema.Types {
		if def.Kind != ast.Object || def.BuiltIn {
			continue
		}
		is := func(coordinate string) bool {
			p, err := policy(coordinate)
			return err != nil || p.Scope == cache.Private
		}
		hides := is(name)
		if def != schema.Query {
			for _, f := range def.Fields {
				hides = hides || is(name+"."+f.Name)
			}
		}
		private[strings.ToLower(name)] = hides
	}
	return func(k cache.Key) bool {
		if strings.Contains(string(k), "@") {
			return true
		}
		object, _, named := strings.Cut(strings.TrimPrefix(string(k), "{"), ":")
		if !named || strings.Contains(object, "}") {
			return false // a root list, which holds keys and no values
		}
		hides, known := private[strings.ToLower(object)]
		return hides || !known
	}
}
