package serve

import (
	"net/http"

	"fieldcache/cache/gqlcache"
	"fieldcache/graph"
	"fieldcache/internal/config"
)

// offer is what the playground learns: how each field is cached, as `fieldcache explain` tells it, and whether it may ask for reports
// and evict.
type offer struct {
	Debug    bool                                 `json:"debug"`
	Policies map[string]gqlcache.FieldExplanation `json:"policies"`
}

// desk answers the playground's Cache panel at /graphql/cache: GET tells what the schema says, POST evicts as POST /evict does on the
// admin port. Where CACHE_DEBUG is off it tells so, and nothing else. On a server that is not open, admins alone evict.
func (o Options) desk() http.Handler {
	// Of an eviction that failed the public port does not tell more: errors name servers.
	toldByLog := func(string) string { return "the log has the error" }
	evict := admin{evictor: o.Gateway.Evictor, log: o.Log, redact: toldByLog}.evict
	offered := offer{Debug: o.Config.CacheDebug, Policies: map[string]gqlcache.FieldExplanation{}}
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
