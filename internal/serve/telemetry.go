package serve

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/caarlos0/env/v11"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
)

// Traces are sent where OpenTelemetry's own variables (OTEL_*) say; nil: nowhere.
type Traces struct{ provider *trace.TracerProvider }

// NewTraces is nil unless environ names an endpoint or an exporter. Everything else about traces is
// read by OpenTelemetry's library, which asks the process's environment.
func NewTraces(ctx context.Context, environ []string, log *slog.Logger) (*Traces, error) {
	vars := env.ToMap(environ)
	named := vars["OTEL_EXPORTER_OTLP_ENDPOINT"] + vars["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] + vars["OTEL_TRACES_EXPORTER"]
	if named == "" || vars["OTEL_TRACES_EXPORTER"] == "none" || strings.EqualFold(vars["OTEL_SDK_DISABLED"], "true") {
		return nil, nil
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
	return &Traces{trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(about))}, nil
}

// wrap traces the requests of next to /graphql.
func (t *Traces) wrap(next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	return otelhttp.NewHandler(next, "graphql", otelhttp.WithTracerProvider(t.provider),
		otelhttp.WithFilter(func(r *http.Request) bool { return r.URL.Path == "/graphql" }),
		otelhttp.WithPropagators(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})))
}

// Close sends the spans that are still buffered.
func (t *Traces) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}
