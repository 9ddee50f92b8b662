package graph

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/extension"
	"github.com/99designs/gqlgen/graphql/handler/lru"
	"github.com/99designs/gqlgen/graphql/handler/transport"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"fieldcache/dataloader"
	"fieldcache/db"
	"fieldcache/graph/generated"
)

// How many documents are kept parsed, and how many registered by their hash.
const (
	parsedDocuments     = 1000
	registeredDocuments = 1000
)

// Options bound what a handler takes from a client. Zero is a bound like any other number.
type Options struct {
	Limits
	MaxTokens     int  // of a document
	MaxComplexity int  // of an operation, list sizes multiplied in
	Introspection bool // whether __schema and __type are answered

	Extensions []graphql.HandlerExtension // in the order in which they are to be called
}

// NewSchema makes the executable schema of the shop in d.
func NewSchema(d *db.DB, log *slog.Logger) graphql.ExecutableSchema {
	return generated.NewExecutableSchema(generated.Config{
		Resolvers:  &Resolver{DB: d, Log: log},
		Complexity: complexity(),
	})
}

// NewHandler makes what answers GraphQL over HTTP: POST, and queries by GET. It takes the viewer from the
// request's context and gives each operation loaders of its own. It logs what it hides from clients.
func NewHandler(schema graphql.ExecutableSchema, loaders *dataloader.Factory, o Options, log *slog.Logger) http.Handler {
	srv := handler.New(schema)
	srv.AddTransport(transport.GET{})
	srv.AddTransport(transport.POST{})
	srv.SetQueryCache(lru.New[*ast.QueryDocument](parsedDocuments))
	srv.SetParserTokenLimit(o.MaxTokens)
	srv.SetErrorPresenter(present(log))
	srv.SetRecoverFunc(recovered)
	srv.SetDisableSuggestion(!o.Introspection) // a suggestion tells the schema bit by bit
	srv.Use(extension.AutomaticPersistedQuery{Cache: lru.New[string](registeredDocuments)})
	srv.Use(o.Limits)
	srv.Use(extension.FixedComplexityLimit(o.MaxComplexity))
	if o.Introspection {
		srv.Use(extension.Introspection{})
	}
	for _, e := range o.Extensions {
		srv.Use(e)
	}
	srv.AroundOperations(func(ctx context.Context, next graphql.OperationHandler) graphql.ResponseHandler {
		answer := next(loaders.Attach(ctx))
		return func(ctx context.Context) *graphql.Response {
			if r := answer(ctx); r != nil {
				return r
			}
			// gqlgen answers nothing, which would be written as null, when the time is up before it begins.
			return &graphql.Response{Errors: gqlerror.List{present(log)(ctx, ctx.Err())}}
		}
	})
	return srv
}
