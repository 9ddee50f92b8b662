package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache/answers"
	"fieldcache/cache/apierror"
	"fieldcache/cache/internal/operation"
)

// wish is what a client's Cache-Control requests of this cache (RFC 9111, section 5.2.1). The zero
// value accepts every stored response.
type wish struct {
	reload  bool // compute the response, and store it
	nothing bool // do not store the response
	bare    bool // store no part of it either
	only    bool // compute nothing
	maxAge  int  // seconds; -1: any
	left    int  // seconds that it must have left
}

// wishOf reads the headers.
func (h *Handler) wishOf(header http.Header) wish {
	w := wish{maxAge: -1}
	list := header["Cache-Control"]
	if len(list) == 0 {
		list = header["Pragma"] // older, for the same
	}
	for _, value := range list {
		for part := range split(value, ',') {
			name, argument, _ := strings.Cut(strings.TrimSpace(part), "=")
			seconds, err := strconv.Atoi(strings.Trim(argument, `"`))
			switch name = strings.ToLower(name); {
			case name == "no-cache":
				w.reload = true
			case name == "no-store":
				w.reload, w.nothing, w.bare = true, true, true
			case name == "only-if-cached":
				w.only = true
			case name == "max-age" && err == nil && seconds >= 0:
				w.maxAge = seconds
			case name == "min-fresh" && err == nil && seconds >= 0:
				w.left = seconds
			}
		}
	}
	if h.o.Computed(header) {
		w.nothing, w.only = true, false
	}
	return w
}

// fresh reports whether the operation must be read from its sources if no stored response was
// accepted. Parts may be as old as a response, so a client that limits the age would get the same
// result again.
func (w wish) fresh() bool { return w.reload || w.maxAge >= 0 || w.left > 0 }

// noStoreKey marks the context of an operation that stores nothing, and uses no stored part of
// other responses.
type noStoreKey struct{}

// takes reports whether the client accepts a stored response.
func (w wish) takes(a *answers.Answer, now time.Time) bool {
	return !w.reload && !w.nothing && (w.maxAge < 0 || a.Age(now) <= w.maxAge) && a.TTL(now) >= w.left
}

// question returns the question of the request as it was sent.
func (in *request) question() answers.Question {
	q := answers.Question{Kind: answers.Body, Media: uint8(in.media), Text: in.body}
	if in.read {
		q.Kind = answers.URL
	}
	return in.sender.question(q)
}

// meant returns the question of a meaning.
func (in *request) meant(meaning []byte) answers.Question {
	return in.sender.question(answers.Question{Kind: answers.Meaning, Media: uint8(in.media), Text: meaning})
}

// lookUp looks a response up; it is nil if there is none, or none that the client accepts. If the
// client accepts no stored response at all, the store is not used.
func (h *Handler) lookUp(q answers.Question, w wish) (a *answers.Answer, l answers.Lookup) {
	if h.o.Answers == nil || w.reload || w.nothing {
		return nil, l
	}
	now := time.Now()
	l = h.o.Answers.Look(q, now)
	if l.Answer != nil && w.takes(l.Answer, now) {
		return l.Answer, l
	}
	return nil, l
}

// otherPatience is how long a request waits for another one that computes the same response: longer
// than most computations take.
const otherPatience = 50 * time.Millisecond

// find looks a response up, and waits for a request that computes the same one already. Without a
// response the caller computes it, and calls done when it is stored, or will not be stored.
func (h *Handler) find(ctx context.Context, q answers.Question, w wish) (a *answers.Answer, done func()) {
	noWaiters := func() {}
	a, last := h.lookUp(q, w)
	if a != nil || h.o.Answers == nil || w.fresh() || w.nothing || w.only {
		return a, noWaiters
	}
	var patience <-chan time.Time
	for {
		done, other := h.o.Answers.Begin(last)
		if done != nil {
			return nil, done
		}
		if other == nil {
			return nil, noWaiters
		}
		if patience == nil {
			patience = time.After(otherPatience)
		}
		select {
		case <-other:
		case <-patience:
			return nil, noWaiters
		case <-ctx.Done():
			return nil, noWaiters
		}
		if a, last = h.lookUp(q, w); a != nil {
			return a, noWaiters
		}
		// It was evicted meanwhile: the next request computes it again.
	}
}

// recall looks for the response to a request with the same meaning: one that differs in white
// space, in the order of its parameters, in extensions, in the way its document is named, or in its
// method. With only-if-cached and no such response, the operation is refused. It is not for the
// operations of a batch, whose responses have another form.
func (h *Handler) recall(a *answer, oc *graphql.OperationContext, in request, w wish) {
	if h.o.Answers != nil && oc.Operation.Operation == ast.Query {
		if meaning := h.meanings.of(oc); meaning != nil {
			a.meaning = meaning
			if a.cached, _ = h.lookUp(in.meant(meaning), w); a.cached != nil {
				a.cached = a.cached.As(a.name)
			}
		}
	}
	if a.cached == nil && w.only {
		a.refuse(notCached())
	}
}

// notCached refuses a request with only-if-cached.
func notCached() *refusal {
	f := refuse(apierror.NotCached)
	f.cache = answers.NotForwarded
	return f
}

// meanings computes the canonical forms of operations.
type meanings struct {
	operation.Memo[ast.OperationDefinition, string]
}

// of returns the meaning of an operation: itself as the parser understood it, with the fragments
// that it spreads, and the variables' values, defaults included, in the order of their names. It is
// nil if the variables have no canonical form.
func (m *meanings) of(oc *graphql.OperationContext) []byte {
	form := m.Get(oc.Operation, func() string { return operation.Form(oc.Doc, oc.Operation) })
	variables, err := json.Marshal(oc.Variables) // this sorts names
	if err != nil {
		return nil
	}
	meaning := make([]byte, 0, len(form)+len(variables)+1)
	meaning = append(append(meaning, form...), 0) // a document has no zero byte outside of strings, where it is escaped
	return append(meaning, variables...)
}

// ServeCached serves a simple request from the store. It reports whether it did, and the name of the operation if its
// document is trusted. It costs about as much as writing the bytes, and may be called in front of all other middleware;
// a request that it does not serve goes on to [Handler.ServeHTTP] unchanged. It does not serve a request that may have
// a viewer: one that has an identity header or a client certificate, or whose context has a viewer.
func (h *Handler) ServeCached(w http.ResponseWriter, r *http.Request) (operation string, served bool) {
	if h.o.Answers == nil || !h.plain(r) || h.o.Viewer != nil && h.o.Viewer(r.Context()) != "" {
		return "", false
	}
	in := request{sender: sender{server: h.server, anonymous: h.o.Viewer != nil}, media: negotiateMedia(r.Header["Accept"]), encoding: negotiateEncoding(r.Header["Accept-Encoding"])}
	if in.media == noMedia {
		return "", false
	}
	buffer := h.bodies.Get().(*[]byte)
	defer h.putBody(buffer)
	if r.Method == http.MethodPost {
		memory := requestMemory{all: &h.memory}
		defer memory.release()
		var whole bool
		if in.body, whole = readPlain(r, buffer, &memory); !whole {
			r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(bytes.Clone(in.body)), r.Body))
			return "", false
		}
	} else {
		in.read = true
		in.body = append((*buffer)[:0], r.URL.RawQuery...)
		*buffer = in.body
	}
	a, _ := h.lookUp(in.question(), wish{maxAge: -1})
	if a == nil {
		if !in.read {
			r.Body = io.NopCloser(bytes.NewReader(bytes.Clone(in.body)))
		}
		return "", false
	}
	w.Header()["Vary"] = h.cachedVary
	h.writeCached(w, r, in, a)
	return a.Operation(), true
}

// readPlain reads a body whose length is known into the buffer, and reports whether it read all of
// it. What a client has not sent takes no memory.
func readPlain(r *http.Request, buffer *[]byte, memory *requestMemory) (body []byte, whole bool) {
	body, n := (*buffer)[:0], int(r.ContentLength)
	var err error
	for err == nil && len(body) < n {
		if len(body) == cap(body) {
			var ok bool
			if body, ok = grow(body, n, memory); !ok {
				break
			}
		}
		var read int
		read, err = r.Body.Read(body[len(body):min(cap(body), n)])
		body = body[:len(body)+read]
	}
	*buffer = body
	return body, len(body) == n
}

// varies are the headers that every response varies by.
const varies = "Accept, Accept-Encoding"

// plainBytes limits the body of a request that is looked up before it is decoded.
const plainBytes = 64 << 10

// plain reports whether nothing in the headers of a request requests more than a response, or may
// identify its sender.
func (h *Handler) plain(r *http.Request) bool {
	switch r.Method {
	case http.MethodPost:
		if t := r.Header["Content-Type"]; r.ContentLength <= 0 || r.ContentLength > plainBytes || len(t) != 1 ||
			t[0] != "application/json" && t[0] != "application/json; charset=utf-8" {
			return false
		}
	case http.MethodGet:
	default:
		return false
	}
	for name := range r.Header {
		switch name {
		case "Authorization", "Cache-Control", "Pragma", "Cache-Debug", "Content-Encoding", "Origin", "Expect", "If-None-Match":
			return false
		case "Cookie": // by far the most frequent
			if h.cookies {
				return false
			}
		default:
			if len(h.rare) > 0 && slices.Contains(h.rare, name) {
				return false
			}
		}
	}
	return !certified(r)
}

// reportName reports the name of an operation whose document is trusted.
func (h *Handler) reportName(ctx context.Context, name string) {
	if name != "" && h.o.Named != nil {
		h.o.Named(ctx, name)
	}
}

// StatementsSaved returns the least number of statements that the cache has saved: for each response, the coordinates
// whose values all came from memory, from Redis, or as part of the cached response. Each would have taken a statement
// or more.
func (h *Handler) StatementsSaved() uint64 { return h.saved.Load() }

// Hits returns how many requests were served from the store.
func (h *Handler) Hits() uint64 { return h.hits.Load() }
