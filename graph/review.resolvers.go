package graph

import (
	"context"
	"fieldcache/dataloader"
	"fieldcache/db"
	"fieldcache/graph/generated"
	"fieldcache/graph/model"
)

func (r *mutationResolver) AddReview(ctx context.Context, productID string, rating int, body string, authorID *string) (*db.Review, error) {
	author, err := r.actor(ctx, "authorId", authorID)
	if err != nil {
		return nil, err
	}
	product, err := parseID("productId", productID)
	if err != nil {
		return nil, err
	}
	if err := between("rating", rating, 1, 5); err != nil {
		return nil, err
	}
	if err := checkText("body", body, 1, maxText); err != nil {
		return nil, err
	}
	review := &db.Review{ProductID: product, AuthorID: &author, Rating: rating, Body: body}
	c, err := r.DB.AddReview(ctx, review)
	return review, r.written(ctx, c, err)
}

func (r *reviewResolver) Author(ctx context.Context, obj *db.Review) (*db.User, error) {
	if obj.AuthorID == nil {
		return nil, nil
	}
	return dataloader.For(ctx).User(ctx, *obj.AuthorID)
}

func (r *reviewResolver) Product(ctx context.Context, obj *db.Review) (*db.Product, error) {
	return dataloader.For(ctx).Product(ctx, obj.ProductID)
}

func (r *reviewConnectionResolver) Nodes(ctx context.Context, obj *model.ReviewConnection) ([]*db.Review, error) {
	return dataloader.For(ctx).Reviews(ctx, obj.IDs)
}

func (r *reviewConnectionResolver) TotalCount(ctx context.Context, obj *model.ReviewConnection) (int, error) {
	return dataloader.For(ctx).ReviewCount(ctx, obj.Of)
}

func (r *Resolver) Review() generated.ReviewResolver { return &reviewResolver{r} }

func (r *Resolver) ReviewConnection() generated.ReviewConnectionResolver {
	return &reviewConnectionResolver{r}
}

type (
	reviewResolver           struct{ *Resolver }
	reviewConnectionResolver struct{ *Resolver }
)
