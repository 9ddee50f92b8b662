package serve

import (
	"net/http"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
	"fieldcache/graph"
	"fieldcache/internal/config"
)

// Coordinate is what the schema says about the caching of a field.
type Coordinate struct {
	MaxAge int    `json:"maxAge"` // in seconds; 0: not cached
	Scope  string `json:"scope"`  // public or private
	// Truth is what the value is made of, as the schema declares it: "rows products(id = {$parent.id})". Empty: it does not.
	Truth string `json:"truth,omitempty"`
}

// Coordinates returns what a schema says of each of its fields, by "Type.field". of tells the policy of one.
func Coordinates(schema *ast.Schema, of func(coordinate string) (cache.Policy, error)) map[string]Coordinate {
	all := map[string]Coordinate{}
	for name, def := range schema.Types {
		if def.BuiltIn || def.Kind != ast.Object && def.Kind != ast.Interface || def == schema.Mutation {
			continue
		}
		for _, f := range def.Fields {
			p, err := of(name + "." + f.Name)
			if err != nil || strings.HasPrefix(f.Name, "__") {
				continue
			}
			all[name+"."+f.Name] = Coordinate{
				MaxAge: int(p.MaxAge.Seconds()), Scope: p.Scope.String(),
				Truth: truth(f.Directives, typeDirectives(schema, f), def.Directives),
			}
		}
	}
	return all
}

func typeDirectives(schema *ast.Schema, f *ast.FieldDefinition) ast.DirectiveList {
	if def := schema.Types[f.Type.Name()]; def != nil {
		return def.Directives
	}
	return nil
}

// truth is what the first of the lists declares that declares something.
func truth(lists ...ast.DirectiveList) string {
	for _, list := range lists {
		var made []string
		for _, d := range list {
			switch d.Name {
			case "cacheRows":
				rows := "rows " + argument(d, "table")
				if match := argument(d, "match"); match != "" {
					rows += "(" + match + ")"
				}
				made = append(made, rows)
			case "cacheTag":
				made = append(made, "tag "+argument(d, "format"))
			}
		}
		if len(made) > 0 {
			return strings.Join(made, ", ")
		}
	}
	return ""
}

func argument(d *ast.Directive, name string) string {
	if a := d.Arguments.ForName(name); a != nil {
		return a.Value.Raw
	}
	return ""
}

// offer is what the playground learns: what the schema says, and whether it may ask for reports and evict.
type offer struct {
	Debug    bool                  `json:"debug"`
	Policies map[string]Coordinate `json:"policies"`
}

// desk answers the playground's Cache panel at /graphql/cache: GET tells what the schema says, POST evicts as POST /evict does on the
// admin port. Where CACHE_DEBUG is off it tells so, and nothing else. On a server that is not open, admins alone evict.
func (o Options) desk() http.Handler {
	evict := admin{evictor: o.Gateway.Evictor, log: o.Log}.evict
	offered := offer{Debug: o.Config.CacheDebug, Policies: map[string]Coordinate{}}
	if o.Config.CacheDebug && o.Gateway.Coordinates != nil {
		offered.Policies = o.Gateway.Coordinates
	}
	return sameOrigin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodGet || r.Method == http.MethodHead:
			w.Header().Set("Cache-Control", "no-store")
			writeJSON(w, http.StatusOK, offered)
		case r.Method != http.MethodPost || !o.Config.CacheDebug:
			w.Header().Set("Allow", "GET, HEAD")
			adminError(w, http.StatusMethodNotAllowed, "evictions are not offered here: CACHE_DEBUG is off, or the method is not POST")
		case !mayEvict(o.Config, r):
			adminError(w, http.StatusForbidden, "only an admin may evict: send the token of one in the Authorization header")
		default:
			evict(w, r)
		}
	}))
}

func mayEvict(cfg config.Config, r *http.Request) bool {
	return cfg.Open() || graph.ViewerFrom(r.Context()).Admin
}
