package graph

import (
	"context"
	"log/slog"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/99designs/gqlgen/graphql/handler/extension"

	"fieldcache/dataloader"
	"fieldcache/db"
	"fieldcache/graph/generated"
)

// Options configure [NewExecutor]. A limit of 0 is a limit, and not a default.
type Options struct {
	Limits
	MaxComplexity int  // of an operation; list sizes multiply
	Introspection bool // whether __schema and __type are allowed

	// Debug enables reports: the response to a request with the header Cache-Debug: 1 has extensions.cache, with the source
	// of each value and what was evicted.
	Debug *Debug

	Extensions []graphql.HandlerExtension // in the order in which gqlgen calls them
}

// NewSchema returns the executable schema of the shop in d.
func NewSchema(d *db.DB, log *slog.Logger) graphql.ExecutableSchema {
	return generated.NewExecutableSchema(generated.Config{
		Resolvers:  &Resolver{DB: d, Log: log},
		Complexity: complexity(),
	})
}

// NewExecutor returns the executor of operations. It takes the viewer from the context of the
// request and gives each response loaders of its own: a query or mutation has one response, a
// subscription one for each event. It logs what it hides from clients.
func NewExecutor(schema graphql.ExecutableSchema, loaders *dataloader.Factory, o Options, log *slog.Logger) *executor.Executor {
	exec := executor.New(schema)
	exec.SetErrorPresenter(present(log))
	exec.SetRecoverFunc(recovered)
	o.Limits.closed = !o.Introspection
	exec.Use(o.Limits)
	exec.Use(newComplexityLimit(o.MaxComplexity))
	if o.Introspection {
		exec.Use(extension.Introspection{})
	}
	exec.AroundResponses(func(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
		if !graphql.HasOperationContext(ctx) || len(graphql.GetErrors(ctx)) > 0 {
			return next(ctx) // the operation was refused, and resolves nothing
		}
		var seen *report
		if o.Debug != nil && graphql.GetOperationContext(ctx).Headers.Get(DebugHeader) == "1" {
			seen = &report{Debug: o.Debug}
			ctx = context.WithValue(ctx, reportKey{}, seen)
		}
		r := next(loaders.Attach(ctx, seen.observer()))
		seen.unknown(ctx)
		seen.show(r, seen.decide(ctx))
		return r
	})
	for _, e := range o.Extensions {
		exec.Use(e)
	}
	return exec
}
