package db

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/bits"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"fieldcache/cache"
)

// Order is a row of orders with its lines.
type Order struct {
	bun.BaseModel `bun:"table:orders" json:"-"`

	ID         int64        `bun:",pk,autoincrement" json:"id"`
	CustomerID int64        `json:"customer_id"`
	CreatedAt  Time         `json:"created_at"`
	Lines      []*OrderLine `bun:"rel:has-many,join:id=order_id" json:"lines"`
}

// OrderLine is a row of order_lines.
type OrderLine struct {
	bun.BaseModel `bun:"table:order_lines" json:"-"`

	OrderID        int64  `bun:",pk" json:"-"`
	LineNo         int    `bun:",pk" json:"line_no"`
	ProductID      int64  `json:"product_id"`
	Quantity       int    `json:"quantity"`
	UnitPriceCents int64  `json:"unit_price_cents"`
	Currency       string `json:"currency"`
}

// UnitPrice returns the price of one piece when the order was placed.
func (l *OrderLine) UnitPrice() *Price { return &Price{Cents: l.UnitPriceCents, Currency: l.Currency} }

// Totals returns the sum of the lines, for each currency in the order of its first line.
func (o *Order) Totals() ([]*Price, error) {
	var totals []*Price
	for _, l := range o.Lines {
		i := slices.IndexFunc(totals, func(p *Price) bool { return p.Currency == l.Currency })
		if i < 0 {
			i = len(totals)
			totals = append(totals, &Price{Currency: l.Currency})
		}
		hi, lo := bits.Mul64(uint64(l.Quantity), uint64(l.UnitPriceCents))
		sum, carry := bits.Add64(uint64(totals[i].Cents), lo, 0)
		if hi != 0 || carry != 0 || sum > math.MaxInt64 {
			return nil, Conflict("totals", "The order's total is too large a number.")
		}
		totals[i].Cents = int64(sum)
	}
	return totals, nil
}

// OrdersByID returns the orders with these ids, with their lines in order. A second statement reads
// the lines. The snapshot is that of the first statement, which the second one saw too.
func (d *DB) OrdersByID(ctx context.Context, ids []int64) (map[int64]*Order, cache.Snapshot, error) {
	args := d.arguments()
	condition, values := isIn(args, "id", ids)
	q := d.bun.NewSelect().Model((*Order)(nil)).Where(condition, values...)
	orders, seen, err := readByKey(ctx, args, q, func(o *Order) int64 { return o.ID })
	if err != nil || len(orders) == 0 {
		return orders, seen, err
	}
	args = d.arguments()
	condition, values = isIn(args, "order_id", slices.Collect(maps.Keys(orders)))
	lines, later, err := read[OrderLine](ctx, args, "order_id, line_no", d.bun.NewSelect().Model((*OrderLine)(nil)).Where(condition, values...))
	if err != nil {
		return nil, cache.Snapshot{}, err
	}
	for i := range lines {
		l := &lines[i]
		orders[l.OrderID].Lines = append(orders[l.OrderID].Lines, l)
	}
	return orders, seen.Then(later), nil
}

// OrdersByCustomer returns windows of the orders of users.
func (d *DB) OrdersByCustomer(ctx context.Context, ws []OwnedWindow) (map[OwnedWindow]*Page, cache.Snapshot, error) {
	return d.ownedPages(ctx, "orders", "customer_id", ws)
}

// CountOrdersByCustomer counts the orders of users.
func (d *DB) CountOrdersByCustomer(ctx context.Context, ids []int64) (map[int64]int, cache.Snapshot, error) {
	return d.ownedCounts(ctx, "orders", "customer_id", ids)
}

// PlaceOrder places an order in one transaction. The customer and each line's product and quantity
// are given; PlaceOrder reduces the stock, copies the prices into the lines, and sets the ids and the
// time. It returns [ErrNotFound] if the customer or a product does not exist, [ErrConflict] if a
// product has too few pieces left, and [ErrInput] if the products are priced in different currencies,
// since the order would have no total. It changes nothing then.
func (d *DB) PlaceOrder(ctx context.Context, o *Order) (Commit, error) {
	o.CreatedAt = Time{Time: now()}
	wanted := map[int64]int{}
	for _, l := range o.Lines {
		wanted[l.ProductID] += l.Quantity
	}
	return d.change(ctx, func(ctx context.Context, tx bun.Tx) error {
		products, err := d.takeStock(ctx, tx, wanted)
		if err != nil {
			return err
		}
		currency := products[o.Lines[0].ProductID].Currency
		for i, l := range o.Lines {
			p := products[l.ProductID]
			if p.Currency != currency {
				return Input("lines", "The products are priced in %s and in %s: place an order for each currency.", currency, p.Currency)
			}
			l.LineNo, l.UnitPriceCents, l.Currency = i+1, p.PriceCents, p.Currency
		}
		if err := tx.NewInsert().Model(o).Returning("id").Scan(ctx, &o.ID); err != nil {
			var dangling *Error
			if err = translate(err, "customerId"); errors.As(err, &dangling) && dangling.Field == "customerId" {
				return NotFound("customerId", "There is no user %d.", o.CustomerID)
			}
			return err
		}
		for _, l := range o.Lines {
			l.OrderID = o.ID
		}
		_, err = tx.NewInsert().Model(&o.Lines).Exec(ctx)
		return err
	})
}

// takeStock reduces the stock of products and returns the products' rows.
func (d *DB) takeStock(ctx context.Context, tx bun.IDB, wanted map[int64]int) (map[int64]*ProductRow, error) {
	ids := slices.Sorted(maps.Keys(wanted))
	var rows []*ProductRow
	// Locked in the order of their ids, two orders for the same products wait for each other instead of deadlocking.
	q := tx.NewSelect().Model(&rows).Column("id", "name", "stock", "price_cents", "currency").Where("id IN (?)", bun.List(ids)).Order("id")
	if err := d.lock(q).Scan(ctx); err != nil {
		return nil, err
	}
	products := make(map[int64]*ProductRow, len(rows))
	for _, r := range rows {
		products[r.ID] = r
	}
	var short []string
	for _, id := range ids {
		p := products[id]
		if p == nil {
			return nil, NotFound("lines", "There is no product %d.", id)
		}
		if p.Stock < wanted[id] {
			short = append(short, fmt.Sprintf("%d of product %d are left, %d are ordered", p.Stock, id, wanted[id]))
		}
	}
	if len(short) > 0 {
		return nil, Conflict("lines", "%s.", strings.Join(short, "; "))
	}
	left := bun.Safe("")
	for _, p := range rows {
		left += bun.Safe(fmt.Sprintf(" WHEN %d THEN %d", p.ID, p.Stock-wanted[p.ID]))
	}
	_, err := tx.NewUpdate().Model((*ProductRow)(nil)).Set("stock = CASE id ? END", left).Set("updated_at = ?", now()).
		Where("id IN (?)", bun.List(ids)).Exec(ctx)
	return products, err
}
