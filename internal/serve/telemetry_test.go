package serve

import "testing"

func TestTracesAreOffUnlessAnEndpointIsSet(t *testing.T) {
	t.Parallel()
	for _, environ := range [][]string{
		{},
		{"OTEL_SERVICE_NAME=x", "OTEL_TRACES_SAMPLER=always_on"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_TRACES_EXPORTER=none"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_SDK_DISABLED=true"},
	} {
		if traces, err := NewTraces(t.Context(), environ, nil); traces != nil || err != nil {
			t.Errorf("%v: got %v, %v; want no traces", environ, traces, err)
		}
	}
}
