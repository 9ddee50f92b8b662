package transport

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/vektah/gqlparser/v2/gqlerror"

	"fieldcache/cache/answers"
)

// The codes of refusals, in extensions.code.
const (
	codeBadRequest = "BAD_REQUEST"
	codeBadInput   = "BAD_USER_INPUT"
	codeTooLarge   = "PAYLOAD_TOO_LARGE"
	codeNotFound   = "NOT_FOUND"
	codeUntrusted  = "DOCUMENT_NOT_TRUSTED"
	codeTimeout    = "TIMEOUT"
	codeInternal   = "INTERNAL"
	codeNotCached  = "NOT_CACHED"
	codeOverloaded = "OVERLOADED"
	codeGone       = "CLIENT_CLOSED_REQUEST"

	// An answer that failed by it alone is sent as 503.
	codeUnavailable = "UNAVAILABLE"

	// Clients know this one by its message as well as by its code.
	codeUnregistered    = "PERSISTED_QUERY_NOT_FOUND"
	messageUnregistered = "PersistedQueryNotFound"
)

// uncertainExtension is true in the extensions of an error after which nobody knows whether a write was made.
const uncertainExtension = "uncertain"

const (
	statusUnsupported = http.StatusUnsupportedMediaType
	// statusGone is what nginx and others log where the client did not wait for the response.
	statusGone = 499
)

// refusal says why a request, or one of its operations, is not executed. Its message says what to do
// instead, and holds nothing of the request.
type refusal struct {
	status        int // 0: as for an error of GraphQL
	code, message string
	allow         string         // methods, beside 405
	cache         answers.Status // what the cache did; "": nothing is said of it
	retryAfter    string         // seconds; "": nothing is said of it
}

func refuse(status int, code, format string, args ...any) *refusal {
	return &refusal{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

// bad refuses what is no request of GraphQL over HTTP.
func bad(format string, args ...any) *refusal {
	return refuse(http.StatusBadRequest, codeBadRequest, format, args...)
}

func notAllowed(allow, message string) *refusal {
	return &refusal{status: http.StatusMethodNotAllowed, code: codeBadRequest, message: message, allow: allow}
}

// late is why an operation whose context has ended has no result: its client has closed the connection, or its half of it, or
// its time was up.
func late(ctx context.Context) *refusal {
	if errors.Is(ctx.Err(), context.Canceled) {
		return refuse(statusGone, codeGone, "The client closed the connection before the response was ready.")
	}
	return refuse(http.StatusGatewayTimeout, codeTimeout, "The request took longer than the server allows.")
}

func (f *refusal) errors() gqlerror.List {
	return gqlerror.List{{Message: f.message, Extensions: map[string]any{"code": f.code}}}
}
