// Package dataloader defines how each noun of the shop is read in batches, and under which keys it is
// cached. There is one file for each noun. The schema says for how long values are cached and what
// evicts them.
//
// Call [NewKinds] and [New] once. A [Factory] makes new [Loaders] for each response of an operation, so
// that each value is loaded at most once for a response.
package dataloader

import (
	"context"
	"strconv"
	"time"

	"fieldcache/cache"
	"fieldcache/cache/outbox"
	"fieldcache/db"
)

// Kinds are the kinds of values that the loaders cache.
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

// NewKinds returns the kinds of values in d. policy returns the policy of a coordinate of the schema.
// NewKinds returns one error for all coordinates for which policy fails.
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

// Stored returns the kinds, for the plan of evictions.
func (k *Kinds) Stored() []cache.Stored { return k.stored }

// Factory makes the loaders of operations.
type Factory struct {
	*Kinds
	// Patience is [cache.Batch.Patience] of the batches. [New] sets the default. Change it only before
	// the first operation.
	Patience time.Duration

	cache  *cache.Cache
	untrue func(...outbox.Change) cache.Eviction
}

// New returns a factory of loaders that read through c. untrue returns what changes of rows evict. New also
// connects the watch of the kinds' database to that of c, so that the cache detects statements that do not
// come from loaders.
func New(c *cache.Cache, k *Kinds, untrue func(...outbox.Change) cache.Eviction) *Factory {
	k.db.Watch().Forward(c.Watch())
	for _, kind := range k.stored {
		kind.CountIn(c)
	}
	return &Factory{Kinds: k, Patience: cache.DefaultPatience, cache: c, untrue: untrue}
}

// Loaders read values for one response. They are safe for concurrent use. The values are shared with
// other operations and must not be changed.
type Loaders struct {
	*Factory
	batch *cache.Batch
}

type loadersKey struct{}

// Attach returns a context with new loaders. They call observe with each result, perhaps concurrently.
// observe may be nil.
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

// Batch returns the batch through which the loaders read the cache.
func (l *Loaders) Batch() *cache.Batch { return l.batch }

// Expect says that n more fields of the operation, or -n fewer, may request values; see
// [fieldcache/cache/gqlcache.FieldCount]. The call for the last field loads what the others wait for.
func (l *Loaders) Expect(ctx context.Context, n int) { l.batch.Expect(ctx, n) }

// Forget makes the loaders load values again that they have loaded.
func (l *Loaders) Forget() { l.batch.Forget() }

// Evict evicts what a write changed from the cache and from these loaders, and returns the eviction. Call
// it after the commit and before the mutation returns. An error should be logged and otherwise ignored.
func (l *Loaders) Evict(ctx context.Context, c db.Commit) (cache.Eviction, error) {
	w := cache.Write{Xid: c.Xid, Epoch: c.Epoch, Eviction: l.untrue(c.Changes...)}
	_, err := l.cache.Evict(ctx, w)
	l.batch.Forget()
	return w.Eviction, err
}

// entity returns the key of a noun's row.
func entity(noun string, id int64) cache.Key { return cache.Entity(noun, strconv.FormatInt(id, 10)) }

// window returns the key of a window of a list.
func window(of cache.Tag, w db.Window) cache.Key {
	if w.After == 0 {
		return of.List("first", strconv.Itoa(w.First))
	}
	return of.List("first", strconv.Itoa(w.First), "after", strconv.FormatInt(w.After, 10))
}

// owned returns the kind of windows of lists whose owner's id is in a column.
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
