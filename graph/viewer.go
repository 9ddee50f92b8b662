package graph

import (
	"context"

	"fieldcache/cache/apierror"
	"fieldcache/db"
)

// Viewer is the user who sent a request. The zero Viewer is anonymous: it reads what is public and
// changes nothing.
type Viewer struct {
	ID    int64 // the user's id; 0 if not signed in
	Admin bool
	// Open is set for every request to a server that does not verify tokens: anyone may run every
	// mutation, and nobody is signed in.
	Open bool
}

type viewerKey struct{}

// WithViewer returns a context with the viewer v.
func WithViewer(ctx context.Context, v Viewer) context.Context {
	return context.WithValue(ctx, viewerKey{}, v)
}

// ViewerFrom returns the viewer of ctx, or the anonymous viewer if it has none.
func ViewerFrom(ctx context.Context) Viewer {
	v, _ := ctx.Value(viewerKey{}).(Viewer)
	return v
}

// sees reports whether the viewer may read the private fields of a user.
func (v Viewer) sees(user int64) bool { return v.ID == user || v.Admin }

// is returns an error unless the viewer is the user or an admin.
func (v Viewer) is(user int64) error {
	switch {
	case v.Open || v.Admin || v.ID == user:
		return nil
	case v.ID == 0:
		return apierror.Unauthenticated
	}
	return apierror.Forbidden
}

// admin returns an error unless the viewer is an admin.
func (v Viewer) admin() error { return v.is(noUser) }

// noUser is an id that no user has.
const noUser = -1

// actor returns the id of the user for whom a mutation runs: the viewer, or the user in named, which only
// an admin may set to another user. On an open server the default is the user with the lowest id.
func (r *Resolver) actor(ctx context.Context, field string, named *string) (int64, error) {
	v := ViewerFrom(ctx)
	if named != nil {
		id, err := parseID(field, *named)
		if err != nil {
			return 0, err
		}
		return id, v.is(id)
	}
	if v.ID != 0 {
		return v.ID, nil
	}
	if !v.Open {
		return 0, apierror.Unauthenticated
	}
	id, err := r.DB.FirstUser(ctx)
	if err == nil && id == 0 {
		err = db.NotFound(field, "There are no users yet: create one first.")
	}
	return id, err
}

// changeProduct returns the id of a product that the viewer wants to change. It returns an error if the
// viewer is not an admin.
func changeProduct(ctx context.Context, field, id string) (int64, error) {
	if err := ViewerFrom(ctx).admin(); err != nil {
		return 0, err
	}
	return parseID(field, id)
}
