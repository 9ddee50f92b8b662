// Command fieldcache is a GraphQL gateway with a cache for every field.
//
// This file is the wiring. main passes the command line to [cli.Run]; serve opens the ports and the database, serves, and closes
// them; newGateway connects the cache, the shop and GraphQL.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/redis/go-redis/v9"

	"fieldcache/cache"
	"fieldcache/cache/answers"
	"fieldcache/cache/gqlcache"
	"fieldcache/cache/memstore"
	"fieldcache/cache/outbox"
	"fieldcache/cache/policy"
	"fieldcache/cache/redisstore"
	"fieldcache/cache/transport"
	"fieldcache/dataloader"
	"fieldcache/db"
	"fieldcache/graph"
	"fieldcache/internal/cli"
	"fieldcache/internal/config"
	"fieldcache/internal/operator"
	"fieldcache/internal/serve"
)

func main() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	redis.SetLogger(silent{})
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	s := server{environ: os.Environ(), build: newGateway, limit: limitMemory}
	os.Exit(cli.Run(context.Background(), os.Args[1:], cli.System{
		Stdout: os.Stdout, Stderr: os.Stderr, Environ: s.environ, Signals: signals, Rows: cachedRows, Serve: s.serve, Explain: explain,
	}))
}

// server holds what serve needs from the process.
type server struct {
	environ []string // "NAME=value", for OpenTelemetry's variables
	build   func(context.Context, config.Config, *db.DB, prometheus.Registerer, *serve.Traces, *slog.Logger) (*serve.Gateway, error)
	limit   func(memoryBytes int64) // sets the memory limit of the process
}

// serve builds the server, serves until ctx ends, waits for requests in flight, and closes everything.
func (s server) serve(ctx context.Context, cfg config.Config, log *slog.Logger) (err error) {
	closing := func(what string, close func() error) {
		if e := close(); e != nil {
			err = errors.Join(err, fmt.Errorf("close %s: %w", what, e))
		}
	}
	s.limit(int64(cfg.MemoryBytes))
	// Requests in flight still need this context after ctx has ended.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()

	// The ports come first: if another server uses them, the database is not touched.
	ports, err := serve.Listen(ctx, cfg)
	if err != nil {
		return err
	}
	defer ports.Close()
	traces, err := serve.NewTraces(life, s.environ, log)
	if err != nil {
		return err
	}
	defer closing("telemetry", func() error {
		ctx, cancel := context.WithTimeout(life, cfg.ShutdownTimeout)
		defer cancel()
		return traces.Close(ctx)
	})
	rows, err := cachedRows()
	if err != nil {
		return err
	}
	d, err := cli.OpenDatabase(ctx, cfg, rows)
	if err != nil {
		return err
	}
	defer closing("the database", d.Close)
	if err := cli.PrepareDatabase(ctx, cfg, d, log); err != nil {
		return err
	}
	if traces != nil {
		d.Trace(traces.Trace)
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewBuildInfoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewDBStatsCollector(d.Bun().DB, "primary"))
	gw, err := s.build(life, cfg, d, metrics, traces, log)
	if err != nil {
		return err
	}
	defer closing("the gateway", gw.Close)
	return ports.Serve(ctx, serve.Options{Config: cfg, Gateway: gw, Database: d.String(), Metrics: metrics, Traces: traces, Log: log})
}

// explain tells how an operation over the shop's schema is cached.
func explain(document string, o gqlcache.ExplainOptions) (*gqlcache.Explanation, error) {
	p, err := planShop(nil, slog.Default())
	if err != nil {
		return nil, err
	}
	o.Stored = p.stored
	return p.fields.Explain(document, o)
}

// newGateway connects the cache, the loaders and the resolvers to the handler of /graphql.
//
// Each block that begins with "Optional" may be deleted: the gateway still works, and does more work.
func newGateway(ctx context.Context, cfg config.Config, d *db.DB, metrics prometheus.Registerer, traces *serve.Traces, log *slog.Logger) (*serve.Gateway, error) {
	return leasedGateway(ctx, cfg, d, metrics, traces, log, 0)
}

// leasedGateway is newGateway with a lease that is not the default, 0.
func leasedGateway(ctx context.Context, cfg config.Config, d *db.DB, metrics prometheus.Registerer, traces *serve.Traces, log *slog.Logger, lease time.Duration) (gw *serve.Gateway, err error) {
	var opened closers
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.close())
		}
	}()
	shopPlan, err := planShop(d, log)
	if err != nil {
		return nil, err
	}
	policies, schema := shopPlan.policies, shopPlan.fields.Schema()
	for _, w := range shopPlan.fields.Warnings() {
		log.Warn("a directive of the schema has no effect", "reason", w)
	}
	rows, err := d.RowTags(ctx)
	if err != nil {
		return nil, fmt.Errorf("the schema names what the database has not:\n%w", err)
	}
	shadow, err := gqlcache.Shadowed(schema.Schema(), cfg.CacheShadow)
	if err != nil {
		return nil, fmt.Errorf("CACHE_SHADOW: %w", err)
	}
	trusted, err := trustedDocuments(cfg)
	if err != nil {
		return nil, err
	}
	aside, err := d.Aside(ctx, asideConns)
	if err != nil {
		return nil, err
	}
	opened.add(aside.Close)

	// The engine, and the handler of GraphQL in front of it.
	var (
		c          *cache.Cache
		share      = shareMemory(cfg)
		counter    = func(ctx context.Context) gqlcache.Counter { return dataloader.For(ctx) }
		extensions = []graphql.HandlerExtension{&gqlcache.Hints{}, &gqlcache.FieldCount{Of: counter}}
		shown      serve.Sources
	)
	gw = &serve.Gateway{Ping: aside.Ping}
	engine := cache.Options{
		Lease: lease, Timeout: cfg.RedisTimeout, MaxLoads: int64(cfg.DatabaseMaxConns),
		Watch: d.Watch(), StaleIfError: cfg.StaleIfError, Audit: cfg.CacheAudit, Shadow: shadow, Log: log,
		Reconnect: func() { d.Reconnect(); aside.Reconnect() },
	}
	if traces != nil {
		engine.Trace = traces.Trace
	}
	front := transport.Options{
		MaxBodyBytes: int(cfg.MaxBodyBytes), MaxBatch: cfg.MaxBatch, MaxTokens: cfg.MaxTokens, Timeout: cfg.RequestTimeout,
		HideSchema: !cfg.Introspection, Trusted: trusted, TrustedOnly: cfg.TrustedOnly,
		Viewer: viewerName, IdentityHeaders: identityHeaders(cfg), TagHeader: cfg.TagHeader,
		DocumentBytes: share.documents, Watch: d.Watch(), Log: log, Named: serve.NameOperation,
	}
	if len(cfg.CORSOrigins) > 0 {
		front.CachedVary = "Origin"
	}

	// Optional: the outbox. It reports writes as the database commits them, including those that bypass the gateways. Without it, memory is
	// trusted for a lease, and a write that bypasses the gateways is seen when entries expire.
	if engine.Outbox, err = outbox.New(aside.Bun().DB, aside.Outbox(), rows.Evictions); err != nil {
		return nil, err
	}
	tables, err := d.NotedTables(ctx)
	if err != nil {
		return nil, err
	}
	shown.Watch = outbox.NewWatch(aside.Bun().DB, aside.Outbox(), tables, log)
	// This records what changed while no gateway ran, before the outbox is read for the first time.
	if err := shown.Watch.Look(ctx); err != nil {
		log.Warn("cannot check the tables and their triggers; retrying", "error", err)
	}
	opened.add(inBackground(ctx, shown.Watch.Run))

	memory, err := memstore.New(memstore.Options{MaxBytes: share.values, Keep: cfg.StaleIfError})
	if err != nil {
		return nil, err
	}
	engine.Memory, shown.Memory = memory, memory
	tiers := closers{memory.Close}
	var sampler operator.Sampler

	// Optional: Redis, the tier that gateways share.
	if len(cfg.RedisURL) > 0 {
		o := redisstore.Options{
			URLs: cfg.RedisURL, SentinelMaster: cfg.RedisSentinelMaster,
			Username: cfg.RedisUsername, Password: cfg.RedisPassword,
			Prefix: cfg.RedisPrefix, Timeout: cfg.RedisTimeout, PoolSize: cfg.RedisMaxConns, Log: log,
		}
		if traces != nil {
			o.Instrument = traces.Redis
		}
		shared, err := redisstore.New(o)
		if err != nil {
			return nil, errors.Join(err, tiers.close())
		}
		tiers.add(shared.Close)
		engine.Shared, gw.Redis, sampler = shared, shared.Probe, shared
		front.Documents = sharedDocuments{shared, func() bool { return c.Sick() }}
	}

	if c, err = cache.New(engine); err != nil {
		return nil, errors.Join(err, tiers.close())
	}
	opened.add(c.Close) // which closes its tiers

	// Optional: traces.
	if traces != nil {
		extensions = append(extensions, traces.Operations())
	}

	// Optional: whole responses, as bytes.
	if cfg.AnswerCache {
		store, err := answers.New(answers.Options{Cache: c, MaxBytes: share.answers})
		if err != nil {
			return nil, err
		}
		opened.add(func() error { store.Close(); return nil })
		extensions = append(extensions, &gqlcache.Roots{Answers: store, Of: counter})
		front.Answers, shown.Answers = store, store
	}

	loaders := dataloader.New(c, shopPlan.kinds, rows.Evictions)
	fields, err := gqlcache.NewFields(gqlcache.FieldsOptions{
		Cache: c, Plan: shopPlan.fields, Rows: rows, Viewer: viewerName, Log: log,
		Batch: func(ctx context.Context) *cache.Batch { return dataloader.For(ctx).Batch() },
	})
	if err != nil {
		return nil, err
	}
	extensions = append(extensions, fields)
	shop := graph.Options{
		Limits:        graph.Limits{MaxDepth: cfg.MaxDepth, MaxAliases: cfg.MaxAliases},
		MaxComplexity: cfg.MaxComplexity, Introspection: cfg.Introspection,
		Extensions: extensions,
	}
	if gw.Coordinates, err = shopPlan.fields.ExplainCoordinates(gqlcache.ExplainOptions{Stored: shopPlan.stored}); err != nil {
		return nil, err
	}
	if cfg.CacheDebug {
		shop.Debug = &graph.Debug{
			Policy: func(coordinate string) cache.Policy {
				p, _ := policies.Of(coordinate) // gqlgen executes what the schema has
				return p
			},
			Truth: func(coordinate string) string { return string(shopPlan.fields.Truth(coordinate)) },
			Overall: func(ctx context.Context) graph.Overall {
				o := policy.OverallOf(ctx)
				return graph.Overall{Header: o.Header(), MaxAge: o.MaxAge, Scope: o.Scope}
			},
		}
		front.Computed = func(h http.Header) bool { return h.Get(graph.DebugHeader) == "1" }
	}
	front.Admission, err = transport.NewAdmission(transport.AdmissionOptions{
		MaxRunning: maxRunning(cfg), MaxWait: cfg.RequestTimeout * 3 / 4, Deadline: cfg.RequestTimeout, Outage: c.Silent, Log: log,
	})
	if err != nil {
		return nil, err
	}
	h, err := transport.NewHandler(graph.NewExecutor(schema, loaders, shop, log), front)
	if err != nil {
		return nil, err
	}
	shown.Cache, shown.Admission, shown.Handler = c, front.Admission, h
	serve.RegisterMetrics(metrics, shown)
	gw.Shown = &serve.Shown{
		Cache: c, Policy: policies.Of, Truth: shopPlan.fields.Truth, Private: operator.PrivateKeys(schema.Schema(), policies.Of), Redis: sampler, Memory: memory,
	}
	gw.Handler, gw.ServeCached, gw.Evictor, gw.Close = h, h.ServeCached, &gqlcache.Orders{Cache: c, Schema: schema.Schema(), Fields: fields, Rows: rows, Database: aside.Bun().DB}, opened.close
	return gw, nil
}

// plan is what the schema says of what is cached, and what the shop's loaders cache by themselves.
type plan struct {
	policies *policy.Policies
	kinds    *dataloader.Kinds
	fields   *gqlcache.FieldPlan
}

// stored returns the form of the keys under which the loaders store a coordinate.
func (p plan) stored(coordinate string) (key string, ok bool) {
	for _, kind := range p.kinds.Stored() {
		if kind.Coordinate() == coordinate {
			return kind.Form(), true
		}
	}
	return "", false
}

// planShop reads the schema. What contradicts itself is an error, all of it at once.
func planShop(d *db.DB, log *slog.Logger) (plan, error) {
	schema := graph.NewSchema(d, log)
	policies, err := policy.ReadPolicies(schema.Schema())
	if err != nil {
		return plan{}, fmt.Errorf("the schema is not valid: %w", err)
	}
	kinds, err := dataloader.NewKinds(d, policies.Of)
	fields, err2 := gqlcache.PlanFields(schema, kinds.Stored()...)
	if err := errors.Join(err, err2); err != nil {
		return plan{}, fmt.Errorf("the schema is not valid: %w", err)
	}
	return plan{policies, kinds, fields}, nil
}

// cachedRows are the rows of the database that cached values are made of.
func cachedRows() ([]outbox.Rows, error) {
	p, err := planShop(nil, slog.Default())
	if err != nil {
		return nil, err
	}
	return p.fields.Rows(), nil
}

// asideConns is how many connections follow the outbox: a poll, a relay, what notes evictions as done, and a look
// at the tables.
const asideConns = 4

// shares are the parts of MEMORY_BYTES.
type shares struct{ values, answers, documents uint64 }

// shareMemory divides MEMORY_BYTES: a quarter is for documents; values and whole responses, if they are cached, share the rest.
func shareMemory(cfg config.Config) shares {
	all := uint64(cfg.MemoryBytes) //nolint:gosec // checked to be positive
	s := shares{documents: all / 4}
	if cfg.AnswerCache {
		s.answers = (all - s.documents) / 2
	}
	s.values = all - s.documents - s.answers
	return s
}

// maxRunning is the number of operations that are executed at a time: several for each database connection, because operations share
// statements and spend most of their time outside of the database. More would only make each of them slower.
func maxRunning(cfg config.Config) int64 { return max(32, 8*int64(cfg.DatabaseMaxConns)) }

// identityHeaders returns the headers that identify a user: those of cfg, and Authorization if tokens are verified.
func identityHeaders(cfg config.Config) []string {
	if cfg.Open() {
		return cfg.IdentityHeaders
	}
	return append([]string{"Authorization"}, cfg.IdentityHeaders...)
}

// viewerName identifies viewers whose private responses differ. On an open server everyone is the same.
func viewerName(ctx context.Context) string {
	v := graph.ViewerFrom(ctx)
	switch {
	case v.ID == 0:
		return ""
	case v.Admin:
		return strconv.FormatInt(v.ID, 10) + " " + config.AdminRole
	}
	return strconv.FormatInt(v.ID, 10)
}

// trustedDocuments reads the directory of TRUSTED_DOCUMENTS, if one is set.
func trustedDocuments(cfg config.Config) (transport.Trusted, error) {
	if cfg.TrustedDocuments == "" {
		return nil, nil
	}
	trusted, err := transport.ReadTrusted(os.DirFS(cfg.TrustedDocuments))
	if err != nil {
		return nil, fmt.Errorf("TRUSTED_DOCUMENTS=%q: %w", cfg.TrustedDocuments, err)
	}
	return trusted, nil
}

// sharedDocuments shares registered documents among gateways while Redis works.
type sharedDocuments struct {
	redis *redisstore.Store
	sick  func() bool
}

// Get implements [transport.Documents].
func (d sharedDocuments) Get(ctx context.Context, hash string) (string, bool) {
	if d.sick() {
		return "", false
	}
	return d.redis.Document(ctx, hash)
}

// Put implements [transport.Documents].
func (d sharedDocuments) Put(ctx context.Context, hash, text string) {
	if !d.sick() {
		d.redis.PutDocument(ctx, hash, text)
	}
}

// closers close what was opened, the last first.
type closers []func() error

func (c *closers) add(end func() error) { *c = append(*c, end) }

func (c *closers) close() error {
	var errs []error
	for i := len(*c) - 1; i >= 0; i-- {
		errs = append(errs, (*c)[i]())
	}
	return errors.Join(errs...)
}

// inBackground runs do in a goroutine. The returned function cancels its context and waits for it.
func inBackground(ctx context.Context, do func(context.Context)) (stop func() error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		do(ctx)
	}()
	return func() error {
		cancel()
		<-done
		return nil
	}
}

// gcPercent lets the heap grow to five times the live heap before a collection, unless GOGC is set. MEMORY_BYTES bounds the live heap,
// and with the default of 100 collections took a sixth of the processor.
const gcPercent = 400

// limitMemory makes the collector run earlier if five times the live heap would be far more than MEMORY_BYTES, unless GOMEMLIMIT is set.
func limitMemory(bytes int64) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(2*bytes + 256<<20)
	}
}

// silent keeps go-redis from writing its own lines to stderr: its errors are returned, and the cache logs them.
type silent struct{}

// Printf implements go-redis's logger.
func (silent) Printf(context.Context, string, ...any) {}
