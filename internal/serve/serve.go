// Package serve implements the two ports of the server: the public port, with GraphQL and the playground,
// and the admin port.
//
// A request on the public port passes, in this order, package fastpath, which serves cached responses,
// tracing, logging, the check of Host, CORS, authentication, and the [Gateway].
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
	"fieldcache/cache/memstore"
	"fieldcache/internal/config"
	"fieldcache/internal/fastpath"
	"fieldcache/internal/operator"
	"fieldcache/playground"
)

// Gateway serves GraphQL through the cache.
type Gateway struct {
	http.Handler // of /graphql
	// ServeCached serves a request to /graphql by a cached response and reports whether it did. It also
	// returns the name of the operation if its document is trusted. If nil, no responses are cached.
	ServeCached serveCached
	Evictor     Evictor                     // for POST /evict
	Ping        func(context.Context) error // checks the database, on a connection that requests do not use
	Redis       func(context.Context) error // checks Redis; nil without Redis
	Shown       *Shown                      // for the operator's page; nil if there is none
	// Coordinates describes how each field is cached, for the playground if CACHE_DEBUG is on.
	Coordinates map[string]gqlcache.FieldExplanation
	Close       func() error // closes the gateway; call it when no request is in flight
}

// serveCached is [Gateway.ServeCached].
type serveCached = func(http.ResponseWriter, *http.Request) (operation string, served bool)

// Shown is what the operator's page shows of a gateway.
type Shown struct {
	Cache   operator.Cache
	Policy  func(coordinate string) (cache.Policy, error)
	Truth   func(coordinate string) gqlcache.Truth
	Private func(cache.Key) bool // whether to hide a key's value
	Redis   operator.Sampler     // nil without Redis
	Memory  *memstore.Store
}

// Options configure [Ports.Serve].
type Options struct {
	Config   config.Config
	Gateway  *Gateway
	Database string // its name, for the log
	Metrics  *prometheus.Registry
	Traces   *Traces // nil if no traces are sent
	Log      *slog.Logger
}

// Bounds of a connection, besides MAX_BODY_BYTES and REQUEST_TIMEOUT.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 30 * time.Second // beyond REQUEST_TIMEOUT
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10 // the URL may contain a query
)

// Ports are the two ports of a server.
type Ports struct{ public, private net.Listener }

// Listen opens LISTEN_ADDR and ADMIN_ADDR.
func Listen(ctx context.Context, cfg config.Config) (*Ports, error) {
	public, err := listen(ctx, "LISTEN_ADDR", cfg.ListenAddr)
	if err != nil {
		return nil, err
	}
	private, err := listen(ctx, "ADMIN_ADDR", cfg.AdminAddr)
	if err != nil {
		return nil, errors.Join(err, public.Close())
	}
	return &Ports{public, private}, nil
}

// listen opens the port at addr, the value of variable.
func listen(ctx context.Context, variable, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s=%q: another program already listens there; stop it or choose another port", variable, addr)
	}
	if err != nil {
		return nil, fmt.Errorf("%s=%q: %w", variable, addr, err)
	}
	return l, nil
}

// Close closes both ports.
func (p *Ports) Close() {
	_ = p.public.Close()
	_ = p.private.Close()
}

// Serve serves both ports until ctx ends or one of them fails. Then it drains the public port for at most
// SHUTDOWN_TIMEOUT, during which /readyz on the admin port reports draining.
func (p *Ports) Serve(ctx context.Context, o Options) error {
	// Requests in flight still need this context after ctx has ended.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var draining atomic.Bool
	next, fast := o.public(life)
	public := newServer(o.Log, next, o.Config.RequestTimeout+writeTimeout)
	admin, err := o.private(draining.Load)
	if err != nil {
		return err
	}
	private := newServer(o.Log, admin, 0) // no write timeout, since a profile may take any time
	go keepStacks(life)
	o.logStart(p)
	listener := p.public
	if fast != nil {
		listener = fast.Attach(public, listener)
	}
	ended := make(chan error, 2)
	go func() { ended <- public.Serve(listener) }()
	go func() { ended <- private.Serve(p.private) }()

	var failure error
	running := 2
	select {
	case <-ctx.Done():
	case failure = <-ended:
		running--
		failure = fmt.Errorf("a listener failed: %w", failure)
	}

	draining.Store(true)
	timeout := o.Config.ShutdownTimeout
	drain, cancel := context.WithTimeout(life, timeout)
	defer cancel()
	if err := public.Shutdown(drain); err != nil {
		failure = errors.Join(failure, public.Close(),
			fmt.Errorf("canceled requests that were in flight after SHUTDOWN_TIMEOUT=%v: %w", timeout, err))
	}
	failure = errors.Join(failure, private.Close())
	for range running {
		<-ended
	}
	return failure
}

// Handler returns the handler of the public port. ctx bounds its background work.
func Handler(ctx context.Context, o Options) http.Handler {
	next, fast := o.public(ctx)
	if fast == nil {
		return next
	}
	return fast
}

// public returns the handler of the public port, and the fast path in front of it, which is nil if no
// responses are cached.
func (o Options) public(ctx context.Context) (next http.Handler, fast *fastpath.FastPath) {
	allowed, latency := newHosts(o.Config.AllowedHosts, o.Config.ListenAddr), newLatency(o.Metrics)
	auth := newAuthenticator(ctx, o.Config, o.Log)
	routes := newPublicHandler(o.Config, auth.wrap(o.Gateway), auth.wrap(o.desk()))
	next = o.Traces.wrap(withRequestLog(o.Log, latency, allowed.wrap(o.Log, routes)))
	if o.Gateway.ServeCached == nil {
		return next, nil
	}
	return next, fastpath.New(fastpath.Options{
		Serve: o.Traces.unsampled(cachedOnly(o.Log, latency, allowed.cached(o.Gateway.ServeCached))), Next: next,
		IdleTimeout: idleTimeout, WriteTimeout: writeTimeout,
	})
}

// private returns the handler of the admin port.
func (o Options) private(draining func() bool) (http.Handler, error) {
	a := admin{
		database: o.Gateway.Ping, redis: o.Gateway.Redis, draining: draining, evictor: o.Gateway.Evictor, metrics: o.Metrics, log: o.Log, redact: o.Config.Redact,
	}
	if shown := o.Gateway.Shown; shown != nil {
		var err error
		a.page, err = operator.New(operator.Options{
			Cache: shown.Cache, Policy: shown.Policy, Truth: shown.Truth, Private: shown.Private, Soonest: shown.Memory.Soonest, Redis: shown.Redis, Metrics: o.Metrics, Page: playground.Operator(), Log: o.Log,
			Redact: o.Config.Redact,
		})
		if err != nil {
			return nil, err
		}
	}
	return newHosts(o.Config.AllowedHosts, o.Config.AdminAddr).wrap(o.Log, a.handler()), nil
}

func (o Options) logStart(p *Ports) {
	public := "http://" + p.public.Addr().String()
	attrs := []any{"graphql", public + "/graphql"}
	if o.Config.Playground {
		attrs = append(attrs, "playground", public+"/")
	}
	redis := "none; caching in memory only"
	if len(o.Config.RedisURL) > 0 {
		redis = config.RedactURL(o.Config.RedisURL[0])
	}
	attrs = append(attrs, "admin", "http://"+p.private.Addr().String()+"/", "database", o.Database, "redis", redis)
	o.Log.Info("serving", attrs...)
	if len(o.Config.DatabaseReplicaURLs) > 0 {
		o.Log.Warn("ignoring DATABASE_REPLICA_URLS: the gateway reads from the primary, because a lagging replica would put old rows into the cache")
	}
}

func newServer(log *slog.Logger, h http.Handler, write time.Duration) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      write,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}
