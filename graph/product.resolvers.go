package graph

import (
	"context"
	"fieldcache/dataloader"
	"fieldcache/db"
	"fieldcache/graph/generated"
	"fieldcache/graph/model"
)

func (r *mutationResolver) UpdateProduct(ctx context.Context, id string, input model.UpdateProductInput) (*db.Product, error) {
	n, err := changeProduct(ctx, "id", id)
	if err != nil {
		return nil, err
	}
	patch, err := productPatch(input)
	if err != nil {
		return nil, err
	}
	p, c, err := r.DB.UpdateProduct(ctx, n, patch)
	return p, r.written(ctx, c, err)
}

func (r *mutationResolver) SetPrice(ctx context.Context, productID string, price model.MoneyInput) (*db.Product, error) {
	n, err := changeProduct(ctx, "productId", productID)
	if err != nil {
		return nil, err
	}
	p, err := parseMoney("price", price)
	if err != nil {
		return nil, err
	}
	c, err := r.DB.SetPrice(ctx, n, p)
	if err := r.written(ctx, c, err); err != nil {
		return nil, err
	}
	return dataloader.For(ctx).Product(ctx, n)
}

func (r *mutationResolver) SetStock(ctx context.Context, productID string, stock int) (*db.Product, error) {
	n, err := changeProduct(ctx, "productId", productID)
	if err != nil {
		return nil, err
	}
	if err := between("stock", stock, 0, maxQuantity); err != nil {
		return nil, err
	}
	c, err := r.DB.SetStock(ctx, n, stock)
	if err := r.written(ctx, c, err); err != nil {
		return nil, err
	}
	return dataloader.For(ctx).Product(ctx, n)
}

func (r *productResolver) Price(ctx context.Context, obj *db.Product) (*db.Price, error) {
	return dataloader.For(ctx).Price(ctx, obj.ID)
}

func (r *productResolver) Stock(ctx context.Context, obj *db.Product) (int, error) {
	s, err := dataloader.For(ctx).Stock(ctx, obj.ID)
	if err != nil || s == nil {
		return 0, gone(err, "product", obj.ID)
	}
	return s.Stock, nil
}

func (r *productResolver) AverageRating(ctx context.Context, obj *db.Product) (*float64, error) {
	rating, err := dataloader.For(ctx).Rating(ctx, obj.ID)
	if err != nil || rating == nil {
		return nil, err
	}
	return rating.Mean(), nil
}

func (r *productResolver) Reviews(ctx context.Context, obj *db.Product, first int, after *string) (*model.ReviewConnection, error) {
	return reviews(ctx, db.ReviewList{ProductID: obj.ID}, first, after)
}

func (r *productResolver) RelatedProducts(ctx context.Context, objs []*db.Product, first int) ([][]*db.Product, error) {
	if err := between("first", first, 1, maxFirst); err != nil {
		return nil, err
	}
	return r.DB.RelatedProducts(ctx, objs, first)
}

func (r *productConnectionResolver) Nodes(ctx context.Context, obj *model.ProductConnection) ([]*db.Product, error) {
	return dataloader.For(ctx).Products(ctx, obj.IDs)
}

func (r *productConnectionResolver) TotalCount(ctx context.Context, obj *model.ProductConnection) (int, error) {
	return dataloader.For(ctx).ProductCount(ctx, obj.Category)
}

func (r *queryResolver) Product(ctx context.Context, id string) (*db.Product, error) {
	n, err := parseID("id", id)
	if err != nil {
		return nil, err
	}
	return dataloader.For(ctx).Product(ctx, n)
}

func (r *queryResolver) Products(ctx context.Context, first int, after *string, category *string) (*model.ProductConnection, error) {
	w, err := parseWindow(productsCursor, first, after)
	if err != nil {
		return nil, err
	}
	if category != nil {
		if err := checkText("category", *category, 1, maxName); err != nil {
			return nil, err
		}
	}
	page, err := dataloader.For(ctx).ProductPage(ctx, category, w)
	if err != nil {
		return nil, err
	}
	return &model.ProductConnection{IDs: page.IDs, Category: category, PageInfo: pageInfo(productsCursor, page)}, nil
}

func (r *Resolver) Product() generated.ProductResolver { return &productResolver{r} }

func (r *Resolver) ProductConnection() generated.ProductConnectionResolver {
	return &productConnectionResolver{r}
}

type (
	productResolver           struct{ *Resolver }
	productConnectionResolver struct{ *Resolver }
)
