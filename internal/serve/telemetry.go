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

// Traces are sent where OpenTelemetry's own variables (OTEL_*) say; nil: nowhere.
type Traces struct {
	provider *trace.TracerProvider
	tracer   api.Tracer
	sampler  *sampler
}

// NewTraces is nil unless environ names an endpoint or an exporter. Of the samplers that OTEL_TRACES_SAMPLER names it knows those of the
// specification. Everything else about traces is read by OpenTelemetry's library, which asks the process's environment.
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
	// Later ones win: OTEL_SERVICE_NAME over our name.
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

// propagators read what a caller's trace is.
var propagators = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})

// wrap traces the requests of next to /graphql.
func (t *Traces) wrap(next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	return otelhttp.NewHandler(next, "graphql", otelhttp.WithTracerProvider(t.provider),
		otelhttp.WithFilter(func(r *http.Request) bool { return r.URL.Path == "/graphql" }),
		otelhttp.WithPropagators(propagators))
}

// unsampled has serve answer only requests that are not traced. Whether a request is traced is drawn here; the sampler, which is asked
// about those that serve does not answer, keeps to it.
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

// Trace implements [fieldcache/cache.Trace]: spans are parts of traces that requests have begun, and of no others.
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

// Redis has a client's commands traced, by their names alone.
func (t *Traces) Redis(client redis.UniversalClient) error {
	return redisotel.InstrumentTracing(client, redisotel.WithTracerProvider(t.provider), redisotel.WithDBStatement(false), redisotel.WithCallerEnabled(false),
		redisotel.WithDialFilter(true))
}

// Operations is a gqlgen extension that makes a span of each response of an operation. Nil: none.
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

// sampler decides which requests are traced. What is no part of a request, such as a poll of the outbox, is not.
type sampler struct {
	ratio   float64 // of requests without a caller's trace
	parents bool    // a caller's decision counts
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

// always reports whether every request is traced, whatever its caller says.
func (s *sampler) always() bool { return !s.parents && s.ratio == 1 }

// draw decides about a request without a caller's trace.
func (s *sampler) draw() bool { return s.ratio > 0 && (s.ratio == 1 || rand.Float64() < s.ratio) }

// taken reports whether a decision was there to be taken: it is now.
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
