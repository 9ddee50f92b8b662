package db

import (
	"context"

	"github.com/uptrace/bun"

	"fieldcache/cache"
	"fieldcache/cache/outbox"
)

// Review is a row of reviews.
type Review struct {
	bun.BaseModel `bun:"table:reviews" json:"-"`

	ID        int64  `bun:",pk,autoincrement" json:"id"`
	ProductID int64  `json:"product_id"`
	AuthorID  *int64 `json:"author_id"` // nil once the author is deleted
	Rating    int    `json:"rating"`    // 1 to 5
	Body      string `json:"body"`
	CreatedAt Time   `json:"created_at"`
}

// ReviewList is the list of the reviews by a user or of a product. Exactly one of the ids is set.
type ReviewList struct {
	AuthorID, ProductID int64
}

// The columns by which reviews make lists.
const (
	byAuthor  = "author_id"
	byProduct = "product_id"
)

// ReviewsByID returns the reviews with these ids.
func (d *DB) ReviewsByID(ctx context.Context, ids []int64) (map[int64]*Review, cache.Snapshot, error) {
	args := d.arguments()
	condition, values := isIn(args, "id", ids)
	q := d.bun.NewSelect().Model((*Review)(nil)).Where(condition, values...)
	return readByKey(ctx, args, q, func(r *Review) int64 { return r.ID })
}

// ReviewsByAuthor returns windows of the reviews by users.
func (d *DB) ReviewsByAuthor(ctx context.Context, ws []OwnedWindow) (map[OwnedWindow]*Page, cache.Snapshot, error) {
	return d.ownedPages(ctx, "reviews", byAuthor, ws)
}

// ReviewsByProduct returns windows of the reviews of products.
func (d *DB) ReviewsByProduct(ctx context.Context, ws []OwnedWindow) (map[OwnedWindow]*Page, cache.Snapshot, error) {
	return d.ownedPages(ctx, "reviews", byProduct, ws)
}

// CountReviewsByAuthor counts the reviews by users.
func (d *DB) CountReviewsByAuthor(ctx context.Context, ids []int64) (map[int64]int, cache.Snapshot, error) {
	return d.ownedCounts(ctx, "reviews", byAuthor, ids)
}

// CountReviewsByProduct counts the reviews of products.
func (d *DB) CountReviewsByProduct(ctx context.Context, ids []int64) (map[int64]int, cache.Snapshot, error) {
	return d.ownedCounts(ctx, "reviews", byProduct, ids)
}

// AddReview adds a review and sets its id and time. It returns [ErrNotFound] if the product does
// not exist.
func (d *DB) AddReview(ctx context.Context, r *Review) (Commit, error) {
	r.CreatedAt = Time{Time: now()}
	var inserted struct {
		ID       int64
		returned `bun:",extend"`
	}
	c, err := d.insertChecked(ctx, "reviews", &inserted.returned, func(ctx context.Context, tx bun.Tx) error {
		if err := exists(ctx, tx, (*ProductRow)(nil), "productId", "product", r.ProductID); err != nil {
			return err
		}
		if r.AuthorID != nil {
			if err := exists(ctx, tx, (*User)(nil), "authorId", "user", *r.AuthorID); err != nil {
				return err
			}
		}
		return tx.NewInsert().Model(r).Returning("id, ?", d.returning(outbox.Insert)).Scan(ctx, &inserted)
	})
	r.ID = inserted.ID
	return c, err
}
