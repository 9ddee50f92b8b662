package operation

import (
	"context"
	"sync/atomic"

	"github.com/99designs/gqlgen/graphql"
)

// Looking is the context of a resolver. It records whether the resolver reads its field's context, by
// [graphql.CollectFieldsCtx] for instance: then the value may depend on the selection of the field.
type Looking struct {
	context.Context
	looked atomic.Bool
}

// Looked reports whether the field's context was read.
func (l *Looking) Looked() bool { return l.looked.Load() }

// Value implements [context.Context].
func (l *Looking) Value(key any) any {
	switch key {
	case fieldKey:
		l.looked.Store(true)
	case quietKey{}:
		return l.Context
	}
	return l.Context.Value(key)
}

type quietKey struct{}

// Quiet returns a context with the values of ctx in which reading the field's context is not recorded. It is for reads
// that do not affect the value.
func Quiet(ctx context.Context) context.Context {
	for {
		inner, ok := ctx.Value(quietKey{}).(context.Context)
		if !ok {
			return ctx
		}
		ctx = inner
	}
}

// fieldKey is the context key of a field's context, which gqlgen does not export.
var fieldKey = func() any {
	k := &keyOf{Context: context.Background()}
	graphql.GetFieldContext(k)
	return k.key
}()

// keyOf is a context that records the key it was called with.
type keyOf struct {
	context.Context
	key any
}

func (k *keyOf) Value(key any) any {
	k.key = key
	return nil
}
