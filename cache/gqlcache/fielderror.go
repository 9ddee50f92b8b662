package gqlcache

import (
	"errors"
	"maps"
	"slices"

	"github.com/vektah/gqlparser/v2/gqlerror"
)

// errorFor returns an error of a resolver for one of the fields that get it. gqlgen writes the path
// and the location of the field into a [gqlerror.Error], and presenters of errors write extensions.
func errorFor(err error) error {
	switch e := err.(type) { //nolint:errorlint // gqlgen and presenters look at the type as well
	case *gqlerror.Error:
		return copyOf(e)
	case gqlerror.List:
		list := make(gqlerror.List, len(e))
		for i := range e {
			list[i] = copyOf(e[i])
		}
		return list
	}
	if inner, ok := errors.AsType[*gqlerror.Error](err); ok {
		return &fieldError{err, copyOf(inner)}
	}
	return err
}

func copyOf(e *gqlerror.Error) *gqlerror.Error {
	if e == nil {
		return nil
	}
	own := *e
	own.Path, own.Locations, own.Extensions = slices.Clone(e.Path), slices.Clone(e.Locations), maps.Clone(e.Extensions)
	return &own
}

// fieldError is an error that wraps a [gqlerror.Error], of which it has a copy.
type fieldError struct {
	error
	own *gqlerror.Error
}

// Unwrap returns the error itself.
func (e *fieldError) Unwrap() error { return e.error }

// As gives gqlgen the copy.
func (e *fieldError) As(target any) bool {
	t, ok := target.(**gqlerror.Error)
	if ok {
		*t = e.own
	}
	return ok
}
