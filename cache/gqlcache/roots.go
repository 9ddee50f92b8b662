package gqlcache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
	"fieldcache/cache/answers"
	"fieldcache/cache/internal/operation"
	"fieldcache/cache/policy"
	"fieldcache/cache/transport"
)

// Roots is a gqlgen extension that caches the root fields of queries one by one, as their bytes in
// a response. If a cached response cannot be served because part of it expired or was evicted, the
// root fields that are still valid are written from the cache, and only the others are resolved. A
// query with one root field gains nothing and is not changed. Use it after [Hints], which
// determines for how long a root field may be cached. The viewer is that of a [transport.Handler]:
// without one, nothing private is cached.
type Roots struct {
	// Answers stores root fields. Required.
	Answers *answers.Store
	// Of is [FieldCount.Of]: a root field that is served from the cache is not counted any longer.
	// If nil, nothing is counted.
	Of func(context.Context) Counter

	server uint32 // its number in Answers
	forms  operation.Memo[ast.Field, string]
}

var _ interface {
	graphql.HandlerExtension
	graphql.ResponseInterceptor
	graphql.RootFieldInterceptor
} = (*Roots)(nil)

// ExtensionName implements gqlgen's extension.
func (*Roots) ExtensionName() string { return "Roots" }

// Validate implements gqlgen's extension. It refuses a second executor, whose other extensions may resolve root fields
// differently.
func (r *Roots) Validate(graphql.ExecutableSchema) error {
	if r.Answers == nil {
		return errors.New("gqlcache: Roots needs a store of answers")
	}
	if r.server != 0 {
		return errors.New("gqlcache: Roots is used twice: give each executor its own")
	}
	r.server = r.Answers.NewServer()
	return nil
}

// rootsKey is the key under which an operation's context has its rootsRun.
type rootsKey struct{}

// rootsRun is the root fields of one operation.
type rootsRun struct {
	collector *collector

	mu       sync.Mutex
	resolved []resolvedRoot
}

// resolvedRoot is a root field that was resolved.
type resolvedRoot struct {
	alias     string
	text      []byte
	body      []byte
	collector *cache.Collector
}

// InterceptResponse caches the root fields that were resolved, unless there was any error.
func (r *Roots) InterceptResponse(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
	c := collectorOf(ctx)
	if c == nil || c.noStore || r.single(ctx) {
		return next(ctx)
	}
	if _, cacheable := transport.QuestionOf(ctx, answers.Question{}); !cacheable {
		return next(ctx)
	}
	c.byRoot = true
	run := &rootsRun{collector: c}
	response := next(context.WithValue(ctx, rootsKey{}, run))
	if response == nil || len(response.Errors) > 0 || response.HasNext != nil {
		return response
	}
	if len(cache.CollectorOf(ctx).Unknown()) > 0 {
		// A loader may have read rows of several root fields by a statement of one of them, or of another operation of the
		// same batch.
		return response
	}
	now := time.Now()
	for _, m := range run.resolved {
		o := c.root(m.alias)
		r.Answers.Put(r.question(ctx, m.text), answers.NewAnswer(answers.Computed{
			Status: http.StatusOK, Body: m.body, MaxAge: o.MaxAge, Scope: o.Scope, Deps: m.collector.Deps(),
		}, now))
	}
	return response
}

// single reports whether the operation is known to have only one root field.
func (r *Roots) single(ctx context.Context) bool {
	set := graphql.GetOperationContext(ctx).Operation.SelectionSet
	if len(set) != 1 {
		return false
	}
	_, ok := set[0].(*ast.Field)
	return ok
}

// question returns the question of a root field, with its viewer.
func (r *Roots) question(ctx context.Context, text []byte) answers.Question {
	q, _ := transport.QuestionOf(ctx, answers.Question{Kind: answers.Root, Text: text})
	q.Server = r.server
	return q
}

// InterceptRootField serves a root field from the cache, or records its result.
func (r *Roots) InterceptRootField(ctx context.Context, next graphql.RootResolver) graphql.Marshaler {
	run, _ := ctx.Value(rootsKey{}).(*rootsRun)
	field := graphql.GetRootFieldContext(ctx)
	if run == nil || field == nil || strings.HasPrefix(field.Field.Name, "__") {
		return next(ctx)
	}
	text := selectionText(ctx, &r.forms, field.Field)
	if text == nil {
		return next(ctx)
	}
	if !cache.IsNoCache(ctx) {
		if a := r.Answers.Get(r.question(ctx, text), time.Now()); a != nil {
			run.collector.restrict(policy.Limit{Age: a.MaxAge(), Scope: a.Scope()})
			cache.CollectorOf(ctx).Use(a.Deps())
			if r.Of != nil {
				if c := r.Of(ctx); c != nil {
					c.Expect(ctx, -1)
				}
			}
			return written(a.Body())
		}
	}
	if cache.CollectorOf(ctx) == nil { // no [transport.Handler] collects dependencies
		ctx, _ = r.Answers.Watch().Collect(ctx, operation.PlaceOf)
	}
	ctx, collector := cache.Collect(ctx)
	value := next(ctx)
	if value == graphql.Null || value == graphql.RequiredNull {
		return value // gqlgen compares it by identity
	}
	var b bytes.Buffer
	value.MarshalGQL(&b)
	run.mu.Lock()
	defer run.mu.Unlock()
	run.resolved = append(run.resolved, resolvedRoot{field.Field.Alias, text, b.Bytes(), collector})
	return written(b.Bytes())
}

// written is a value as the bytes that a response contains.
type written []byte

// MarshalGQL implements gqlgen's marshaler.
func (b written) MarshalGQL(w io.Writer) { _, _ = w.Write(b) } // a buffer's Write does not fail

// selectionText returns the canonical text of a field: its arguments and everything that is
// selected of it, with the fragments and the variables' values, without its alias. It returns nil
// if the variables have no canonical form.
func selectionText(ctx context.Context, forms *operation.Memo[ast.Field, string], field graphql.CollectedField) []byte {
	oc := graphql.GetOperationContext(ctx)
	write := func() string {
		bare := *field.Field
		bare.Alias, bare.SelectionSet = bare.Name, field.Selections
		return operation.Form(oc.Doc, &ast.OperationDefinition{Operation: ast.Query, SelectionSet: ast.SelectionSet{&bare}})
	}
	var form string
	if sameSelections(field) {
		form = forms.Get(field.Field, write)
	} else {
		form = write()
	}
	variables, err := json.Marshal(oc.Variables) // this sorts names
	if err != nil {
		return nil
	}
	text := make([]byte, 0, len(form)+1+len(variables))
	text = append(append(text, form...), 0)
	return append(text, variables...)
}

// sameSelections reports whether a collected field is a single field of the document, and not
// several with the same alias merged.
func sameSelections(f graphql.CollectedField) bool {
	own := f.Field.SelectionSet
	return len(own) == len(f.Selections) && (len(own) == 0 || own[0] == f.Selections[0])
}
