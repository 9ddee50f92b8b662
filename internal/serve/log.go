package serve

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/felixge/httpsnoop"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/term"

	"fieldcache/cache/answers"
	"fieldcache/cache/apierror"
	"fieldcache/internal/config"
)

// NewLogger returns a logger that writes to w in the format of cfg. Records with the context of a request
// have the request's id, and its trace id if it is traced.
func NewLogger(w io.Writer, cfg config.Config) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.LogLevel}
	if cfg.LogFormat == "text" || cfg.LogFormat == "" && isTerminal(w) {
		return slog.New(contextHandler{slog.NewTextHandler(w, options)})
	}
	return slog.New(contextHandler{slog.NewJSONHandler(w, options)})
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// contextHandler adds attributes from the context to each record.
type contextHandler struct{ slog.Handler }

func (h contextHandler) Handle(ctx context.Context, r slog.Record) error {
	if of := requestOf(ctx); of != nil {
		r.AddAttrs(slog.String("request_id", of.id))
	}
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		r.AddAttrs(slog.String("trace_id", span.TraceID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h contextHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return contextHandler{h.Handler.WithAttrs(attrs)}
}

func (h contextHandler) WithGroup(name string) slog.Handler {
	return contextHandler{h.Handler.WithGroup(name)}
}

const requestIDHeader = "X-Request-Id"

// safeID matches the request ids of clients that are used unchanged.
var safeID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

type requestKey struct{}

// request is the request that a context belongs to.
type request struct {
	id        string
	operation atomic.Pointer[string] // nil until NameOperation is called
}

// requestOf returns the request that ctx belongs to, or nil if there is none.
func requestOf(ctx context.Context) *request {
	r, _ := ctx.Value(requestKey{}).(*request)
	return r
}

// NameOperation sets the operation of a trusted document that the request of ctx executes. Its latency is
// measured by this name. Without a request of the public port NameOperation does nothing.
func NameOperation(ctx context.Context, name string) {
	if r := requestOf(ctx); r != nil {
		r.operation.Store(&name)
	}
}

// cachedOnly serves and measures cached responses. It declines all requests if each is to be logged. It
// adds no request id, because it logs nothing.
func cachedOnly(log *slog.Logger, latency *latency, serve serveCached) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		began := time.Now()
		if r.URL.Path != "/graphql" || log.Enabled(r.Context(), slog.LevelDebug) {
			return false
		}
		operation, served := serve(w, r)
		if served {
			latency.hit(operation, time.Since(began))
		}
		return served
	}
}

// withRequestLog sets the id of each request, recovers panics, measures requests and logs them: server
// errors at level error, client errors and only-if-cached misses at info, and the rest at debug.
func withRequestLog(log *slog.Logger, latency *latency, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(requestIDHeader)
		if !safeID.MatchString(id) {
			id = rand.Text()
		}
		w.Header().Set(requestIDHeader, id)
		of := &request{id: id}
		ctx := context.WithValue(r.Context(), requestKey{}, of)

		var m httpsnoop.Metrics // its Code stays 0 until a header is written
		m.CaptureMetrics(w, func(w http.ResponseWriter) {
			defer func() {
				if p := recover(); p != nil {
					afterPanic(ctx, log, w, m.Code != 0 || m.Written > 0, p)
				}
			}()
			next.ServeHTTP(w, r.WithContext(ctx))
		})

		code := m.Code
		if code == 0 {
			code = http.StatusOK
		}
		latency.request(ctx, r.URL.Path, code, w.Header().Get("Cache-Status"), m.Duration)
		level := slog.LevelDebug
		switch {
		case w.Header().Get("Cache-Status") == string(answers.Overloaded):
			// Overloads are logged elsewhere, once for many requests.
		case code >= 500 && w.Header().Get("Cache-Status") != string(answers.NotForwarded):
			level = slog.LevelError
		case code >= 400:
			level = slog.LevelInfo
		}
		if log.Enabled(ctx, level) {
			log.LogAttrs(ctx, level, "request",
				slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", code),
				slog.Int64("bytes", m.Written), slog.Float64("duration_ms", float64(m.Duration.Microseconds())/1000),
				slog.String("remote", r.RemoteAddr))
		}
	})
}

// afterPanic logs a handler's panic with its stack and responds with 500. If the response has begun, it
// breaks the connection instead, so that the client does not mistake a part for the whole.
func afterPanic(ctx context.Context, log *slog.Logger, w http.ResponseWriter, started bool, p any) {
	if p == http.ErrAbortHandler {
		panic(p)
	}
	log.ErrorContext(ctx, "a handler panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	if started {
		panic(http.ErrAbortHandler)
	}
	writeError(w, apierror.InternalRequest)
}

// writeError responds with an error in the format of GraphQL, for requests that fail outside of GraphQL.
func writeError(w http.ResponseWriter, e apierror.Error) {
	type extensions struct {
		Code string `json:"code"`
	}
	type graphqlError struct {
		Message    string     `json:"message"`
		Extensions extensions `json:"extensions"`
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, e.Status, map[string][]graphqlError{"errors": {{e.Message, extensions{e.Code}}}})
}

// writeJSON responds with v. It ignores write errors, which mean that the client has disconnected.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
