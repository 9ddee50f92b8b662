package transport

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache/transport/internal/document"
)

// values is an extension that prevents values in responses that their type cannot represent ("Result Coercion" in
// section 3 of the GraphQL specification): an Int beyond 32 bits, a Float that is not a number, a string that is not
// valid Unicode, a time that RFC 3339 cannot represent. Such a field becomes an error with its path, and the rest of
// the response stays; gqlgen would write the value unchanged, or null where null is not allowed.
//
// A custom type with values that a response cannot represent has a method Unwritable() error.
type values struct{ schema *ast.Schema }

var _ interface {
	graphql.HandlerExtension
	graphql.OperationInterceptor
} = (*values)(nil)

// ExtensionName implements gqlgen's extension.
func (*values) ExtensionName() string { return "Values" }

// Validate implements gqlgen's extension. It stores the schema.
func (v *values) Validate(es graphql.ExecutableSchema) error {
	v.schema = es.Schema()
	return nil
}

// InterceptOperation checks each field's value.
func (*values) InterceptOperation(ctx context.Context, next graphql.OperationHandler) graphql.ResponseHandler {
	oc := graphql.GetOperationContext(ctx)
	alone := oc.ResolverMiddleware
	oc.ResolverMiddleware = func(ctx context.Context, next graphql.Resolver) (any, error) {
		value, err := alone(ctx, next)
		if err == nil {
			if err = unwritable(ctx, value); err != nil {
				return nil, err
			}
		}
		return value, err
	}
	return next(ctx)
}

// unwritable returns why a value cannot be written.
func unwritable(ctx context.Context, value any) error {
	switch v := value.(type) {
	case string:
		return checkString(v)
	case *string:
		if v != nil {
			return checkString(*v)
		}
	case int:
		return checkInt(ctx, int64(v))
	case *int:
		if v != nil {
			return checkInt(ctx, int64(*v))
		}
	case int64:
		return checkInt(ctx, v)
	case *int64:
		if v != nil {
			return checkInt(ctx, *v)
		}
	case float64:
		return checkFloat(v)
	case *float64:
		if v != nil {
			return checkFloat(*v)
		}
	case time.Time:
		return checkTime(v)
	case *time.Time:
		if v != nil {
			return checkTime(*v)
		}
	case interface{ Unwritable() error }:
		return v.Unwritable()
	case []string:
		return checkEach(ctx, v)
	case []int:
		return checkEach(ctx, v)
	case []int64:
		return checkEach(ctx, v)
	case []float64:
		return checkEach(ctx, v)
	case []time.Time:
		return checkEach(ctx, v)
	}
	return nil
}

func checkEach[T any](ctx context.Context, list []T) error {
	for i, v := range list {
		if err := unwritable(ctx, v); err != nil {
			return fmt.Errorf("item %d: %w", i, err)
		}
	}
	return nil
}

// valueError is the error of a value that cannot be written.
type valueError struct{ message string }

func (e *valueError) Error() string { return e.message }

// ClientMessage returns what an error presenter may show: the message reveals no more than the
// value itself.
func (e *valueError) ClientMessage() string { return e.message }

func checkString(s string) error {
	if utf8.ValidString(s) {
		return nil
	}
	return &valueError{"String cannot represent bytes that are not UTF-8."}
}

// checkInt accepts any value of a type that is not Int: a custom scalar may be any number.
func checkInt(ctx context.Context, n int64) error {
	if n == int64(int32(n)) || graphql.GetFieldContext(ctx).Field.Definition.Type.Name() != "Int" { //nolint:gosec // compared
		return nil
	}
	return &valueError{document.BeyondInt + strconv.FormatInt(n, 10)}
}

func checkFloat(f float64) error {
	if !math.IsNaN(f) && !math.IsInf(f, 0) {
		return nil
	}
	return &valueError{fmt.Sprintf("Float cannot represent non numeric value: %v", f)}
}

func checkTime(t time.Time) error {
	if y := t.Year(); y >= 0 && y <= 9999 {
		return nil
	}
	return &valueError{fmt.Sprintf("A time cannot be written in the year %d.", t.Year())}
}
