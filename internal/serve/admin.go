package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
)

// Evictor executes eviction orders, as [gqlcache.Orders] does. Evict returns how many of the keys were
// cached. An error that wraps [gqlcache.ErrNames] is the caller's fault and may be shown to them.
type Evictor interface {
	Evict(ctx context.Context, order gqlcache.Order) (evicted int, err error)
}

// EvictRequest is the body of POST /evict.
type EvictRequest = gqlcache.Order

// EvictResponse is the response of POST /evict: how many of the keys were cached, and how many types,
// tags, coordinates and rows were evicted. The entries of the latter are not counted.
type EvictResponse struct {
	Evicted     int `json:"evicted"`
	Types       int `json:"types"`
	Tags        int `json:"tags"`
	Coordinates int `json:"coordinates,omitempty"`
	Rows        int `json:"rows,omitempty"`
}

// health is the response of /readyz.
type health struct {
	Status   string `json:"status"`   // ready, draining or unready
	Database string `json:"database"` // ok, down, or standby (in recovery, and perhaps behind)
	Redis    string `json:"redis"`    // ok, sick (it refuses commands), down, or off
	// RedisReason is the error if Redis is sick or down.
	RedisReason string `json:"redisReason,omitempty"`
}

// admin serves the admin port.
type admin struct {
	database func(context.Context) error
	redis    func(context.Context) error // nil without Redis
	draining func() bool
	evictor  Evictor
	page     http.Handler // the operator's page and its events; nil if there is none
	metrics  *prometheus.Registry
	redact   func(string) string // removes secrets from the text of an error
	log      *slog.Logger
}

const (
	pingTimeout   = time.Second
	evictMaxBytes = 1 << 20
)

func (a admin) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "alive"})
	})
	mux.HandleFunc("GET /readyz", a.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.metrics, promhttp.HandlerOpts{Registry: a.metrics, EnableOpenMetrics: true}))
	mux.HandleFunc("POST /evict", a.evict)
	// Without pprof.Cmdline, since flags may contain secrets.
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	if a.page != nil {
		mux.Handle("GET /{$}", a.page)
		mux.Handle("GET /assets/", a.page)
		mux.Handle("GET /cache/", a.page)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		adminError(w, http.StatusNotFound, "not found; the admin port serves the operator's page at /, /healthz, /readyz, /metrics, /cache/events, POST /evict and /debug/pprof/")
	})
	return sameOrigin(mux)
}

// sameOrigin refuses requests that a page of another origin makes a browser send, including reads: a
// page could start an expensive profile, although it cannot read the response. Programs send neither
// header.
func sameOrigin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		site, origin := r.Header.Get("Sec-Fetch-Site"), r.Header["Origin"]
		own := len(origin) == 0 || len(origin) == 1 && (origin[0] == "http://"+r.Host || origin[0] == "https://"+r.Host)
		if !own || site != "" && site != "same-origin" && site != "none" {
			adminError(w, http.StatusForbidden, "requests by pages of another origin are not allowed")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ready reports whether the server accepts requests. It reports the state of Redis, but does not require
// it.
func (a admin) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), pingTimeout)
	defer cancel()
	h, status := health{Status: "ready", Database: "ok", Redis: "off"}, http.StatusOK
	redis := make(chan error, 1)
	if a.redis != nil {
		go func() { redis <- a.redis(ctx) }()
	}
	if err := a.database(ctx); err != nil {
		h.Status, h.Database, status = "unready", "down", http.StatusServiceUnavailable
		if errors.Is(err, cache.ErrStandby) {
			h.Database = "standby"
		}
		a.log.WarnContext(ctx, "not ready: the database does not respond or is a standby", "error", err)
	}
	if a.redis != nil {
		h.Redis = "ok"
		if err := <-redis; err != nil {
			h.Redis, h.RedisReason = "down", a.redact(err.Error())
			if errors.Is(err, cache.ErrRefused) {
				h.Redis = "sick"
			}
		}
	}
	if a.draining() {
		h.Status, status = "draining", http.StatusServiceUnavailable
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, status, h)
}

// evict requires the Content-Type application/json: a browser sends it from another site only after a
// preflight, which fails here.
func (a admin) evict(w http.ResponseWriter, r *http.Request) {
	types := r.Header["Content-Type"]
	if mediaType, _, err := mime.ParseMediaType(strings.Join(types, ",")); err != nil || mediaType != "application/json" || len(types) != 1 {
		adminError(w, http.StatusUnsupportedMediaType, "the Content-Type must be application/json")
		return
	}
	request, err := readEvictRequest(http.MaxBytesReader(w, r.Body, evictMaxBytes))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		adminError(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit))
		return
	}
	if err != nil {
		adminError(w, http.StatusBadRequest, err.Error()+`; send a body such as {"keys":["user:42"],"types":["Product"],"tags":[]}`)
		return
	}
	evicted, err := a.evictor.Evict(r.Context(), request)
	switch {
	case errors.Is(err, gqlcache.ErrNames):
		adminError(w, http.StatusBadRequest, err.Error())
	case err != nil:
		a.log.ErrorContext(r.Context(), "eviction failed", "error", err)
		adminError(w, http.StatusServiceUnavailable, "the eviction failed, at least in part: "+a.redact(err.Error()))
	default:
		a.log.InfoContext(r.Context(), "evicted by hand",
			"keys", len(request.Keys), "types", len(request.Types), "tags", len(request.Tags),
			"coordinates", len(request.Coordinates), "rows", len(request.Rows), "soft", request.Soft, "evicted", evicted)
		writeJSON(w, http.StatusOK, EvictResponse{evicted, len(request.Types), len(request.Tags), len(request.Coordinates), len(request.Rows)})
	}
}

func readEvictRequest(body io.Reader) (EvictRequest, error) {
	var request EvictRequest
	// Names are case-sensitive and unique, and nothing may follow the object.
	if err := json.UnmarshalRead(body, &request, json.RejectUnknownMembers(true)); err != nil {
		return EvictRequest{}, fmt.Errorf("the body is not valid: %w", err)
	}
	if request.Size() == 0 {
		return EvictRequest{}, errors.New("nothing to evict")
	}
	for _, list := range [][]string{request.Keys, request.Types, request.Tags, request.Coordinates, request.Rows} {
		for _, name := range list {
			if strings.TrimSpace(name) != name || name == "" {
				return EvictRequest{}, fmt.Errorf("%q is not a name", name)
			}
		}
	}
	return request, nil
}

func adminError(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, status, map[string]string{"error": message})
}
