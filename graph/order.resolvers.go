package graph

import (
	"context"
	"fieldcache/dataloader"
	"fieldcache/db"
	"fieldcache/graph/generated"
	"fieldcache/graph/model"
)

func (r *mutationResolver) PlaceOrder(ctx context.Context, lines []*model.OrderLineInput, customerID *string) (*db.Order, error) {
	customer, err := r.actor(ctx, "customerId", customerID)
	if err != nil {
		return nil, err
	}
	order := &db.Order{CustomerID: customer}
	if order.Lines, err = orderLines(lines); err != nil {
		return nil, err
	}
	c, err := r.DB.PlaceOrder(ctx, order)
	return order, r.written(ctx, c, err)
}

func (r *orderResolver) Customer(ctx context.Context, obj *db.Order) (*db.User, error) {
	return dataloader.For(ctx).User(ctx, obj.CustomerID)
}

func (r *orderResolver) Lines(ctx context.Context, obj *db.Order) ([]*db.OrderLine, error) {
	return obj.Lines, nil
}

func (r *orderResolver) Total(ctx context.Context, obj *db.Order) (*db.Price, error) {
	totals, err := obj.Totals()
	if err != nil {
		return nil, err
	}
	if len(totals) != 1 {
		return nil, db.Conflict("total", "The order's lines are in %d currencies: ask for totals.", len(totals))
	}
	return totals[0], nil
}

func (r *orderConnectionResolver) Nodes(ctx context.Context, obj *model.OrderConnection) ([]*db.Order, error) {
	return dataloader.For(ctx).Orders(ctx, obj.IDs)
}

func (r *orderConnectionResolver) TotalCount(ctx context.Context, obj *model.OrderConnection) (int, error) {
	return dataloader.For(ctx).OrderCount(ctx, obj.CustomerID)
}

func (r *orderLineResolver) Product(ctx context.Context, obj *db.OrderLine) (*db.Product, error) {
	return dataloader.For(ctx).Product(ctx, obj.ProductID)
}

func (r *Resolver) Order() generated.OrderResolver { return &orderResolver{r} }

func (r *Resolver) OrderConnection() generated.OrderConnectionResolver {
	return &orderConnectionResolver{r}
}

func (r *Resolver) OrderLine() generated.OrderLineResolver { return &orderLineResolver{r} }

type (
	orderResolver           struct{ *Resolver }
	orderConnectionResolver struct{ *Resolver }
	orderLineResolver       struct{ *Resolver }
)
