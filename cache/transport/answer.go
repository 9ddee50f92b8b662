package transport

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"fieldcache/cache"
	"fieldcache/cache/answers"
	"fieldcache/cache/apierror"
	"fieldcache/cache/policy"
)

// reply is the responses to the operations of a request, and what they depend on.
type reply struct {
	answers   []answer
	batch     bool
	collector *cache.Collector
}

// write sends the responses to a request: one, or those of a batch. It stores those that may be
// stored.
func (h *Handler) write(w http.ResponseWriter, r *http.Request, in request, wish wish, reply reply) {
	one := &reply.answers[0]
	if !reply.batch {
		h.reportName(r.Context(), one.name)
	}
	if one.cached != nil {
		h.o.Answers.Put(in.question(), one.cached)
		in.leave()
		h.writeCached(w, r, in, one.cached)
		return
	}
	buffer := h.buffers.Get().(*[]byte)
	defer h.put(buffer)
	body := h.appendReply((*buffer)[:0], reply)
	*buffer = body
	status := reply.status(in.media)
	if !reply.batch {
		if status == http.StatusServiceUnavailable && !one.uncertain() {
			w.Header().Set("Retry-After", "1")
		}
		if f := one.refused; f != nil && f.allow != "" {
			w.Header().Set("Allow", f.allow)
		}
	}
	overall, mutates := reply.overall()
	deps := reply.collector.Deps()
	h.saved.Add(uint64(deps.Saved)) //nolint:gosec // a count
	if overall.MaxAge > 0 && len(deps.Unknown) > 0 {
		h.logUnknown(r.Context(), deps, overall.Scope, in.sender)
		overall = policy.Overall{}
	}
	computed := answers.Computed{
		Status: status, ContentType: in.media.contentType(), Body: body,
		MaxAge: overall.MaxAge, Scope: overall.Scope, Deps: deps, TagHeader: h.o.TagHeader,
	}
	if !reply.batch {
		computed.Operation = one.name
	}
	if overall.MaxAge > 0 && overall.Scope == cache.Private {
		computed.Vary = h.varyOwn
	}
	storable := h.o.Answers != nil && overall.MaxAge > 0 && !wish.nothing
	if storable {
		computed.Body = bytes.Clone(body)
	}
	now := time.Now()
	a := answers.NewAnswer(computed, now).In(in.encoding, h.compressor)
	if storable {
		storable = h.o.Answers.Put(in.question(), a)
		if storable && one.meaning != nil {
			h.o.Answers.Put(in.meant(one.meaning), a)
		}
	}
	source := statusOf(deps, storable, mutates || wish.nothing)
	if f := one.refused; f != nil && f.cache != "" {
		source = f.cache
	}
	in.done() // now, and not only when a slow client has read it
	if in.memory.keep(int64(len(in.body) + 2*len(body))) {
		in.leave() // as well; without room for the response, its turn limits how many wait for their clients
	}
	w.Header()["X-Content-Type-Options"] = noSniff
	h.header.WriteComputed(w, r, a, in.encoding, source, now)
}

// noSniff prevents browsers from guessing the type of a response.
var noSniff = []string{"nosniff"}

// writeCached writes a stored response.
func (h *Handler) writeCached(w http.ResponseWriter, r *http.Request, in request, a *answers.Answer) {
	if !a.Has(in.encoding) {
		a = a.In(in.encoding, h.compressor)
		h.o.Answers.Put(in.question(), a)
	}
	h.hits.Add(1)
	h.saved.Add(uint64(a.Statements())) //nolint:gosec // a count
	w.Header()["X-Content-Type-Options"] = noSniff
	h.header.WriteHit(w, r, a, in.encoding, time.Now())
}

// statusOf returns how a response was computed.
func statusOf(deps cache.Deps, stored, bypass bool) answers.Status {
	switch {
	case deps.Stale:
		return answers.StaleAnswer
	case deps.Acknowledged == cache.ByRelay:
		return answers.LateByRelay
	case deps.Acknowledged == cache.ByLease:
		return answers.LateByLease
	case bypass:
		return answers.Bypass
	case deps.Revalidating && deps.Loaded == 0:
		return answers.Revalidating
	case deps.Revalidating:
		return answers.PartRevalidating
	case deps.Cached > 0 && stored:
		return answers.PartStored
	case deps.Cached > 0:
		return answers.Partial
	case stored:
		return answers.MissStored
	}
	return answers.Miss
}

// overall returns how the whole reply may be cached: for the lowest of the ages, privately if a part is private, and
// not at all if a part may not be cached. mutates says that a part is the response to a mutation.
func (r reply) overall() (o policy.Overall, mutates bool) {
	for i := range r.answers {
		a := &r.answers[i]
		one := policy.Overall{}
		if a.refused == nil && len(a.Response.Errors) == 0 && len(a.Response.Extensions) == 0 {
			one = policy.OverallOf(a.Context)
		}
		if a.Context != nil && graphql.HasOperationContext(a.Context) {
			if oc := graphql.GetOperationContext(a.Context); oc.Operation != nil && oc.Operation.Operation != ast.Query {
				mutates = true
			}
		}
		if i == 0 {
			o = one
		} else {
			o = o.And(one)
		}
	}
	return o, mutates
}

// refuse sends the reason why a request is not executed.
func (h *Handler) refuse(w http.ResponseWriter, in request, f *refusal) {
	if f.allow != "" {
		w.Header().Set("Allow", f.allow)
	}
	body := h.append(nil, answer{Response: &graphql.Response{Errors: f.errors()}})
	header := w.Header()
	if f.cache != "" {
		header.Set("Cache-Status", string(f.cache))
	}
	if f.retryAfter != "" {
		header.Set("Retry-After", f.retryAfter)
	}
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Type", in.media.contentType())
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header["X-Content-Type-Options"] = noSniff
	w.WriteHeader(f.status)
	_, _ = w.Write(body) // the client may have disconnected
}

// appendReply appends the responses to b: those of a batch as a list.
func (h *Handler) appendReply(b []byte, r reply) []byte {
	if !r.batch {
		return h.append(b, r.answers[0])
	}
	for i, a := range r.answers {
		if i == 0 {
			b = append(b, '[')
		} else {
			b = append(b, ',')
		}
		b = h.append(b, a)
	}
	return append(b, ']')
}

// append appends a response to b: an executed operation has data, if only null; a refused one has none.
func (h *Handler) append(b []byte, a answer) []byte {
	r := a.Response
	start := len(b)
	b = append(b, '{')
	var err error
	if len(r.Errors) > 0 {
		b, err = appendJSON(append(b, `"errors":`...), r.Errors)
		b = append(b, ',')
	}
	if r.Data != nil {
		b = append(append(b, `"data":`...), r.Data...)
		b = append(b, ',')
	}
	if len(r.Extensions) > 0 && err == nil {
		b, err = appendJSON(append(b, `"extensions":`...), r.Extensions)
		b = append(b, ',')
	}
	if err != nil {
		// An error or extension that cannot be encoded as JSON is a fault of the server, which is reported to the
		// presenter.
		presented := graphql.DefaultErrorPresenter(a.Context, h.exec.PresentRecoveredError(a.Context, err))
		if b, err = appendJSON(append(b[:start], `{"errors":`...), gqlerror.List{presented}); err != nil {
			panic(err) // what the presenter returns cannot be encoded either
		}
		return append(b, '}')
	}
	b[len(b)-1] = '}' // replaces the last comma
	return b
}

func appendJSON(b []byte, v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return b, fmt.Errorf("transport: write an answer: %w", err)
	}
	return append(b, text...), nil
}

// status returns the status of the whole reply. For a batch it is 200, unless all of it failed in the same way, or its
// client has disconnected.
func (r reply) status(m media) int {
	status := r.answers[0].status(m)
	if !r.batch {
		return status
	}
	for _, a := range r.answers {
		if a.has(apierror.ClientClosed.Code) {
			return apierror.ClientClosed.Status
		}
	}
	for _, a := range r.answers {
		if status < http.StatusInternalServerError || a.status(m) != status {
			return http.StatusOK
		}
	}
	return status
}

// status returns the status of a single response. With application/json it is 200 whenever there is something for a
// GraphQL client to read; with the newer media type, only if there is data, even if null or partial. With both, a
// response without data because the database is down is 503, which proxies and clients can handle, and one without data
// because the request timed out is 504.
func (a answer) status(m media) int {
	switch {
	case a.refused != nil && a.refused.status != 0:
		return a.refused.status
	case a.has(apierror.ClientClosed.Code):
		return apierror.ClientClosed.Status
	case a.failedBy(apierror.Unavailable.Code):
		return http.StatusServiceUnavailable
	case a.has(apierror.Timeout.Code) && empty(a.Response.Data):
		return http.StatusGatewayTimeout
	case m == jsonMedia || a.Response.Data != nil:
		return http.StatusOK
	}
	if code, _ := a.Response.Errors[0].Extensions["code"].(string); code == apierror.Internal.Code {
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

// failedBy reports whether all errors of a response have the code and no root field has a value.
func (a answer) failedBy(code string) bool {
	return len(a.Response.Errors) > 0 && empty(a.Response.Data) &&
		!slices.ContainsFunc(a.Response.Errors, func(err *gqlerror.Error) bool { return err.Extensions["code"] != code })
}

// has reports whether an error has the code.
func (a answer) has(code string) bool {
	return slices.ContainsFunc(a.Response.Errors, func(err *gqlerror.Error) bool { return err.Extensions["code"] == code })
}

// empty reports whether all root fields are null, or all data is.
func empty(data json.RawMessage) bool {
	var fields map[string]json.RawMessage
	if len(data) > 0 && json.Unmarshal(data, &fields) != nil {
		return false
	}
	for _, value := range fields {
		if string(value) != "null" {
			return false
		}
	}
	return true
}

// uncertain reports whether an error says that a write may have been made after all: a client must not repeat it
// without checking.
func (a answer) uncertain() bool {
	for _, e := range a.Response.Errors {
		if e.Extensions[uncertainExtension] == true {
			return true
		}
	}
	return false
}
