// Package operator serves what an operator looks at: the page of the admin port, the events that it lives by, and what the cache
// holds under a key.
//
// Nothing is counted or sent while nobody looks.
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

// Cache is what is looked at; [*cache.Cache] is one.
type Cache interface {
	WatchEvictions(buffer int) *cache.Watcher
	Meters() []*cache.Meter
	Look(ctx context.Context, key cache.Key) ([]cache.Held, error)
	SampleHits(every int, tell func(cache.Key))
	Sickness() error // why the shared tier is left alone; nil if it is not
}

// Options are what [New] makes the page of.
type Options struct {
	Cache   Cache               // Required.
	Metrics prometheus.Gatherer // what the server counts. Required.
	// Page serves the built page at "/" and its files. Required.
	Page http.Handler
	// Policy returns how long values of a coordinate are cached, and for whom. Nil: it is not shown.
	Policy func(coordinate string) (cache.Policy, error)
	// Truth returns what makes values of a coordinate untrue beside their age. Nil: it is not shown.
	Truth func(coordinate string) gqlcache.Truth
	// Private reports whether what is stored under a key may be of one viewer only: then its value is not shown.
	// Nil: no value is shown.
	Private func(cache.Key) bool
	// Soonest returns up to n entries of memory that expire next, of bound that it looks at. Nil: they are not shown.
	Soonest func(n, bound int) (next []memstore.Ending, looked int)
	// Redis is the shared tier, which is sampled while somebody looks. Nil: there is none.
	Redis Sampler
	// SampleRedis is how often it is sampled at most, however many look. Default: 10 seconds.
	SampleRedis time.Duration
	// Interval is how often counters are sent. Default: a second.
	Interval time.Duration
	// MaxEvents is how many evictions are sent to one client in an interval; the others are counted. Default: 200.
	MaxEvents int
	// Redact returns an error's text without secrets. Nil: as it is.
	Redact func(text string) string
	Log    *slog.Logger // Default: slog.Default().
}

type operator struct {
	Options
	hits  hits
	redis redis
}

// New returns the handler of GET /, GET /cache/events and GET /cache/entry. It refuses options without what is required.
func New(o Options) (http.Handler, error) {
	if o.Cache == nil || o.Metrics == nil || o.Page == nil {
		return nil, errors.New("operator: Options needs Cache, Metrics and Page")
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

// heldEntry is an entry as it is shown.
type heldEntry struct {
	Tier   string          `json:"tier"`
	Age    float64         `json:"age"` // seconds since it was read from the database
	TTL    float64         `json:"ttl"` // seconds it may still be served; below 0 it has ended
	Tags   []cache.Tag     `json:"tags"`
	Bytes  int             `json:"bytes"`
	Value  json.RawMessage `json:"value,omitempty"`
	Hidden bool            `json:"hidden,omitempty"` // the value may be of one viewer only
}

// entry shows what the tiers hold under a key.
func (p *operator) entry(w http.ResponseWriter, r *http.Request) {
	key := cache.Key(r.URL.Query().Get("key"))
	if key == "" || len(key) > 4096 {
		respond(w, http.StatusBadRequest, map[string]string{"error": "name a key: /cache/entry?key=user:42"})
		return
	}
	held, err := p.Cache.Look(r.Context(), key)
	shown := struct {
		Key     cache.Key   `json:"key"`
		Entries []heldEntry `json:"entries"`
		Error   string      `json:"error,omitempty"`
	}{Key: key, Entries: []heldEntry{}}
	if err != nil {
		p.Log.WarnContext(r.Context(), "cannot look at an entry in Redis", "key", key, "error", err)
		shown.Error = "Redis does not answer: only memory is shown."
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
	_ = json.NewEncoder(w).Encode(v) // to a client who may be gone
}
