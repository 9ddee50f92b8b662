// Package dataloader reads what resolvers ask for: batched over the whole operation, from the cache,
// and from the database where the cache has nothing. It also says what a write makes untrue.
//
// A [Factory] is made once, [Loaders] afresh for each response of an operation: for one response a thing is
// asked for once.
package dataloader

import (
	"context"
	"errors"
	"strconv"
	"time"

	"fieldcache/cache"
	"fieldcache/db"
)

// Factory makes the loaders of operations.
type Factory struct {
	// Patience is that of the batches. [New] sets the default; it may be changed before the first
	// operation.
	Patience time.Duration

	cache    *cache.Cache
	products productSource

	users               kind[int64, *db.User]
	countries           kind[string, *db.Country]
	reviews             kind[int64, *db.Review]
	orders              kind[int64, *db.Order]
	ratings             kind[int64, *db.Rating]
	userPages           kind[db.Window, *db.Page]
	productPages        kind[productWindow, *db.Page]
	reviewsByAuthor     kind[db.OwnedWindow, *db.Page]
	reviewsByProduct    kind[db.OwnedWindow, *db.Page]
	orderPages          kind[db.OwnedWindow, *db.Page]
	countryCodes        kind[struct{}, []string]
	searches            kind[search, []db.Hit]
	userCount           kind[struct{}, int]
	productCounts       kind[category, int]
	authorCounts        kind[int64, int]
	productReviewCounts kind[int64, int]
	orderCounts         kind[int64, int]
}

// category is a category of products, or all of them.
type category struct {
	name string
	any  bool
}

func (c category) ptr() *string {
	if c.any {
		return nil
	}
	return &c.name
}

func categoryOf(name *string) category {
	if name == nil {
		return category{any: true}
	}
	return category{name: *name}
}

type productWindow struct {
	category
	db.Window
}

type search struct {
	text  string
	first int
}

// New makes a factory. How long each kind of thing is kept comes from maxAge alone, which knows the
// schema's coordinates; every coordinate that it does not know is reported. The cache's watch notices from
// then on what is read of d past the loaders.
func New(c *cache.Cache, d *db.DB, maxAge func(coordinate string) (time.Duration, error)) (*Factory, error) {
	d.Watch().Forward(c.Watch())
	var errs []error
	age := func(coordinate string) time.Duration {
		a, err := maxAge(coordinate)
		if err != nil {
			errs = append(errs, err)
		}
		return a
	}
	f := &Factory{
		Patience: cache.DefaultPatience,
		cache:    c,
		products: productSource{db: d, ages: map[string]time.Duration{
			"": age("Product"), pricePart: age("Product.price"), stockPart: age("Product.stock"),
		}},
		users: kind[int64, *db.User]{age("User"), func(id int64) (cache.Key, []cache.Tag) {
			return userKey(id), userType
		}, d.UsersByID},
		countries: kind[string, *db.Country]{age("Country"), func(code string) (cache.Key, []cache.Tag) {
			return countryKey(code), countryType
		}, d.CountriesByCode},
		reviews: kind[int64, *db.Review]{age("Review"), func(id int64) (cache.Key, []cache.Tag) {
			return reviewKey(id), reviewType
		}, d.ReviewsByID},
		orders: kind[int64, *db.Order]{age("Order"), func(id int64) (cache.Key, []cache.Tag) {
			return orderKey(id), orderType
		}, d.OrdersByID},
		ratings: kind[int64, *db.Rating]{age("Product.averageRating"), func(id int64) (cache.Key, []cache.Tag) {
			return productKey(id).Part(ratingPart), ratingTypes
		}, d.RatingsByProduct},

		userPages: kind[db.Window, *db.Page]{age("Query.users"), func(w db.Window) (cache.Key, []cache.Tag) {
			return window(users, w), tagged(users, userType...)
		}, one(d.UserPage)},
		productPages: kind[productWindow, *db.Page]{age("Query.products"), func(w productWindow) (cache.Key, []cache.Tag) {
			of := productsIn(w.ptr())
			return window(of, w.Window), tagged(of, productType...)
		}, one(func(ctx context.Context, w productWindow) (*db.Page, cache.Snapshot, error) {
			return d.ProductPage(ctx, w.ptr(), w.Window)
		})},
		reviewsByAuthor: kind[db.OwnedWindow, *db.Page]{age("User.reviews"), func(w db.OwnedWindow) (cache.Key, []cache.Tag) {
			of := reviewsBy(userKey(w.Owner))
			return window(of, w.Window), tagged(of, reviewType...)
		}, d.ReviewsByAuthor},
		reviewsByProduct: kind[db.OwnedWindow, *db.Page]{age("Product.reviews"), func(w db.OwnedWindow) (cache.Key, []cache.Tag) {
			of := reviewsOf(productKey(w.Owner))
			return window(of, w.Window), tagged(of, reviewType...)
		}, d.ReviewsByProduct},
		orderPages: kind[db.OwnedWindow, *db.Page]{age("User.orders"), func(w db.OwnedWindow) (cache.Key, []cache.Tag) {
			of := ordersOf(userKey(w.Owner))
			return window(of, w.Window), tagged(of, orderType...)
		}, d.OrdersByCustomer},
		countryCodes: kind[struct{}, []string]{age("Query.countries"), func(struct{}) (cache.Key, []cache.Tag) {
			return countries.List(), tagged(countries, countryType...)
		}, one(func(ctx context.Context, _ struct{}) ([]string, cache.Snapshot, error) { return d.CountryCodes(ctx) })},
		searches: kind[search, []db.Hit]{age("Query.search"), searchKey, one(func(ctx context.Context, s search) ([]db.Hit, cache.Snapshot, error) {
			return d.Search(ctx, s.text, s.first)
		})},

		userCount: kind[struct{}, int]{age("UserConnection.totalCount"), func(struct{}) (cache.Key, []cache.Tag) {
			return users.Count(), tagged(users, userType...)
		}, one(func(ctx context.Context, _ struct{}) (int, cache.Snapshot, error) { return d.CountUsers(ctx) })},
		productCounts: kind[category, int]{age("ProductConnection.totalCount"), func(c category) (cache.Key, []cache.Tag) {
			of := productsIn(c.ptr())
			return of.Count(), tagged(of, productType...)
		}, one(func(ctx context.Context, c category) (int, cache.Snapshot, error) {
			return d.CountProducts(ctx, c.ptr())
		})},
		authorCounts: kind[int64, int]{age("ReviewConnection.totalCount"), func(id int64) (cache.Key, []cache.Tag) {
			return reviewsBy(userKey(id)).Count(), tagged(reviewsBy(userKey(id)), reviewType...)
		}, d.CountReviewsByAuthor},
		productReviewCounts: kind[int64, int]{age("ReviewConnection.totalCount"), func(id int64) (cache.Key, []cache.Tag) {
			return reviewsOf(productKey(id)).Count(), tagged(reviewsOf(productKey(id)), reviewType...)
		}, d.CountReviewsByProduct},
		orderCounts: kind[int64, int]{age("OrderConnection.totalCount"), func(id int64) (cache.Key, []cache.Tag) {
			return ordersOf(userKey(id)).Count(), tagged(ordersOf(userKey(id)), orderType...)
		}, d.CountOrdersByCustomer},
	}
	return f, errors.Join(errs...)
}

func searchKey(s search) (cache.Key, []cache.Tag) {
	return searches.List("text", s.text, "first", strconv.Itoa(s.first)),
		append(tagged(userNames, userType...), tagged(productNames, productType...)...)
}

// Loaders read for one response. They are safe for concurrent use. What they answer is shared with
// other operations and must not be changed.
type Loaders struct {
	*Factory
	batch *cache.Batch
}

type loadersKey struct{}

// Attach returns a context that carries loaders of its own. They tell observe, which may be nil, what
// they answer; it is called concurrently.
func (f *Factory) Attach(ctx context.Context, observe cache.Observer) context.Context {
	batch := f.cache.NewBatch()
	batch.Patience, batch.Observe = f.Patience, observe
	batch.Fresh, batch.Unkept = cache.IsFresh(ctx), cache.IsUnkept(ctx)
	return context.WithValue(ctx, loadersKey{}, &Loaders{Factory: f, batch: batch})
}

// For is the loaders of ctx, which [Factory.Attach] put in; without, it panics.
func For(ctx context.Context) *Loaders {
	return ctx.Value(loadersKey{}).(*Loaders)
}

// Expect says that n more fields of the operation, or -n fewer, may ask for something; see
// [fieldcache/cache/gqlcache.FieldCount]. The last one to end loads what the others wait for.
func (l *Loaders) Expect(ctx context.Context, n int) { l.batch.Expect(ctx, n) }

// Forget makes these loaders ask again for what they loaded.
func (l *Loaders) Forget() { l.batch.Forget() }

// Evict makes what a write made untrue vanish from the cache and from these loaders. It is called after a
// commit and before the write is answered; an error needs no more than a log line.
func (l *Loaders) Evict(ctx context.Context, w cache.Write) error {
	_, err := l.cache.Evict(ctx, w)
	l.batch.Forget()
	return err
}
