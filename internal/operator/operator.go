// Package operator serves the operator's page on the admin port, the events that keep the page up to
// date, and the cache entries of a key.
//
// It counts and sends nothing while no client is connected to the events.
package operator

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
	"fieldcache/cache/memstore"
)

// Cache is the part of [*cache.Cache] that the page needs.
type Cache interface {
	WatchEvictions(buffer int) *cache.Watcher
	Meters() []*cache.Meter
	Look(ctx context.Context, key cache.Key) ([]cache.Held, error)
	SampleHits(every int, report func(cache.Key))
	Sickness() error // why the shared tier is not in use; nil if it is
}

// Options configure [New].
type Options struct {
	Cache   Cache               // Required.
	Metrics prometheus.Gatherer // The server's metrics. Required.
	// Page serves the built page at "/" and its files. Required.
	Page http.Handler
	// Policy returns the policy of a coordinate. If nil, policies are not shown.
	Policy func(coordinate string) (cache.Policy, error)
	// Truth returns what evicts the values of a coordinate. If nil, it is not shown.
	Truth func(coordinate string) gqlcache.Truth
	// Private reports whether the value of a key may belong to a single viewer. The page hides such
	// values. If nil, it hides all values.
	Private func(cache.Key) bool
	// Soonest searches up to bound entries in memory for the n that expire next. If nil, they are
	// not shown.
	Soonest func(n, bound int) (next []memstore.Ending, looked int)
	// Redis samples the shared tier while a client is connected. Nil if there is no shared tier.
	Redis Sampler
	// SampleRedis is the shortest time between two samples, for all clients together.
	// Default: 10 seconds.
	SampleRedis time.Duration
	// Interval is how often counters are sent. Default: 1 second.
	Interval time.Duration
	// MaxEvents is how many evictions one client gets per interval. Those above it are only
	// counted. Default: 200.
	MaxEvents int
	// Redact removes secrets from the text of an error. If nil, the text is shown unchanged.
	Redact func(text string) string
	Log    *slog.Logger // Default: slog.Default().
}

type operator struct {
	Options
	hits  hits
	redis redis
}

// New returns the handler of GET /, GET /cache/events and GET /cache/entry. It returns an error if a
// required option is missing.
func New(o Options) (http.Handler, error) {
	if o.Cache == nil || o.Metrics == nil || o.Page == nil {
		return nil, errors.New("operator: Options.Cache, Metrics and Page are required")
	}
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	if o.SampleRedis <= 0 {
		o.SampleRedis = 10 * time.Second
	}
	if o.MaxEvents <= 0 {
		o.MaxEvents = 200
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Redact == nil {
		o.Redact = func(text string) string { return text }
	}
	p := &operator{Options: o, redis: redis{of: o.Redis, every: o.SampleRedis, sickness: o.Cache.Sickness, redact: o.Redact}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /cache/events", p.events)
	mux.HandleFunc("GET /cache/entry", p.entry)
	mux.Handle("GET /", o.Page)
	return mux, nil
}

// heldEntry is an entry as the page shows it.
type heldEntry struct {
	Tier   string          `json:"tier"`
	Age    float64         `json:"age"` // seconds since it was read from the database
	TTL    float64         `json:"ttl"` // seconds until it expires; negative if it has expired
	Tags   []cache.Tag     `json:"tags"`
	Bytes  int             `json:"bytes"`
	Value  json.RawMessage `json:"value,omitempty"`
	Hidden bool            `json:"hidden,omitempty"` // the value may belong to a single viewer
}

// entry responds with the entries of a key in all tiers.
func (p *operator) entry(w http.ResponseWriter, r *http.Request) {
	key := cache.Key(r.URL.Query().Get("key"))
	if key == "" || len(key) > 4096 {
		respond(w, http.StatusBadRequest, map[string]string{"error": "the key is missing or too long; example: /cache/entry?key=user:42"})
		return
	}
	held, err := p.Cache.Look(r.Context(), key)
	shown := struct {
		Key     cache.Key   `json:"key"`
		Entries []heldEntry `json:"entries"`
		Error   string      `json:"error,omitempty"`
	}{Key: key, Entries: []heldEntry{}}
	if err != nil {
		p.Log.WarnContext(r.Context(), "cannot read an entry from Redis", "key", key, "error", err)
		shown.Error = "Redis does not respond. Only the entry in memory is shown."
	}
	now := time.Now()
	for _, h := range held {
		e := heldEntry{
			Tier: tierName(h.Tier), Age: now.Sub(h.Loaded).Seconds(), TTL: h.Ends.Sub(now).Seconds(), Tags: h.Tags, Bytes: len(h.Data),
		}
		if e.Tags == nil {
			e.Tags = []cache.Tag{}
		}
		if e.Hidden = p.Private == nil || p.Private(key); !e.Hidden && json.Valid(h.Data) {
			e.Value = h.Data
		}
		shown.Entries = append(shown.Entries, e)
	}
	respond(w, http.StatusOK, shown)
}

func tierName(t cache.Tier) string {
	if t == cache.SharedTier {
		return "redis"
	}
	return "memory"
}

func respond(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // fails only if the client has disconnected
}
