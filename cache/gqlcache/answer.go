package gqlcache

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// write sends the answers to a request: one, or those of a batch.
func (h *Handler) write(w http.ResponseWriter, r *http.Request, in request, answers []Answer, batch bool) {
	w.Header().Set("Cache-Control", "no-store")
	buffer := h.buffers.Get().(*[]byte)
	defer h.put(buffer)
	body := (*buffer)[:0]
	status := http.StatusOK
	if batch {
		body = append(body, '[')
	} else {
		status = answers[0].status(in.media)
		if f := answers[0].refused; f != nil && f.allow != "" {
			w.Header().Set("Allow", f.allow)
		}
	}
	for i, a := range answers {
		if i > 0 {
			body = append(body, ',')
		}
		body = h.append(body, a)
	}
	if batch {
		body = append(body, ']')
	}
	*buffer = body
	h.o.Headers(w.Header(), answers)
	h.send(w, r.Method, in, status, body)
}

// refuse sends why a request is not executed.
func (h *Handler) refuse(w http.ResponseWriter, in request, f *refusal) {
	w.Header().Set("Cache-Control", "no-store")
	if f.allow != "" {
		w.Header().Set("Allow", f.allow)
	}
	h.send(w, "", in, f.status, h.append(nil, Answer{Response: &graphql.Response{Errors: f.errors()}}))
}

// send writes a body, compressed if it is worth it.
func (h *Handler) send(w http.ResponseWriter, method string, in request, status int, body []byte) {
	body, encoding := h.compressor.Compress(body, in.encoding)
	header := w.Header()
	if encoding != Identity {
		header.Set("Content-Encoding", encoding.String())
	}
	header.Set("Content-Type", in.media.contentType())
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if method != http.MethodHead {
		_, _ = w.Write(body) // to a client who may be gone
	}
}

// append writes an answer behind b: what was executed has data, if only null, what was refused has none.
func (h *Handler) append(b []byte, a Answer) []byte {
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
		// An error or extension that JSON has no form for is a fault of the server's, which the presenter sees.
		presented := graphql.DefaultErrorPresenter(a.Context, h.exec.PresentRecoveredError(a.Context, err))
		if b, err = appendJSON(append(b[:start], `{"errors":`...), gqlerror.List{presented}); err != nil {
			panic(err) // what the presenter shows is nothing that can be written either
		}
		return append(b, '}')
	}
	b[len(b)-1] = '}' // in the place of the last comma
	return b
}

func appendJSON(b []byte, v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return b, fmt.Errorf("gqlcache: write an answer: %w", err)
	}
	return append(b, text...), nil
}

// status is that of a single answer. JSON says 200 whenever there is something for a GraphQL client to read;
// the newer type says so only where there is data, be it null or a part.
func (a Answer) status(m media) int {
	switch {
	case a.refused != nil && a.refused.status != 0:
		return a.refused.status
	case m == jsonMedia || a.Response.Data != nil:
		return http.StatusOK
	}
	switch code, _ := a.Response.Errors[0].Extensions["code"].(string); code {
	case codeInternal:
		return http.StatusInternalServerError
	case codeTimeout:
		return http.StatusGatewayTimeout
	}
	return http.StatusBadRequest
}
