// Package dataloader defines how each noun of the shop is read in batches and under which keys it
// is cached: one file for each. For how long, and what evicts it, follows from the schema.
//
// [NewKinds] and [New] are called once. A [Factory] makes new [Loaders] for each response of an
// operation, so that each thing is loaded once for a response.
package dataloader

import (
	"context"
	"strconv"
	"time"

	"fieldcache/cache"
	"fieldcache/cache/outbox"
	"fieldcache/db"
)

// Kinds are the kinds of things that are cached.
type Kinds struct {
	users     users
	products  products
	reviews   reviews
	orders    orders
	countries countries
	search    search
	db        *db.DB
	stored    []cache.Stored
}

// NewKinds returns the kinds of things in d. For how long each is cached comes from policy alone,
// which knows the coordinates of the schema. NewKinds returns one error for all coordinates that
// policy does not know.
func NewKinds(d *db.DB, policy func(coordinate string) (cache.Policy, error)) (*Kinds, error) {
	all := cache.NewKinds(policy)
	k := &Kinds{
		users: newUsers(all, d), products: newProducts(all, d), reviews: newReviews(all, d),
		orders: newOrders(all, d), countries: newCountries(all, d), search: newSearch(all, d), db: d,
	}
	var err error
	k.stored, err = all.All()
	return k, err
}

// Stored returns the kinds, for the plan of what evicts them.
func (k *Kinds) Stored() []cache.Stored { return k.stored }

// Factory makes the loaders of operations.
type Factory struct {
	*Kinds
	// Patience is that of the batches. [New] sets the default; it may be changed before the first
	// operation.
	Patience time.Duration

	cache  *cache.Cache
	untrue func(...outbox.Change) cache.Eviction
}

// New returns a factory of loaders that read through c. untrue returns what changes of rows evict.
// From then on the watch of the cache notices statements to the database of the kinds that do not
// come from loaders.
func New(c *cache.Cache, k *Kinds, untrue func(...outbox.Change) cache.Eviction) *Factory {
	k.db.Watch().Forward(c.Watch())
	for _, kind := range k.stored {
		kind.CountIn(c)
	}
	return &Factory{Kinds: k, Patience: cache.DefaultPatience, cache: c, untrue: untrue}
}

// Loaders read for one response. They are safe for concurrent use. The values that they return are
// shared with other operations and must not be changed.
type Loaders struct {
	*Factory
	batch *cache.Batch
}

type loadersKey struct{}

// Attach returns a context with loaders of its own. They call observe, which may be nil, with each
// result, concurrently.
func (f *Factory) Attach(ctx context.Context, observe cache.Observer) context.Context {
	batch := f.cache.NewBatch()
	batch.Patience, batch.Observe = f.Patience, observe
	batch.NoCache, batch.NoStore = cache.IsNoCache(ctx), cache.IsNoStore(ctx)
	return context.WithValue(ctx, loadersKey{}, &Loaders{Factory: f, batch: batch})
}

// For returns the loaders of ctx, which [Factory.Attach] added. It panics if there are none.
func For(ctx context.Context) *Loaders {
	return ctx.Value(loadersKey{}).(*Loaders)
}

// Batch returns the batch through which the loaders ask the cache.
func (l *Loaders) Batch() *cache.Batch { return l.batch }

// Expect reports that n more fields of the operation, or -n fewer, may ask for something; see
// [fieldcache/cache/gqlcache.FieldCount]. The call that ends the last of them loads what the others
// wait for.
func (l *Loaders) Expect(ctx context.Context, n int) { l.batch.Expect(ctx, n) }

// Forget makes these loaders load again what they loaded.
func (l *Loaders) Forget() { l.batch.Forget() }

// Evict evicts what a write changed from the cache and from these loaders, and returns the
// eviction. Call it after a commit and before the mutation returns. An error needs no more than a
// log line.
func (l *Loaders) Evict(ctx context.Context, c db.Commit) (cache.Eviction, error) {
	w := cache.Write{Xid: c.Xid, Epoch: c.Epoch, Eviction: l.untrue(c.Changes...)}
	_, err := l.cache.Evict(ctx, w)
	l.batch.Forget()
	return w.Eviction, err
}

// entity is the key of the row of a noun with this id.
func entity(noun string, id int64) cache.Key { return cache.Entity(noun, strconv.FormatInt(id, 10)) }

// window is the key of a window of a list.
func window(of cache.Tag, w db.Window) cache.Key {
	if w.After == 0 {
		return of.List("first", strconv.Itoa(w.First))
	}
	return of.List("first", strconv.Itoa(w.First), "after", strconv.FormatInt(w.After, 10))
}

// owned is the kind of windows of lists that belong to the owner whose id is in a column.
func owned(s *cache.Kinds, of, column string, types []string, list func(owner int64) cache.Tag, load func(context.Context, []db.OwnedWindow) (map[db.OwnedWindow]*db.Page, cache.Snapshot, error)) *cache.Kind[db.OwnedWindow, *db.Page] {
	return cache.NewKind(s, cache.KindOptions[db.OwnedWindow, *db.Page]{
		Of: of, Types: types, Load: load,
		Name: func(w db.OwnedWindow) (cache.Key, cache.Tag) {
			l := list(w.Owner)
			return window(l, w.Window), l
		},
		Match: func(c cache.Columns) (w db.OwnedWindow, ok bool) {
			w.Owner, ok = c.Int(column)
			return w, ok
		},
	})
}
