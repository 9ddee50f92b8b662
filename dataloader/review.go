package dataloader

import (
	"context"

	"fieldcache/cache"
	"fieldcache/db"
)

type reviews struct {
	byID          *cache.Kind[int64, *db.Review]
	byAuthor      *cache.Kind[db.OwnedWindow, *db.Page]
	byProduct     *cache.Kind[db.OwnedWindow, *db.Page]
	authorCounts  *cache.Kind[int64, int]
	productCounts *cache.Kind[int64, int]
}

func reviewsBy(author int64) cache.Tag  { return userKey(author).Collection("reviews") }
func reviewsOf(product int64) cache.Tag { return productKey(product).Collection("reviews") }

func newReviews(s *cache.Kinds, d *db.DB) reviews {
	types := []string{"Review"}
	counts := func(rows string, list func(int64) cache.Tag, load func(context.Context, []int64) (map[int64]int, cache.Snapshot, error)) *cache.Kind[int64, int] {
		return cache.NewCount(s, cache.CountOptions[int64]{Of: "ReviewConnection.totalCount", Rows: rows, Types: types, List: list, Load: load})
	}
	return reviews{
		byID: cache.NewKind(s, cache.KindOptions[int64, *db.Review]{
			Of: "Review", Types: types, Load: d.ReviewsByID,
			Name: func(id int64) (cache.Key, cache.Tag) { return entity("review", id), "" },
		}),
		byAuthor:      owned(s, "User.reviews", "author_id", types, reviewsBy, d.ReviewsByAuthor),
		byProduct:     owned(s, "Product.reviews", "product_id", types, reviewsOf, d.ReviewsByProduct),
		authorCounts:  counts("User.reviews", reviewsBy, d.CountReviewsByAuthor),
		productCounts: counts("Product.reviews", reviewsOf, d.CountReviewsByProduct),
	}
}

// Review returns a review, or nil if there is none.
func (l *Loaders) Review(ctx context.Context, id int64) (*db.Review, error) {
	return l.reviews.byID.Get(ctx, l.batch, id)
}

// Reviews returns the reviews that exist, in the order of ids.
func (l *Loaders) Reviews(ctx context.Context, ids []int64) ([]*db.Review, error) {
	return l.reviews.byID.Many(ctx, l.batch, ids)
}

// ReviewPage returns a window of a list of reviews.
func (l *Loaders) ReviewPage(ctx context.Context, of db.ReviewList, w db.Window) (*db.Page, error) {
	if of.AuthorID != 0 {
		return l.reviews.byAuthor.Get(ctx, l.batch, db.OwnedWindow{Owner: of.AuthorID, Window: w})
	}
	return l.reviews.byProduct.Get(ctx, l.batch, db.OwnedWindow{Owner: of.ProductID, Window: w})
}

// ReviewCount returns the number of reviews in a list.
func (l *Loaders) ReviewCount(ctx context.Context, of db.ReviewList) (int, error) {
	if of.AuthorID != 0 {
		return l.reviews.authorCounts.Get(ctx, l.batch, of.AuthorID)
	}
	return l.reviews.productCounts.Get(ctx, l.batch, of.ProductID)
}
