package transport

import (
	"context"
	"errors"

	"github.com/vektah/gqlparser/v2/gqlerror"

	"fieldcache/cache/answers"
	"fieldcache/cache/apierror"
)

// uncertainExtension is true in the extensions of an error after which it is unknown whether a
// write was made.
const uncertainExtension = "uncertain"

// refusal says why a request, or one of its operations, is not executed. Its message says what to
// do instead, and contains nothing of the request.
type refusal struct {
	status        int // 0: as for an error of GraphQL
	code, message string
	allow         string         // methods, for status 405
	cache         answers.Status // the Cache-Status; "": no header
	retryAfter    string         // seconds; "": no header
}

// refuse returns the refusal of an error of the table.
func refuse(e apierror.Error, args ...any) *refusal {
	e = e.With(args...)
	return &refusal{status: e.Status, code: e.Code, message: e.Message}
}

func notAllowed(allow string, e apierror.Error) *refusal {
	f := refuse(e)
	f.allow = allow
	return f
}

// late returns the error of an operation whose context has ended: its client has closed the
// connection, or its half of it, or the request timed out.
func late(ctx context.Context) *refusal {
	if errors.Is(ctx.Err(), context.Canceled) {
		return refuse(apierror.ClientClosed)
	}
	return refuse(apierror.Timeout)
}

func (f *refusal) errors() gqlerror.List {
	return gqlerror.List{{Message: f.message, Extensions: map[string]any{"code": f.code}}}
}
