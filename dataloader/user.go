package dataloader

import (
	"context"

	"fieldcache/cache"
	"fieldcache/db"
)

type users struct {
	byID  *cache.Kind[int64, *db.User]
	pages *cache.Kind[db.Window, *db.Page]
	count *cache.Kind[struct{}, int]
}

const allUsers cache.Tag = "{users}"

func userKey(id int64) cache.Key { return entity("user", id) }

func newUsers(s *cache.Kinds, d *db.DB) users {
	types := []string{"User"}
	return users{
		byID: cache.NewKind(s, cache.KindOptions[int64, *db.User]{
			Of: "User", Types: types, Load: d.UsersByID,
			Name: func(id int64) (cache.Key, cache.Tag) { return userKey(id), "" },
		}),
		pages: cache.NewKind(s, cache.KindOptions[db.Window, *db.Page]{
			Of: "Query.users", Types: types, Load: cache.OneByOne(d.UserPage),
			Name:  func(w db.Window) (cache.Key, cache.Tag) { return window(allUsers, w), allUsers },
			Match: func(cache.Columns) (db.Window, bool) { return db.Window{}, true },
		}),
		count: cache.NewCount(s, cache.CountOptions[struct{}]{
			Of: "UserConnection.totalCount", Rows: "Query.users", Types: types,
			List: func(struct{}) cache.Tag { return allUsers },
			Load: cache.OneByOne(func(ctx context.Context, _ struct{}) (int, cache.Snapshot, error) { return d.CountUsers(ctx) }),
		}),
	}
}

// User returns a user, or nil if there is none.
func (l *Loaders) User(ctx context.Context, id int64) (*db.User, error) {
	return l.users.byID.Get(ctx, l.batch, id)
}

// Users returns the users that exist, in the order of ids.
func (l *Loaders) Users(ctx context.Context, ids []int64) ([]*db.User, error) {
	return l.users.byID.Many(ctx, l.batch, ids)
}

// UserPage returns a window of all users.
func (l *Loaders) UserPage(ctx context.Context, w db.Window) (*db.Page, error) {
	return l.users.pages.Get(ctx, l.batch, w)
}

// UserCount returns the number of users.
func (l *Loaders) UserCount(ctx context.Context) (int, error) {
	return l.users.count.Get(ctx, l.batch, struct{}{})
}
