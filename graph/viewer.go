package graph

import (
	"context"

	"fieldcache/cache/apierror"
	"fieldcache/db"
)

// Viewer is the user who sent a request. The zero Viewer is anonymous: it reads what is public and
// changes nothing.
type Viewer struct {
	ID    int64 // the user's id; 0 when nobody is signed in
	Admin bool
	// Open is set for every request to a server without keys to check tokens with: everyone may run
	// every mutation, and nobody is signed in.
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

// is refuses everyone but the user and admins.
func (v Viewer) is(user int64) error {
	switch {
	case v.Open || v.Admin || v.ID == user:
		return nil
	case v.ID == 0:
		return apierror.Unauthenticated
	}
	return apierror.Forbidden
}

// admin refuses everyone but admins.
func (v Viewer) admin() error { return v.is(nobody) }

// nobody is no user's id.
const nobody = -1

// actor is the user in whose name a mutation is run: the viewer, or the named one, whom only admins may
// name. On an open server the user with the lowest id stands in for the viewer.
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

// changeProduct reads the id of a product that the viewer is about to change.
func changeProduct(ctx context.Context, field, id string) (int64, error) {
	if err := ViewerFrom(ctx).admin(); err != nil {
		return 0, err
	}
	return parseID(field, id)
}
