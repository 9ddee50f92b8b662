package dataloader

import (
	"context"

	"fieldcache/cache"
	"fieldcache/db"
)

type orders struct {
	byID   *cache.Kind[int64, *db.Order]
	pages  *cache.Kind[db.OwnedWindow, *db.Page]
	counts *cache.Kind[int64, int]
}

func ordersOf(customer int64) cache.Tag { return userKey(customer).Collection("orders") }

func newOrders(s *cache.Kinds, d *db.DB) orders {
	types := []string{"Order"}
	return orders{
		byID: cache.NewKind(s, cache.KindOptions[int64, *db.Order]{
			Of: "Order", Types: types, Load: d.OrdersByID,
			Name: func(id int64) (cache.Key, cache.Tag) { return entity("order", id), "" },
		}),
		pages: owned(s, "User.orders", "customer_id", types, ordersOf, d.OrdersByCustomer),
		counts: cache.NewCount(s, cache.CountOptions[int64]{
			Of: "OrderConnection.totalCount", Rows: "User.orders", Types: types, List: ordersOf, Load: d.CountOrdersByCustomer,
		}),
	}
}

// Order returns an order, or nil if there is none.
func (l *Loaders) Order(ctx context.Context, id int64) (*db.Order, error) {
	return l.orders.byID.Get(ctx, l.batch, id)
}

// Orders returns the orders that exist, in the order of ids.
func (l *Loaders) Orders(ctx context.Context, ids []int64) ([]*db.Order, error) {
	return l.orders.byID.Many(ctx, l.batch, ids)
}

// OrderPage returns a window of a user's orders.
func (l *Loaders) OrderPage(ctx context.Context, customer int64, w db.Window) (*db.Page, error) {
	return l.orders.pages.Get(ctx, l.batch, db.OwnedWindow{Owner: customer, Window: w})
}

// OrderCount returns the number of a user's orders.
func (l *Loaders) OrderCount(ctx context.Context, customer int64) (int, error) {
	return l.orders.counts.Get(ctx, l.batch, customer)
}
