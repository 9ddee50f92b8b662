package transport

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"fieldcache/cache/apierror"
	"fieldcache/cache/transport/internal/document"
)

// execute executes all operations, in their order. If all of them are queries they run
// concurrently; if one is a mutation, they run one after the other.
func (h *Handler) execute(ctx context.Context, list []params, in request, wish wish, header http.Header, read graphql.TraceTiming) []answer {
	computed := make([]answer, len(list))
	ready := make([]*graphql.OperationContext, len(list)) // nil: it has a response already
	atOnce := len(list) > 1
	budget := h.validation.Budget()
	for i := range list {
		h.guard(ctx, &computed[i], func() {
			ready[i] = h.prepare(ctx, &computed[i], &list[i], in.read, header, read, budget)
		})
		if ready[i] != nil && !in.batch {
			if h.recall(&computed[i], ready[i], in, wish); computed[i].cached != nil || computed[i].refused != nil {
				return computed
			}
		}
		if ready[i] != nil && ready[i].Operation.Operation != ast.Query {
			atOnce = false
		}
	}
	var running sync.WaitGroup
	for i, oc := range ready {
		if oc == nil {
			continue
		}
		run := func() { h.guard(ctx, &computed[i], func() { h.run(ctx, &computed[i], oc) }) }
		if atOnce {
			running.Go(run)
		} else {
			run()
		}
	}
	running.Wait()
	return computed
}

// prepare finds, parses and checks an operation. It returns nil, and fills the response, if there
// is nothing to execute.
func (h *Handler) prepare(ctx context.Context, a *answer, p *params, readOnly bool, header http.Header, read graphql.TraceTiming, b *document.Budget) *graphql.OperationContext {
	a.Context = ctx
	text, hash, refused := h.documents.find(ctx, p)
	if refused != nil {
		a.refuse(refused)
		return nil
	}
	raw := &graphql.RawParams{
		Query: text, OperationName: p.OperationName, Variables: p.Variables, Extensions: p.Extensions,
		Headers: header, ReadTime: read,
	}
	parsing := graphql.TraceTiming{Start: graphql.Now()}
	doc, errs := h.document(ctx, text, b)
	parsing.End = graphql.Now()
	if len(errs) == 0 {
		errs = doc.Coerce(h.validation, raw)
	}
	if len(errs) > 0 {
		a.Context = graphql.WithOperationContext(ctx, refusedContext(raw, doc))
		a.Response = h.fail(a.Context, errs)
		return nil
	}
	oc, errs := h.exec.CreateOperationContext(ctx, raw)
	a.Context = graphql.WithOperationContext(ctx, oc)
	if len(errs) == 0 {
		// After the limits: an absurd size exceeds them first.
		errs = doc.Check(h.validation, b, oc)
	}
	switch {
	case len(errs) > 0:
		a.Response = h.fail(a.Context, errs)
		return nil
	case oc.Operation.Operation == ast.Subscription:
		a.refuse(refuse(apierror.Subscription))
		return nil
	case readOnly && oc.Operation.Operation != ast.Query:
		a.refuse(notAllowed(http.MethodPost, apierror.MutationByGet))
		return nil
	}
	oc.Stats.Parsing = parsing
	if h.o.Named != nil && oc.Operation.Name != "" && h.documents.trusts(text) {
		a.name = oc.Operation.Name
	}
	if hash != "" {
		h.documents.register(ctx, hash, text)
	}
	return oc
}

// document returns a valid document. The executor uses the same cache and finds the document there.
func (h *Handler) document(ctx context.Context, text string, b *document.Budget) (*document.Parsed, gqlerror.List) {
	if doc, ok := h.parsed.Find(text); ok {
		return doc, nil
	}
	doc, errs := h.validation.Parse(ctx, text, b)
	if len(errs) > 0 {
		if ctx.Err() != nil && errors.Is(errs, ctx.Err()) {
			errs = timedOut(ctx)
		}
		return nil, errs
	}
	return h.parsed.Put(text, doc), nil
}

// refusedContext returns the context of an operation that is refused before the executor sees it.
func refusedContext(raw *graphql.RawParams, doc *document.Parsed) *graphql.OperationContext {
	oc := &graphql.OperationContext{
		RawQuery: raw.Query, Variables: raw.Variables, OperationName: raw.OperationName, Extensions: raw.Extensions,
		Headers: raw.Headers, DisableIntrospection: true,
	}
	if doc != nil {
		oc.Doc, oc.Operation = doc.QueryDocument, doc.Operations.ForName(raw.OperationName)
	}
	return oc
}

// timedOut returns the error of a request that timed out, or whose client has disconnected.
func timedOut(ctx context.Context) gqlerror.List {
	errs := late(ctx).errors()
	errs[0].Err = ctx.Err()
	return errs
}

// run executes an operation.
func (h *Handler) run(ctx context.Context, a *answer, oc *graphql.OperationContext) {
	next, ctx := h.exec.DispatchOperation(ctx, oc)
	a.Context = ctx
	a.Response = next(ctx)
	if r := a.Response; r != nil && r.Data == nil && len(r.Errors) == 0 {
		r.Data = json.RawMessage("null")
	}
	// An operation that ran out of time gets no response, or null without an error.
	if r := a.Response; r == nil || ctx.Err() != nil && len(r.Errors) == 0 && string(r.Data) == "null" {
		a.Response = h.fail(ctx, timedOut(ctx))
	}
}

// fail returns a response for an operation that has none. The response interceptors receive it, and
// cannot turn it into success by dropping it.
func (h *Handler) fail(ctx context.Context, errs gqlerror.List) *graphql.Response {
	if r := h.exec.DispatchError(ctx, errs); r != nil && len(r.Errors) > 0 {
		return r
	}
	return &graphql.Response{Errors: errs}
}

// guard turns a panic outside of resolvers, whose panics gqlgen handles, into the operation's
// response.
func (h *Handler) guard(ctx context.Context, a *answer, do func()) {
	defer func() {
		if p := recover(); p != nil {
			err := graphql.DefaultErrorPresenter(ctx, h.exec.PresentRecoveredError(ctx, p))
			a.Response, a.refused = &graphql.Response{Errors: gqlerror.List{err}}, &refusal{status: http.StatusInternalServerError}
		}
	}()
	do()
}

func (a *answer) refuse(f *refusal) {
	a.Response, a.refused = &graphql.Response{Errors: f.errors()}, f
}
