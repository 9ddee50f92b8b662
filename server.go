// Command fieldcache is a GraphQL gateway with a cache for every field.
//
// Main calls run, which reads the command line; serve builds each part, connects them, serves and drains.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/redis/go-redis/v9"

	"fieldcache/db"
	"fieldcache/internal/fastpath"
)

func main() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	redis.SetLogger(silent{})
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	os.Exit(run(context.Background(), os.Args[1:], system{
		stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ(), signals: signals, build: newGateway, limit: limitMemory,
	}))
}

// gcPercent lets the heap grow to five times what lives before it is collected, in the place of twice, unless
// GOGC says otherwise. What lives is bounded by MEMORY_BYTES, and collecting a small heap again and again
// took a sixth of the processor.
const gcPercent = 400

// limitMemory has it collected sooner where five times what lives would be more than a host expects that was told of
// bytes for the caches, unless GOMEMLIMIT says otherwise.
func limitMemory(bytes int64) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(2*bytes + 256<<20)
	}
}

// silent keeps go-redis from writing lines of its own between those of the log: what it has to say comes
// back as errors, which the cache tells.
type silent struct{}

// Printf implements go-redis's logger.
func (silent) Printf(context.Context, string, ...any) {}

// system is what run has of the world around it.
type system struct {
	stdout, stderr io.Writer
	environ        []string // "NAME=value"
	signals        <-chan os.Signal
	build          func(context.Context, Config, *db.DB, prometheus.Registerer, *slog.Logger) (*gateway, error)
	limit          func(memoryBytes int64) // bounds the process's memory; nil: it is not bounded
}

// gateway is what answers GraphQL, with the cache behind it.
type gateway struct {
	http.Handler // answers /graphql, whatever the method
	// serveKept answers a request to /graphql from what is kept, if it can; nil: it never can.
	serveKept func(http.ResponseWriter, *http.Request) bool
	evictor   evictor                     // empties the cache by hand
	ping      func(context.Context) error // says whether the database answers, however many requests wait for it
	redis     func(context.Context) error // says whether Redis answers; nil without Redis
	close     func() error                // ends it, once no request is under way
}

// Bounds on what a connection may take, beside MAX_BODY_BYTES and REQUEST_TIMEOUT.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 30 * time.Second // beyond REQUEST_TIMEOUT
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10 // a query may stand in the URL
)

// untilSignal runs do with a context that the first signal ends. A second signal does not wait for do.
func (sys system) untilSignal(ctx context.Context, log *slog.Logger, do func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	for stopping := false; ; stopping = true {
		select {
		case err := <-done:
			return err
		case s := <-sys.signals:
			if stopping {
				code := 1
				if number, ok := s.(syscall.Signal); ok {
					code = 128 + int(number)
				}
				return &exitError{code, fmt.Errorf("%v again: ended at once", s)}
			}
			log.Info("ending: what is under way is finished, unless a second signal comes", "signal", s.String())
			stop()
		}
	}
}

// serve builds the server, serves until ctx ends, finishes what is under way, and takes all down again.
func serve(ctx context.Context, _ []string, cfg Config, sys system, log *slog.Logger) (err error) {
	closing := func(what string, close func() error) {
		if e := close(); e != nil {
			err = errors.Join(err, fmt.Errorf("close %s: %w", what, e))
		}
	}
	if sys.limit != nil {
		sys.limit(int64(cfg.MemoryBytes))
	}
	// What requests under way need lives on when ctx has ended.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()

	// The ports come first: where another server has them, the database is not touched.
	public, err := listen(ctx, "LISTEN_ADDR", cfg.ListenAddr)
	if err != nil {
		return err
	}
	defer public.Close()
	private, err := listen(ctx, "ADMIN_ADDR", cfg.AdminAddr)
	if err != nil {
		return err
	}
	defer private.Close()

	traces, err := newTelemetry(life, env.ToMap(sys.environ), log)
	if err != nil {
		return err
	}
	defer closing("telemetry", func() error {
		ctx, cancel := context.WithTimeout(life, cfg.ShutdownTimeout)
		defer cancel()
		return traces.close(ctx)
	})
	d, err := openDatabase(ctx, cfg)
	if err != nil {
		return err
	}
	defer closing("the database", d.Close)
	if err := prepareDatabase(ctx, cfg, d, log); err != nil {
		return err
	}

	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewBuildInfoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewDBStatsCollector(d.Bun().DB, "primary"))
	gw, err := sys.build(life, cfg, d, metrics, log)
	if err != nil {
		return err
	}
	defer closing("the gateway", gw.close)
	auth := newAuthenticator(life, cfg, log)

	var draining atomic.Bool
	adminHandler := admin{
		database: gw.ping, redis: gw.redis, draining: draining.Load, evictor: gw.evictor, metrics: metrics, log: log,
	}.handler()
	adminHandler = newHosts(cfg.AllowedHosts, cfg.AdminAddr).wrap(log, adminHandler)
	requests := newRequestMetric(metrics)
	publicHosts := newHosts(cfg.AllowedHosts, cfg.ListenAddr)
	publicHandler := traces.wrap(withRequestLog(log, requests, publicHosts.wrap(log, newPublicHandler(cfg, auth.wrap(gw)))))
	servers := serverPair{
		public:  newServer(log, publicHandler, cfg.RequestTimeout+writeTimeout),
		private: newServer(log, adminHandler, 0), // a profile takes as long as its reader wants
	}
	logStart(log, cfg, public.Addr(), private.Addr(), d)
	if gw.serveKept != nil && traces == nil {
		fast := fastpath.New(fastpath.Options{
			Serve: keptOnly(log, requests, publicHosts.kept(gw.serveKept)), Next: publicHandler,
			IdleTimeout: idleTimeout, WriteTimeout: writeTimeout,
		})
		public = fast.Attach(servers.public, public)
	}
	return servers.serve(ctx, life, public, private, cfg.ShutdownTimeout, &draining)
}

func logStart(log *slog.Logger, cfg Config, public, private net.Addr, d *db.DB) {
	attrs := []any{"graphql", "http://" + public.String() + "/graphql"}
	if cfg.Playground {
		attrs = append(attrs, "playground", "http://"+public.String()+"/")
	}
	redis := "none: memory alone"
	if len(cfg.RedisURL) > 0 {
		redis = redactURL(cfg.RedisURL[0])
	}
	attrs = append(attrs, "admin", "http://"+private.String()+"/", "database", d.String(), "redis", redis)
	log.Info("serving", attrs...)
	if len(cfg.DatabaseReplicaURLs) > 0 {
		log.Warn("DATABASE_REPLICA_URLS is not used: every read goes to the primary, since a replica that lags would put old rows into the cache")
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

// serverPair is the server of the public port and that of the admin port.
type serverPair struct{ public, private *http.Server }

// serve serves both until ctx ends or one of them fails. Then it drains the public one for at most timeout,
// while the admin port goes on telling about it. life is what both live on meanwhile.
func (p serverPair) serve(ctx, life context.Context, public, private net.Listener, timeout time.Duration, draining *atomic.Bool) error {
	ended := make(chan error, 2)
	go func() { ended <- p.public.Serve(public) }()
	go func() { ended <- p.private.Serve(private) }()

	var failure error
	running := 2
	select {
	case <-ctx.Done():
	case failure = <-ended:
		running--
		failure = fmt.Errorf("a listener failed: %w", failure)
	}

	draining.Store(true)
	drain, cancel := context.WithTimeout(life, timeout)
	defer cancel()
	if err := p.public.Shutdown(drain); err != nil {
		failure = errors.Join(failure, p.public.Close(),
			fmt.Errorf("requests still under way after SHUTDOWN_TIMEOUT=%v were cut off: %w", timeout, err))
	}
	failure = errors.Join(failure, p.private.Close())
	for range running {
		<-ended
	}
	return failure
}

// listen opens the port of a variable.
func listen(ctx context.Context, variable, addr string) (net.Listener, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s=%q: another program listens there already; end it or choose another port", variable, addr)
	}
	if err != nil {
		return nil, fmt.Errorf("%s=%q: %w", variable, addr, err)
	}
	return l, nil
}
