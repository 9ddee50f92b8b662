package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/prometheus/client_golang/prometheus"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
	"fieldcache/dataloader"
	"fieldcache/db"
	"fieldcache/graph"
)

// newGateway connects the cache, the loaders and the resolvers to what answers /graphql.
func newGateway(ctx context.Context, cfg Config, d *db.DB, metrics prometheus.Registerer, log *slog.Logger) (*gateway, error) {
	schema := graph.NewSchema(d, log)
	policies, err := gqlcache.ReadPolicies(schema.Schema())
	if err != nil {
		return nil, fmt.Errorf("the schema contradicts itself: %w", err)
	}
	trusted, err := trustedDocuments(cfg)
	if err != nil {
		return nil, err
	}
	engine, err := newEngine(ctx, cfg, d, metrics, log)
	if err != nil {
		return nil, err
	}
	c := engine.cache
	loaders, err := dataloader.New(c, d, func(coordinate string) (time.Duration, error) {
		p, err := policies.Of(coordinate)
		return p.MaxAge, err
	})
	if err != nil {
		return nil, errors.Join(err, engine.close())
	}
	var debug func(string) cache.Scope
	if cfg.CacheDebug {
		debug = func(coordinate string) cache.Scope {
			p, _ := policies.Of(coordinate) // gqlgen executes what the schema has
			return p.Scope
		}
	}
	counter := func(ctx context.Context) gqlcache.Counter { return dataloader.For(ctx) }
	extensions := []graphql.HandlerExtension{&gqlcache.Hints{}, &gqlcache.FieldCount{Of: counter}}
	if engine.answers != nil {
		extensions = append(extensions, &gqlcache.Roots{Answers: engine.answers, Of: counter})
	}
	exec := graph.NewExecutor(schema, loaders, graph.Options{
		Debug:         debug,
		Limits:        graph.Limits{MaxDepth: cfg.MaxDepth, MaxAliases: cfg.MaxAliases},
		MaxComplexity: cfg.MaxComplexity, Introspection: cfg.Introspection,
		Extensions: extensions,
	}, log)
	admission, err := gqlcache.NewAdmission(gqlcache.AdmissionOptions{
		MaxRunning: maxRunning(cfg), MaxWait: cfg.RequestTimeout * 3 / 4, Deadline: cfg.RequestTimeout, Outage: c.Silent, Log: log,
	})
	if err != nil {
		return nil, errors.Join(err, engine.close())
	}
	registerAdmissionMetrics(metrics, admission)
	o := gqlcache.HandlerOptions{
		Admission:    admission,
		MaxBodyBytes: int(cfg.MaxBodyBytes), MaxBatch: cfg.MaxBatch, MaxTokens: cfg.MaxTokens, Timeout: cfg.RequestTimeout,
		HideSchema: !cfg.Introspection,
		Trusted:    trusted, TrustedOnly: cfg.TrustedOnly,
		Answers: engine.answers, Viewer: viewerName, IdentityHeaders: identityHeaders(cfg), TagHeader: cfg.TagHeader,
		DocumentBytes: shareMemory(cfg).documents, Watch: d.Watch(), Log: log,
	}
	if cfg.CacheDebug {
		o.Computed = func(h http.Header) bool { return h.Get(graph.DebugHeader) == "1" }
	}
	if len(cfg.CORSOrigins) > 0 {
		o.KeptVary = "Origin"
	}
	gw := &gateway{evictor: evictAll{c, policies}, ping: engine.ping, close: engine.close}
	if engine.shared != nil {
		gw.redis, o.Documents = engine.shared.Probe, sharedDocuments{engine.shared, c}
	}
	h, err := gqlcache.NewHandler(exec, o)
	if err != nil {
		return nil, errors.Join(err, engine.close())
	}
	gw.Handler, gw.serveKept = h, h.ServeKept
	registerAnswerMetrics(metrics, h, engine.answers)
	return gw, nil
}

// identityHeaders names the headers that tell who asks: those that cfg names, and Authorization where tokens are
// checked.
func identityHeaders(cfg Config) []string {
	if cfg.Open() {
		return cfg.IdentityHeaders
	}
	return append([]string{"Authorization"}, cfg.IdentityHeaders...)
}

// maxRunning is how many operations are executed at a time: several for each connection to the database, as they share statements, and
// most of what an operation does is not in the database. Of more than that each would take longer, and none more would be done.
func maxRunning(cfg Config) int64 { return max(32, 8*int64(cfg.DatabaseMaxConns)) }

// viewerName tells viewers apart whose private answers differ. On an open server everyone is the same.
func viewerName(ctx context.Context) string {
	v := graph.ViewerFrom(ctx)
	switch {
	case v.ID == 0:
		return ""
	case v.Admin:
		return strconv.FormatInt(v.ID, 10) + " " + adminRole
	}
	return strconv.FormatInt(v.ID, 10)
}

// evictAll lets the admin port empty the cache by hand.
type evictAll struct {
	cache    *cache.Cache
	policies *gqlcache.Policies
}

func (e evictAll) Evict(ctx context.Context, keys, types, tags []string) (int, error) {
	var ev cache.Eviction
	for _, k := range keys {
		ev.Keys = append(ev.Keys, cache.Key(k))
	}
	for _, t := range types {
		if _, err := e.policies.Of(t); err != nil || strings.Contains(t, ".") {
			return 0, fmt.Errorf("%w: the schema has no type %s", errEvictInput, t)
		}
		ev.Tags = append(ev.Tags, cache.Type(t))
	}
	for _, t := range tags {
		ev.Tags = append(ev.Tags, cache.Tag(t))
	}
	return e.cache.EvictByHand(ctx, ev)
}
