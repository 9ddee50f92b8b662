package dataloader

import (
	"context"

	"fieldcache/cache"
	"fieldcache/db"
)

// get reads one thing; the zero value where there is none.
func get[K comparable, V any](ctx context.Context, l *Loaders, k *kind[K, V], key K) (V, error) {
	return value[V](ctx, l, k.alone(key))
}

// value reads a batch of one, of any source.
func value[V any](ctx context.Context, l *Loaders, alone []cache.Request) (V, error) {
	var zero V
	results, err := l.batch.Load(ctx, alone)
	if err != nil {
		return zero, err
	}
	if results[0].Err != nil || results[0].Value == nil {
		return zero, results[0].Err
	}
	return results[0].Value.(V), nil
}

// many reads things in one batch, in the order of the keys and without those that are not there: a list
// may have been read just before one of its members went.
func many[K, V any](ctx context.Context, l *Loaders, keys []K, request func(K) cache.Request) ([]V, error) {
	requests := make([]cache.Request, len(keys))
	for i, key := range keys {
		requests[i] = request(key)
	}
	results, err := l.batch.Load(ctx, requests)
	if err != nil {
		return nil, err
	}
	values := make([]V, 0, len(keys))
	for _, r := range results {
		if r.Err != nil {
			return nil, r.Err
		}
		if r.Value != nil {
			values = append(values, r.Value.(V))
		}
	}
	return values, nil
}

// User reads a user, nil if there is none.
func (l *Loaders) User(ctx context.Context, id int64) (*db.User, error) {
	return get(ctx, l, &l.users, id)
}

// Users reads those of the users that are there, in order.
func (l *Loaders) Users(ctx context.Context, ids []int64) ([]*db.User, error) {
	return many[int64, *db.User](ctx, l, ids, l.users.request)
}

// Country reads a country, nil if there is none.
func (l *Loaders) Country(ctx context.Context, code string) (*db.Country, error) {
	return get(ctx, l, &l.countries, code)
}

// Countries reads all countries, by code.
func (l *Loaders) Countries(ctx context.Context) ([]*db.Country, error) {
	codes, err := get(ctx, l, &l.countryCodes, struct{}{})
	if err != nil {
		return nil, err
	}
	return many[string, *db.Country](ctx, l, codes, l.countries.request)
}

// Product reads a product, nil if there is none.
func (l *Loaders) Product(ctx context.Context, id int64) (*db.Product, error) {
	return value[*db.Product](ctx, l, l.products.alone(id, ""))
}

// Products reads those of the products that are there, in order.
func (l *Loaders) Products(ctx context.Context, ids []int64) ([]*db.Product, error) {
	return many[int64, *db.Product](ctx, l, ids, func(id int64) cache.Request { return l.products.request(id, "") })
}

// Price reads a product's price, nil if there is no such product.
func (l *Loaders) Price(ctx context.Context, product int64) (*db.Price, error) {
	return value[*db.Price](ctx, l, l.products.alone(product, pricePart))
}

// Stock reads how many pieces of a product are there, nil if there is no such product.
func (l *Loaders) Stock(ctx context.Context, product int64) (*db.Stock, error) {
	return value[*db.Stock](ctx, l, l.products.alone(product, stockPart))
}

// Rating reads what a product's reviews sum up to.
func (l *Loaders) Rating(ctx context.Context, product int64) (*db.Rating, error) {
	return get(ctx, l, &l.ratings, product)
}

// Review reads a review, nil if there is none.
func (l *Loaders) Review(ctx context.Context, id int64) (*db.Review, error) {
	return get(ctx, l, &l.reviews, id)
}

// Reviews reads those of the reviews that are there, in order.
func (l *Loaders) Reviews(ctx context.Context, ids []int64) ([]*db.Review, error) {
	return many[int64, *db.Review](ctx, l, ids, l.reviews.request)
}

// Order reads an order, nil if there is none.
func (l *Loaders) Order(ctx context.Context, id int64) (*db.Order, error) {
	return get(ctx, l, &l.orders, id)
}

// Orders reads those of the orders that are there, in order.
func (l *Loaders) Orders(ctx context.Context, ids []int64) ([]*db.Order, error) {
	return many[int64, *db.Order](ctx, l, ids, l.orders.request)
}

// UserPage reads a window of all users.
func (l *Loaders) UserPage(ctx context.Context, w db.Window) (*db.Page, error) {
	return get(ctx, l, &l.userPages, w)
}

// UserCount counts all users.
func (l *Loaders) UserCount(ctx context.Context) (int, error) {
	return get(ctx, l, &l.userCount, struct{}{})
}

// ProductPage reads a window of a category's products, or of all.
func (l *Loaders) ProductPage(ctx context.Context, category *string, w db.Window) (*db.Page, error) {
	return get(ctx, l, &l.productPages, productWindow{categoryOf(category), w})
}

// ProductCount counts a category's products, or all.
func (l *Loaders) ProductCount(ctx context.Context, category *string) (int, error) {
	return get(ctx, l, &l.productCounts, categoryOf(category))
}

// ReviewPage reads a window of a list of reviews.
func (l *Loaders) ReviewPage(ctx context.Context, of db.ReviewList, w db.Window) (*db.Page, error) {
	if of.AuthorID != 0 {
		return get(ctx, l, &l.reviewsByAuthor, db.OwnedWindow{Owner: of.AuthorID, Window: w})
	}
	return get(ctx, l, &l.reviewsByProduct, db.OwnedWindow{Owner: of.ProductID, Window: w})
}

// ReviewCount counts a list of reviews.
func (l *Loaders) ReviewCount(ctx context.Context, of db.ReviewList) (int, error) {
	if of.AuthorID != 0 {
		return get(ctx, l, &l.authorCounts, of.AuthorID)
	}
	return get(ctx, l, &l.productReviewCounts, of.ProductID)
}

// OrderPage reads a window of a user's orders.
func (l *Loaders) OrderPage(ctx context.Context, customer int64, w db.Window) (*db.Page, error) {
	return get(ctx, l, &l.orderPages, db.OwnedWindow{Owner: customer, Window: w})
}

// OrderCount counts a user's orders.
func (l *Loaders) OrderCount(ctx context.Context, customer int64) (int, error) {
	return get(ctx, l, &l.orderCounts, customer)
}

// Search reads the users and products that a text finds, at most first, in the order of
// [db.DB.Search]. Each is a *db.User or a *db.Product.
func (l *Loaders) Search(ctx context.Context, text string, first int) ([]any, error) {
	hits, err := get(ctx, l, &l.searches, search{text, first})
	if err != nil {
		return nil, err
	}
	return many[db.Hit, any](ctx, l, hits, func(h db.Hit) cache.Request {
		if h.Kind == db.UserHit {
			return l.users.request(h.ID)
		}
		return l.products.request(h.ID, "")
	})
}
