package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/rs/cors"

	"fieldcache/playground"
)

// errRequestTimeout is the cause of a request's end by REQUEST_TIMEOUT.
var errRequestTimeout = errors.New("REQUEST_TIMEOUT is over")

// newPublicHandler routes what comes to the public port: graphql at /graphql, the playground at /.
func newPublicHandler(cfg Config, graphql http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/graphql", withCORS(cfg.CORSOrigins, withMethods(withBodyLimit(int64(cfg.MaxBodyBytes), withTimeout(cfg.RequestTimeout, graphql)))))
	if cfg.Playground {
		mux.Handle("/", playground.Handler())
	} else {
		mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
			writeError(w, http.StatusNotFound, "NOT_FOUND", "Nothing is here; GraphQL is at /graphql.")
		})
	}
	return mux
}

// withCORS lets pages of the given origins ask, and nobody else's.
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

// withMethods keeps out what GraphQL over HTTP has no use for.
func withMethods(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		const allowed = "GET, HEAD, POST, OPTIONS"
		switch r.Method {
		case http.MethodHead: // net/http leaves the body out
			get := *r
			get.Method = http.MethodGet
			next.ServeHTTP(w, &get)
		case http.MethodGet, http.MethodPost:
			next.ServeHTTP(w, r)
		case http.MethodOptions:
			w.Header().Set("Allow", allowed)
			w.WriteHeader(http.StatusNoContent)
		default:
			w.Header().Set("Allow", allowed)
			writeError(w, http.StatusMethodNotAllowed, "BAD_REQUEST", "GraphQL is asked by POST, and queries by GET as well.")
		}
	})
}

// withBodyLimit answers 413 to bodies of more than limit bytes. A body whose length is announced is judged
// by that, and the server lets no more of it through; only one without is read here first.
func withBodyLimit(limit int64, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tooLarge := r.ContentLength > limit
		if r.ContentLength < 0 {
			body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
			tooLarge = errors.As(err, new(*http.MaxBytesError))
			if err != nil && !tooLarge {
				writeError(w, http.StatusBadRequest, "BAD_REQUEST", "The body ended before its end.")
				return
			}
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		}
		if tooLarge {
			w.Header().Set("Connection", "close") // rather than read the rest to throw it away
			writeError(w, http.StatusRequestEntityTooLarge, "PAYLOAD_TOO_LARGE", fmt.Sprintf("The body is too large; up to %d bytes are allowed.", limit))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// withTimeout ends a request's context after d, with the cause errRequestTimeout.
func withTimeout(d time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeoutCause(r.Context(), d, errRequestTimeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
