package graph

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"runtime/debug"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"golang.org/x/time/rate"

	"fieldcache/cache"
	"fieldcache/cache/apierror"
	"fieldcache/db"
)

// gone is the error for a row that disappeared during the operation.
func gone(err error, kind string, id int64) error {
	if err == nil {
		err = db.NotFound("", "The %s %d is gone.", kind, id)
	}
	return err
}

// present returns the error presenter of gqlgen: errors get a code and their path, and reveal
// nothing internal. An unknown error is logged under an id that the client gets.
func present(log *slog.Logger) graphql.ErrorPresenterFunc {
	logLimit := rate.NewLimiter(1, 1) // while the database is down, every request fails in the same way
	return func(ctx context.Context, err error) *gqlerror.Error {
		shown := graphql.DefaultErrorPresenter(ctx, err)
		var (
			refusal *db.Error
			own     apierror.Error
		)
		switch {
		case errors.Is(ctx.Err(), context.Canceled) && !errors.As(err, &own) && (!errors.As(err, &refusal) || failed(refusal)):
			show(shown, apierror.ClientClosed)
		case errors.As(err, &refusal):
			if (failed(refusal) || refusal.Uncertain) && logLimit.Allow() {
				log.WarnContext(ctx, "a database operation failed", "path", shown.Path.String(), "error", err)
			}
			shown.Message = refusal.Message
			code(shown, kindCode(refusal.Kind))
			if refusal.Field != "" {
				shown.Extensions["field"] = refusal.Field
			}
			if refusal.Uncertain {
				shown.Extensions["uncertain"] = true
			}
		case errors.As(err, &own):
			show(shown, own)
		case errors.Is(err, cache.ErrSlowSource):
			show(shown, apierror.SlowSource)
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), ctx.Err() != nil:
			show(shown, apierror.Timeout)
		case shown.Extensions["code"] != nil:
			// gqlgen's own, about the document or its variables.
		default:
			id := rand.Text()
			log.ErrorContext(ctx, "a field failed", "id", id, "path", shown.Path.String(), "error", err, "stack", stackOf(err))
			show(shown, apierror.Internal)
			if value := (interface{ ClientMessage() string })(nil); errors.As(err, &value) {
				shown.Message = value.ClientMessage()
			}
			shown.Extensions["id"] = id
		}
		return shown
	}
}

// failed reports whether a database operation certainly had no effect because the database failed.
func failed(e *db.Error) bool {
	return (e.Kind == db.ErrUnavailable || e.Kind == db.ErrTimeout) && !e.Uncertain
}

func code(e *gqlerror.Error, c string) {
	e.Extensions = map[string]any{"code": c}
}

// show sets the message and the code of an error to those of a row of the table.
func show(e *gqlerror.Error, row apierror.Error) {
	e.Message = row.Message
	code(e, row.Code)
}

func kindCode(kind error) string {
	switch kind {
	case db.ErrNotFound:
		return apierror.NotFound.Code
	case db.ErrConflict:
		return apierror.Conflict.Code
	case db.ErrUnavailable:
		return apierror.Unavailable.Code
	case db.ErrTimeout:
		return apierror.Timeout.Code
	}
	return apierror.BadInput.Code
}

// recovered turns a resolver's panic into an error that [present] hides.
func recovered(_ context.Context, p any) error {
	return &cache.PanicError{Value: p, Stack: debug.Stack()}
}

// stackOf returns the stack of a panic, or "" for another error.
func stackOf(err error) string {
	var p *cache.PanicError
	if errors.As(err, &p) {
		return string(p.Stack)
	}
	return ""
}
