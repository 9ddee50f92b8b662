package gqlcache

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// execute answers all operations, in their order. Where all of them are queries they run at a time; as
// soon as one is a mutation, they run one after the other.
func (h *Handler) execute(ctx context.Context, list []params, in request, wish wish, header http.Header, read graphql.TraceTiming) []answer {
	made := make([]answer, len(list))
	ready := make([]*graphql.OperationContext, len(list)) // nil: answered already
	atOnce := len(list) > 1
	for i := range list {
		h.guard(ctx, &made[i], func() {
			ready[i] = h.prepare(ctx, &made[i], &list[i], in.read, header, read)
		})
		if ready[i] != nil && !in.batch {
			if h.recall(&made[i], ready[i], in, wish); made[i].kept != nil || made[i].refused != nil {
				return made
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
		run := func() { h.guard(ctx, &made[i], func() { h.run(ctx, &made[i], oc) }) }
		if atOnce {
			running.Go(run)
		} else {
			run()
		}
	}
	running.Wait()
	return made
}

// prepare finds, parses and checks an operation. It answers nil, and fills the answer, where there is nothing
// to execute.
func (h *Handler) prepare(ctx context.Context, a *answer, p *params, readOnly bool, header http.Header, read graphql.TraceTiming) *graphql.OperationContext {
	a.Context = ctx
	text, hash, refused := h.documents.find(ctx, p)
	if refused != nil {
		a.refuse(refused)
		return nil
	}
	oc, errs := h.exec.CreateOperationContext(ctx, &graphql.RawParams{
		Query: text, OperationName: p.OperationName, Variables: p.Variables, Extensions: p.Extensions,
		Headers: header, ReadTime: read,
	})
	a.Context = graphql.WithOperationContext(ctx, oc)
	switch {
	case len(errs) > 0:
		nameVariables(errs)
		a.Response = h.fail(a.Context, errs)
		return nil
	case oc.Operation.Operation == ast.Subscription:
		a.refuse(bad("Subscriptions are not answered here: send a query or a mutation."))
		return nil
	case readOnly && oc.Operation.Operation != ast.Query:
		a.refuse(notAllowed(http.MethodPost, "Send mutations by POST: by GET, queries alone are executed."))
		return nil
	}
	if hash != "" {
		h.documents.register(ctx, hash, text)
	}
	return oc
}

// nameVariables puts before what is wrong with a variable which one it is: gqlparser tells that by the path alone, and the
// message is what people read.
func nameVariables(errs gqlerror.List) {
	for _, err := range errs {
		if len(err.Path) > 1 && err.Path[0] == ast.PathName("variable") {
			err.Message = fmt.Sprintf(`Variable "$%s": %s`, err.Path[1:], err.Message)
		}
	}
}

// run executes an operation.
func (h *Handler) run(ctx context.Context, a *answer, oc *graphql.OperationContext) {
	next, ctx := h.exec.DispatchOperation(ctx, oc)
	a.Context = ctx
	a.Response = next(ctx)
	if r := a.Response; r != nil && r.Data == nil && len(r.Errors) == 0 {
		r.Data = json.RawMessage("null")
	}
	// What has no time left is answered nothing at all, or null without a word.
	if r := a.Response; r == nil || ctx.Err() != nil && len(r.Errors) == 0 && string(r.Data) == "null" {
		errs := late(ctx).errors()
		errs[0].Err = ctx.Err()
		a.Response = h.fail(ctx, errs)
	}
}

// fail is the answer of an operation that has none of its own. The response interceptors see it; one that
// swallows it does not make an answer of nothing.
func (h *Handler) fail(ctx context.Context, errs gqlerror.List) *graphql.Response {
	if r := h.exec.DispatchError(ctx, errs); r != nil && len(r.Errors) > 0 {
		return r
	}
	return &graphql.Response{Errors: errs}
}

// guard turns a panic outside of resolvers, whose panics gqlgen sees to, into the operation's answer.
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
