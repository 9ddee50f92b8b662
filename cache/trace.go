package cache

import (
	"context"
	"log/slog"
	"strings"
)

// Trace begins a span of a trace. Work done with the returned context belongs to the span. end ends
// the span, once, with its error and with attributes known only then. Both may be called
// concurrently.
type Trace func(ctx context.Context, name string, about ...slog.Attr) (_ context.Context, end func(err error, about ...slog.Attr))

// The names of spans.
const (
	lookSpan = "cache look-up" // one round trip to the shared tier
	loadSpan = "cache load"    // one call of a source
)

// begin begins a span for flights, if traces are on.
func (c *Cache) begin(ctx context.Context, name string, fs []*flight) (_ context.Context, end func(error, ...slog.Attr)) {
	if c.trace == nil {
		return ctx, func(error, ...slog.Attr) {}
	}
	return c.trace(ctx, name, slog.String("cache.kind", kindOf(fs[0].Key)), slog.Int("cache.keys", len(fs)))
}

// kindOf returns the kind of a key without its id: user for user:42, product:price for
// {product:7}:price.
func kindOf(key Key) string {
	object, part, isPart := strings.Cut(strings.TrimPrefix(string(key), "{"), "}")
	kind, _, _ := strings.Cut(object, ":")
	if !isPart {
		return kind
	}
	part, _, _ = strings.Cut(strings.TrimPrefix(part, ":"), ":")
	for i, r := range part {
		if strings.ContainsRune("(=[#@.", r) {
			part = part[:i]
			break
		}
	}
	return kind + ":" + part
}
