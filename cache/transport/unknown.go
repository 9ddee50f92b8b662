package transport

import (
	"context"

	"fieldcache/cache"
)

// logUnknown logs, once for each coordinate, why a response was not stored. It logs nothing for a private response
// whose viewer is unknown, which would not have been stored anyway.
func (h *Handler) logUnknown(ctx context.Context, deps cache.Deps, scope cache.Scope, a sender) {
	if scope == cache.Private && a.viewer == "" {
		return
	}
	for _, place := range deps.Unknown {
		coordinate := place.String()
		if _, logged := h.logged.LoadOrStore(coordinate, nil); logged {
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
