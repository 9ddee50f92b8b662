package operator

import (
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
)

// PrivateKeys returns a function that reports whether what is stored under a key may hold something that is of one viewer only: the
// key names a viewer, or an object of a type of which the type itself or a field is private.
func PrivateKeys(schema *ast.Schema, policy func(coordinate string) (cache.Policy, error)) func(cache.Key) bool {
	private := map[string]bool{} // by the type's name in lower case
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
			return false // a list of all, which holds keys
		}
		hides, known := private[strings.ToLower(object)]
		return hides || !known
	}
}
