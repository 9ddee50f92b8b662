package gqlcache

import (
	"context"
	"fmt"

	"github.com/99designs/gqlgen/graphql"

	"fieldcache/cache"
)

// Place is the field in whose resolver something was read that no source knows, as
// [cache.Made.Unknown] has it.
type Place struct{ *graphql.FieldContext }

// String is the field's coordinate.
func (p Place) String() string { return p.Object + "." + p.Field.Name }

// placeOf is the place of a field's context; nil outside of fields.
func placeOf(ctx context.Context) fmt.Stringer {
	if fc := graphql.GetFieldContext(ctx); fc != nil && fc.Field.Field != nil {
		return Place{fc}
	}
	return nil
}

// tellUnknown logs, once for each coordinate, why a response is not stored that might have been.
func (h *Handler) tellUnknown(ctx context.Context, made cache.Made) {
	for _, place := range made.Unknown {
		coordinate := place.String()
		if _, told := h.told.LoadOrStore(coordinate, nil); told {
			continue
		}
		if coordinate == "" {
			h.o.Log.WarnContext(ctx, "a statement ran without the context of a request: responses computed meanwhile are not cached. "+
				"Pass the context of the resolver, or one made by cache.Unwatched if no response is made of what is read")
			continue
		}
		h.o.Log.WarnContext(ctx, "responses with this field are not cached: its resolver ran a statement outside of a source", "coordinate", coordinate)
	}
}
