package serve

import (
	"net/http"

	"fieldcache/cache/gqlcache"
	"fieldcache/graph"
	"fieldcache/internal/config"
)

// offer tells the playground whether it may request reports and evict, and how each field is cached, as
// in `fieldcache explain`.
type offer struct {
	Debug    bool                                 `json:"debug"`
	Policies map[string]gqlcache.FieldExplanation `json:"policies"`
}

// desk serves the playground's Cache panel at /graphql/cache. GET returns an offer, and POST evicts like
// POST /evict on the admin port. If CACHE_DEBUG is off, GET says only that, and POST is refused. On a
// server that is not open, only admins may evict.
func (o Options) desk() http.Handler {
	// The public port does not show the error of a failed eviction, which may contain addresses.
	hidden := func(string) string { return "the log has the error" }
	evict := admin{evictor: o.Gateway.Evictor, log: o.Log, redact: hidden}.evict
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
			adminError(w, http.StatusMethodNotAllowed, "eviction is not allowed: the method is not POST, or CACHE_DEBUG is off")
		case !mayEvict(o.Config, r):
			adminError(w, http.StatusForbidden, "only an admin may evict; send an admin's token in the Authorization header")
		default:
			evict(w, r)
		}
	}))
}

func mayEvict(cfg config.Config, r *http.Request) bool {
	return cfg.Open() || graph.ViewerFrom(r.Context()).Admin
}
