package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"unicode/utf8"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/extension"
	"github.com/99designs/gqlgen/graphql/handler/lru"
	"github.com/99designs/gqlgen/graphql/handler/transport"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"fieldcache/cache"
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

	// Debug tells the scope of a coordinate. If it is set, a request with the header Cache-Debug: 1 is
	// answered with extensions.cache: what was read from where, and what was evicted.
	Debug func(coordinate string) cache.Scope

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
	srv.AddTransport(post{})
	srv.AddTransport(refuse{})
	srv.SetQueryCache(lru.New[*ast.QueryDocument](parsedDocuments))
	srv.SetParserTokenLimit(o.MaxTokens)
	srv.SetErrorPresenter(present(log))
	srv.SetRecoverFunc(recovered)
	srv.Use(extension.AutomaticPersistedQuery{Cache: lru.New[string](registeredDocuments)})
	o.Limits.closed = !o.Introspection
	srv.Use(o.Limits)
	srv.Use(extension.FixedComplexityLimit(o.MaxComplexity))
	if o.Introspection {
		srv.Use(extension.Introspection{})
	} else {
		srv.SetDisableSuggestion(true)
		srv.SetValidationRulesFn(withoutSuggestions)
	}
	for _, e := range o.Extensions {
		srv.Use(e)
	}
	srv.AroundOperations(func(ctx context.Context, next graphql.OperationHandler) graphql.ResponseHandler {
		var seen *report
		if o.Debug != nil && graphql.GetOperationContext(ctx).Headers.Get(debugHeader) == "1" {
			seen = &report{scope: o.Debug}
			ctx = context.WithValue(ctx, reportKey{}, seen)
		}
		answer := next(loaders.Attach(ctx, seen.observer()))
		return func(ctx context.Context) *graphql.Response {
			if r := answer(ctx); r != nil {
				seen.show(r)
				return r
			}
			// gqlgen answers nothing, which would be written as null, when the time is up before it begins.
			return &graphql.Response{Errors: gqlerror.List{present(log)(ctx, ctx.Err())}}
		}
	})
	return srv
}

// post is gqlgen's transport, but strict: in the place of what is not UTF-8, JSON's decoder would put
// another character, which would be stored, and behind a first value it would not look.
type post struct{ transport.POST }

func (p post) Do(w http.ResponseWriter, r *http.Request, exec graphql.GraphExecutor) {
	body, err := io.ReadAll(r.Body)
	if err != nil || !utf8.Valid(body) || !json.Valid(body) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		refused := exec.DispatchError(r.Context(), gqlerror.List{gqlerror.Errorf("the body is not JSON in UTF-8")})
		_ = json.NewEncoder(w).Encode(refused) // to a client who may be gone
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	p.POST.Do(w, r, exec)
}

// refuse answers what no other transport takes. A form or plain text, which a page of another origin may
// send without asking first, is among it.
type refuse struct{}

func (refuse) Supports(*http.Request) bool { return true }

func (refuse) Do(w http.ResponseWriter, r *http.Request, _ graphql.GraphExecutor) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusUnsupportedMediaType)
	refused := gqlerror.Errorf("Send JSON, with the header Content-Type: application/json.")
	errcode.Set(refused, "BAD_REQUEST")
	_ = json.NewEncoder(w).Encode(graphql.Response{Errors: gqlerror.List{refused}}) // to a client who may be gone
}

// withoutSuggestions are the rules of validation that do not say what a client may have meant, which
// would tell the schema bit by bit. gqlgen's own switch knows of fields only.
func withoutSuggestions() *rules.Rules {
	set := rules.NewDefaultRules()
	for _, r := range []struct{ from, to validator.Rule }{
		{rules.KnownArgumentNamesRule, rules.KnownArgumentNamesRuleWithoutSuggestions},
		{rules.KnownTypeNamesRule, rules.KnownTypeNamesRuleWithoutSuggestions},
		{rules.ValuesOfCorrectTypeRule, rules.ValuesOfCorrectTypeRuleWithoutSuggestions},
	} {
		set.ReplaceRule(r.from.Name, r.to.RuleFunc)
	}
	return set
}
