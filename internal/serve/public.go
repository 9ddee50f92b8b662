package serve

import (
	"net/http"

	"github.com/rs/cors"

	"fieldcache/cache/apierror"
	"fieldcache/internal/config"
	"fieldcache/playground"
)

// newPublicHandler routes the requests of the public port: /graphql to graphql, and if the playground is
// enabled, / to the playground and /graphql/cache to desk.
func newPublicHandler(cfg config.Config, graphql, desk http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/graphql", withCORS(cfg.CORSOrigins, graphql))
	if cfg.Playground {
		mux.Handle("/", playground.Handler())
		mux.Handle("/graphql/cache", desk)
	} else {
		mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
			writeError(w, apierror.NoRoute)
		})
	}
	return mux
}

// withCORS allows requests by pages of the given origins.
func withCORS(origins []string, next http.Handler) http.Handler {
	if len(origins) == 0 {
		return next
	}
	return cors.New(cors.Options{
		AllowedOrigins: origins,
		AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost},
		AllowedHeaders: []string{
			"Accept", "Authorization", "Cache-Control", "Cache-Debug", "Content-Type", "If-None-Match", requestIDHeader,
			"Traceparent", "Tracestate", "Baggage",
			"Apollo-Require-Preflight", "Apollographql-Client-Name", "Apollographql-Client-Version", "X-Apollo-Operation-Name",
		},
		ExposedHeaders: []string{"Age", "Cache-Status", "ETag", requestIDHeader, "WWW-Authenticate"},
		MaxAge:         600,
	}).Handler(next)
}
