package serve

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/99designs/gqlgen/graphql"
	"github.com/caarlos0/env/v11"
	"github.com/redis/go-redis/extra/redisotel/v9"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	api "go.opentelemetry.io/otel/trace"
)

// Traces sends traces as OpenTelemetry's own variables (OTEL_*) say. A nil *Traces sends none.
type Traces struct {
	provider *trace.TracerProvider
	tracer   api.Tracer
	sampler  *sampler
}

// NewTraces returns nil, nil unless environ sets an endpoint or an exporter. For OTEL_TRACES_SAMPLER it
// supports always_on, always_off and traceidratio, alone and parent-based. OpenTelemetry's library reads
// all other variables from the process's environment.
func NewTraces(ctx context.Context, environ []string, log *slog.Logger) (*Traces, error) {
	vars := env.ToMap(environ)
	named := vars["OTEL_EXPORTER_OTLP_ENDPOINT"] + vars["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] + vars["OTEL_TRACES_EXPORTER"]
	if named == "" || vars["OTEL_TRACES_EXPORTER"] == "none" || strings.EqualFold(vars["OTEL_SDK_DISABLED"], "true") {
		return nil, nil
	}
	s, err := newSampler(vars["OTEL_TRACES_SAMPLER"], vars["OTEL_TRACES_SAMPLER_ARG"])
	if err != nil {
		return nil, err
	}
	exporter, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return nil, fmt.Errorf("OTEL_TRACES_EXPORTER: %w", err)
	}
	// Later options override earlier ones: OTEL_SERVICE_NAME overrides our name.
	about, err := resource.New(ctx, resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", "fieldcache")), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("cannot send traces", "error", err) }))
	return newTraces(s, trace.WithBatcher(exporter), trace.WithResource(about)), nil
}

func newTraces(s *sampler, o ...trace.TracerProviderOption) *Traces {
	p := trace.NewTracerProvider(append(o, trace.WithSampler(s))...)
	return &Traces{p, p.Tracer("fieldcache"), s}
}

// propagators read the caller's trace from a request.
var propagators = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})

// wrap traces requests to /graphql.
func (t *Traces) wrap(next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	return otelhttp.NewHandler(next, "graphql", otelhttp.WithTracerProvider(t.provider),
		otelhttp.WithFilter(func(r *http.Request) bool { return r.URL.Path == "/graphql" }),
		otelhttp.WithPropagators(propagators))
}

// unsampled lets serve handle only requests that are not traced. It decides which requests are traced. The
// sampler, which is asked about the requests that serve declines, follows these decisions.
func (t *Traces) unsampled(serve func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	if t == nil {
		return serve
	}
	return func(w http.ResponseWriter, r *http.Request) bool {
		if len(r.Header["Traceparent"]) > 0 {
			if c := api.SpanContextFromContext(propagators.Extract(r.Context(), propagation.HeaderCarrier(r.Header))); c.IsValid() {
				return !(c.IsSampled() || t.sampler.always()) && serve(w, r)
			}
		}
		if t.sampler.draw() {
			t.sampler.yes.Add(1)
			return false
		}
		if serve(w, r) {
			return true
		}
		t.sampler.no.Add(1)
		return false
	}
}

// Trace implements [fieldcache/cache.Trace]. It starts a span only within the trace of a request.
func (t *Traces) Trace(ctx context.Context, name string, about ...slog.Attr) (context.Context, func(error, ...slog.Attr)) {
	if !api.SpanContextFromContext(ctx).IsSampled() {
		return ctx, func(error, ...slog.Attr) {}
	}
	ctx, span := t.tracer.Start(ctx, name, api.WithAttributes(attributes(about)...))
	return ctx, func(err error, about ...slog.Attr) {
		span.SetAttributes(attributes(about)...)
		if err != nil {
			span.RecordError(err)
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}

func attributes(about []slog.Attr) []attribute.KeyValue {
	list := make([]attribute.KeyValue, len(about))
	for i, a := range about {
		if a.Value.Kind() == slog.KindInt64 {
			list[i] = attribute.Int64(a.Key, a.Value.Int64())
		} else {
			list[i] = attribute.String(a.Key, a.Value.String())
		}
	}
	return list
}

// Redis traces a client's commands by name, without their arguments.
func (t *Traces) Redis(client redis.UniversalClient) error {
	return redisotel.InstrumentTracing(client, redisotel.WithTracerProvider(t.provider), redisotel.WithDBStatement(false), redisotel.WithCallerEnabled(false),
		redisotel.WithDialFilter(true))
}

// Operations returns a gqlgen extension that creates a span for each response of an operation.
func (t *Traces) Operations() graphql.HandlerExtension { return operations{t} }

type operations struct{ t *Traces }

// ExtensionName implements [graphql.HandlerExtension].
func (operations) ExtensionName() string { return "Traces" }

// Validate implements [graphql.HandlerExtension].
func (operations) Validate(graphql.ExecutableSchema) error { return nil }

// InterceptResponse implements [graphql.ResponseInterceptor].
func (o operations) InterceptResponse(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
	if !graphql.HasOperationContext(ctx) || graphql.GetOperationContext(ctx).Operation == nil {
		return next(ctx)
	}
	op := graphql.GetOperationContext(ctx).Operation
	ctx, end := o.t.Trace(ctx, strings.TrimSpace(string(op.Operation)+" "+op.Name), slog.String("graphql.operation.type", string(op.Operation)), slog.String("graphql.operation.name", op.Name))
	r := next(ctx)
	var err error
	if r != nil && len(r.Errors) > 0 {
		err = r.Errors
	}
	end(err)
	return r
}

// Close sends the spans that are still buffered.
func (t *Traces) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// sampler decides which requests are traced. Work outside of requests, such as polls of the outbox, is not
// traced.
type sampler struct {
	ratio   float64 // the share of traced requests among those without a caller's trace
	parents bool    // whether to follow a caller's decision
	yes, no atomic.Int64
}

// newSampler reads OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG.
func newSampler(name, arg string) (*sampler, error) {
	s := &sampler{ratio: 1, parents: name == "" || strings.HasPrefix(name, "parentbased_")}
	switch strings.TrimPrefix(name, "parentbased_") {
	case "", "always_on":
	case "always_off":
		s.ratio = 0
	case "traceidratio":
		if arg == "" {
			break
		}
		var err error
		if s.ratio, err = strconv.ParseFloat(arg, 64); err != nil || !(s.ratio >= 0 && s.ratio <= 1) {
			return nil, fmt.Errorf("OTEL_TRACES_SAMPLER_ARG=%q: not a number from 0 to 1", arg)
		}
	default:
		return nil, fmt.Errorf("OTEL_TRACES_SAMPLER=%q: allowed are always_on, always_off, traceidratio, and each with parentbased_ before it", name)
	}
	return s, nil
}

// always reports whether every request is traced, regardless of its caller's decision.
func (s *sampler) always() bool { return !s.parents && s.ratio == 1 }

// draw decides at random whether to trace a request without a caller's trace.
func (s *sampler) draw() bool { return s.ratio > 0 && (s.ratio == 1 || rand.Float64() < s.ratio) }

// taken takes one of n decisions, and reports whether there was one.
func taken(n *atomic.Int64) bool {
	for {
		v := n.Load()
		if v <= 0 {
			return false
		}
		if n.CompareAndSwap(v, v-1) {
			return true
		}
	}
}

// ShouldSample implements [trace.Sampler].
func (s *sampler) ShouldSample(p trace.SamplingParameters) trace.SamplingResult {
	parent := api.SpanContextFromContext(p.ParentContext)
	result := trace.SamplingResult{Decision: trace.Drop, Tracestate: parent.TraceState()}
	sampled := false
	switch {
	case parent.IsValid() && (s.parents || !parent.IsRemote()):
		sampled = parent.IsSampled()
	case p.Kind != api.SpanKindServer:
	case taken(&s.yes):
		sampled = true
	case taken(&s.no):
	default:
		sampled = s.draw()
	}
	if sampled {
		result.Decision = trace.RecordAndSample
	}
	return result
}

// Description implements [trace.Sampler].
func (s *sampler) Description() string { return fmt.Sprintf("Requests{%g}", s.ratio) }
