package db

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/uptrace/bun"

	"fieldcache/cache"
	"fieldcache/cache/outbox"
)

// ProductRow is a row of products. It is cached in parts, which change at different rates: [Product],
// [Price] and [Stock].
type ProductRow struct {
	bun.BaseModel `bun:"table:products" json:"-"`

	ID          int64 `bun:",pk,autoincrement"`
	Name        string
	Description string
	Category    string
	PriceCents  int64
	Currency    string
	Stock       int
	CreatedAt   Time
	UpdatedAt   Time
}

// Product is the part of a product that rarely changes.
type Product struct {
	ID          int64  `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description"`
	Category    string `json:"category"`
}

// Price is an amount of money in hundredths of the currency's unit.
type Price struct {
	Cents    int64  `json:"price_cents"`
	Currency string `json:"currency"` // ISO 4217
}

// Amount returns the price as a decimal with two places: 12.34.
func (p *Price) Amount() string {
	sign, cents := "", p.Cents
	if cents < 0 {
		sign, cents = "-", -cents
	}
	return fmt.Sprintf("%s%d.%02d", sign, cents/100, cents%100)
}

// Stock is the number of pieces of a product in stock.
type Stock struct {
	Stock int `json:"stock"`
}

// Rating sums up a product's reviews.
type Rating struct {
	Sum   int64 `json:"sum"`
	Count int64 `json:"count"`
}

// Mean returns the average rating, rounded half up to two decimals, or nil if there are no reviews.
func (r *Rating) Mean() *float64 {
	if r.Count == 0 {
		return nil
	}
	hundredths := (r.Sum*200 + r.Count) / (2 * r.Count)
	mean := float64(hundredths) / 100
	return &mean
}

// ProductPatch contains the new values of a product's columns. A nil value leaves the column unchanged.
type ProductPatch struct {
	Name, Description, Category *string
}

// Product returns the part of the row that rarely changes.
func (r *ProductRow) Product() *Product {
	return &Product{ID: r.ID, Name: r.Name, Description: r.Description, Category: r.Category}
}

// Price returns the row's price.
func (r *ProductRow) Price() *Price { return &Price{Cents: r.PriceCents, Currency: r.Currency} }

// InStock returns the row's stock.
func (r *ProductRow) InStock() *Stock { return &Stock{r.Stock} }

// ProductColumns says which parts of a product's row to read.
type ProductColumns struct {
	Product, Price, Stock bool
}

// ProductsByID returns the rows with these ids, with the requested columns.
func (d *DB) ProductsByID(ctx context.Context, ids []int64, columns ProductColumns) (map[int64]*ProductRow, cache.Snapshot, error) {
	args := d.arguments()
	condition, values := isIn(args, "id", ids)
	q := d.bun.NewSelect().Model((*ProductRow)(nil)).Column("id").Where(condition, values...)
	if columns.Product {
		q.Column("name", "description", "category")
	}
	if columns.Price {
		q.Column("price_cents", "currency")
	}
	if columns.Stock {
		q.Column("stock")
	}
	return readByKey(ctx, args, q, func(r *ProductRow) int64 { return r.ID })
}

// ProductPage returns a window of all products, or of those of a category.
func (d *DB) ProductPage(ctx context.Context, category *string, w Window) (*Page, cache.Snapshot, error) {
	args := d.arguments()
	return d.pageOf(ctx, args, (*ProductRow)(nil), w, func(q *bun.SelectQuery) *bun.SelectQuery { return inCategory(args, q, category) })
}

// CountProducts counts all products, or those of a category.
func (d *DB) CountProducts(ctx context.Context, category *string) (int, cache.Snapshot, error) {
	args := d.arguments()
	return d.count(ctx, args, inCategory(args, d.bun.NewSelect().Model((*ProductRow)(nil)), category))
}

func inCategory(args *arguments, q *bun.SelectQuery, category *string) *bun.SelectQuery {
	if category != nil {
		q.Where("category = ?", args.add(*category))
	}
	return q
}

// RelatedProducts returns, for each product, up to first other products of its category in ascending
// id order. It sends one statement for all.
func (d *DB) RelatedProducts(ctx context.Context, of []*Product, first int) ([][]*Product, error) {
	categories := make([]string, 0, len(of))
	for _, p := range of {
		categories = append(categories, p.Category)
	}
	slices.Sort(categories)
	args := d.arguments()
	condition, values := isIn(args, "category", slices.Compact(categories))
	ranked := d.bun.NewSelect().Model((*ProductRow)(nil)).Column("id", "name", "description", "category").
		ColumnExpr("row_number() OVER (PARTITION BY category ORDER BY id) AS place").Where(condition, values...)
	// One more than requested of each category, since the product itself is left out.
	q := d.bun.NewSelect().TableExpr("(?) AS ranked", ranked).Column("id", "name", "description", "category").Where("place <= ?", args.add(first+1))
	rows, _, err := read[ProductRow](ctx, args, "r.id", q)
	if err != nil {
		return nil, err
	}
	related := make([][]*Product, len(of))
	for i, p := range of {
		related[i] = []*Product{}
		for _, r := range rows {
			if r.Category == p.Category && r.ID != p.ID && len(related[i]) < first {
				related[i] = append(related[i], r.Product())
			}
		}
	}
	return related, nil
}

// RatingsByProduct sums the reviews of each product. A product without reviews has a zero Rating.
func (d *DB) RatingsByProduct(ctx context.Context, ids []int64) (map[int64]*Rating, cache.Snapshot, error) {
	type sum struct {
		ProductID  int64
		Sum, Count int64
	}
	args := d.arguments()
	condition, values := isIn(args, "product_id", ids)
	q := d.bun.NewSelect().Table("reviews").Column("product_id").ColumnExpr("sum(rating) AS sum").ColumnExpr("count(*) AS count").
		Where(condition, values...).Group("product_id")
	rows, seen, err := read[sum](ctx, args, "", q)
	ratings := make(map[int64]*Rating, len(ids))
	for _, id := range ids {
		ratings[id] = &Rating{}
	}
	for _, r := range rows {
		ratings[r.ProductID] = &Rating{r.Sum, r.Count}
	}
	return ratings, seen, err
}

// UpdateProduct changes a product and returns the new row.
func (d *DB) UpdateProduct(ctx context.Context, id int64, patch ProductPatch) (*Product, Commit, error) {
	var row struct {
		ProductRow `bun:",extend"`
		returned   `bun:",extend"`
	}
	columns := map[string]*string{"name": patch.Name, "description": patch.Description, "category": patch.Category}
	maps.DeleteFunc(columns, func(_ string, value *string) bool { return value == nil })
	c, err := d.updateRow(ctx, "products", id, slices.Sorted(maps.Keys(columns)), &row.returned, func(ctx context.Context, in bun.IDB) error {
		args := d.argumentsIn(in)
		q := d.updateOf(in, args, (*ProductRow)(nil), id)
		for _, column := range slices.Sorted(maps.Keys(columns)) {
			set(args, q, column, columns[column])
		}
		err := q.Returning("?", d.returningRow("id", "name", "description", "category")).Conn(args.conn()).Scan(ctx, &row)
		return found(err, "id", "product", id)
	})
	return row.Product(), c, err
}

// SetPrice changes the price of a product.
func (d *DB) SetPrice(ctx context.Context, id int64, p Price) (Commit, error) {
	return d.setProduct(ctx, id, map[string]any{"price_cents": p.Cents, "currency": p.Currency})
}

// SetStock changes how many pieces of a product are in stock.
func (d *DB) SetStock(ctx context.Context, id int64, stock int) (Commit, error) {
	return d.setProduct(ctx, id, map[string]any{"stock": stock})
}

func (d *DB) setProduct(ctx context.Context, id int64, values map[string]any) (Commit, error) {
	columns := slices.Sorted(maps.Keys(values))
	var row returned
	return d.updateRow(ctx, "products", id, columns, &row, func(ctx context.Context, in bun.IDB) error {
		args := d.argumentsIn(in)
		q := d.updateOf(in, args, (*ProductRow)(nil), id)
		for _, c := range columns {
			q.Set("? = ?", bun.Ident(c), args.add(values[c]))
		}
		err := q.Returning("?", d.returning(outbox.Update)).Conn(args.conn()).Scan(ctx, &row)
		return translate(found(err, "productId", "product", id), "")
	})
}
