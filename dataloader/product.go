package dataloader

import (
	"context"

	"fieldcache/cache"
	"fieldcache/db"
)

type products struct {
	byID    *cache.Kind[int64, *db.Product]
	prices  *cache.Kind[int64, *db.Price]
	stocks  *cache.Kind[int64, *db.Stock]
	ratings *cache.Kind[int64, *db.Rating]
	pages   *cache.Kind[productWindow, *db.Page]
	counts  *cache.Kind[category, int]
}

// category is a category of products, or all categories.
type category struct {
	name string
	any  bool
}

func categoryOf(name *string) category {
	if name == nil {
		return category{any: true}
	}
	return category{name: *name}
}

func matchedCategory(c cache.Columns) (category, bool) {
	name, ok := c.Text("category")
	return category{name, !ok}, true
}

func (c category) ptr() *string {
	if c.any {
		return nil
	}
	return &c.name
}

const allProducts cache.Tag = "{products}"

// list returns the tag of the list of the category's products.
func (c category) list() cache.Tag {
	if c.any {
		return allProducts
	}
	return allProducts.Where("category", c.name)
}

type productWindow struct {
	category
	db.Window
}

func productKey(id int64) cache.Key { return entity("product", id) }

// The names of the parts of a product.
const (
	pricePart  = "price"
	stockPart  = "stock"
	ratingPart = "rating"
)

func newProducts(s *cache.Kinds, d *db.DB) products {
	types := []string{"Product"}
	row := cache.NewRow(s, cache.RowOptions[int64, *db.ProductRow]{
		Types: types, Key: productKey,
		Load: func(ctx context.Context, ids []int64, parts []string) (map[int64]*db.ProductRow, cache.Snapshot, error) {
			var columns db.ProductColumns
			for _, p := range parts {
				switch p {
				case pricePart:
					columns.Price = true
				case stockPart:
					columns.Stock = true
				default:
					columns.Product = true
				}
			}
			return d.ProductsByID(ctx, ids, columns)
		},
	})
	return products{
		byID:   cache.NewPart(row, cache.PartOptions[*db.ProductRow, *db.Product]{Of: "Product", Value: (*db.ProductRow).Product}),
		prices: cache.NewPart(row, cache.PartOptions[*db.ProductRow, *db.Price]{Of: "Product.price", Name: pricePart, Value: (*db.ProductRow).Price}),
		stocks: cache.NewPart(row, cache.PartOptions[*db.ProductRow, *db.Stock]{Of: "Product.stock", Name: stockPart, Value: (*db.ProductRow).InStock}),
		ratings: cache.NewKind(s, cache.KindOptions[int64, *db.Rating]{
			Of: "Product.averageRating", Types: []string{"Product", "Review"}, Load: d.RatingsByProduct,
			Name: func(id int64) (cache.Key, cache.Tag) { return productKey(id).Part(ratingPart), "" },
		}),
		pages: cache.NewKind(s, cache.KindOptions[productWindow, *db.Page]{
			Of: "Query.products", Types: types,
			Name: func(w productWindow) (cache.Key, cache.Tag) {
				list := w.list()
				return window(list, w.Window), list
			},
			Match: func(c cache.Columns) (w productWindow, ok bool) {
				w.category, ok = matchedCategory(c)
				return w, ok
			},
			Load: cache.OneByOne(func(ctx context.Context, w productWindow) (*db.Page, cache.Snapshot, error) {
				return d.ProductPage(ctx, w.ptr(), w.Window)
			}),
		}),
		counts: cache.NewCount(s, cache.CountOptions[category]{
			Of: "ProductConnection.totalCount", Rows: "Query.products", Types: types, List: category.list, Match: matchedCategory,
			Load: cache.OneByOne(func(ctx context.Context, c category) (int, cache.Snapshot, error) {
				return d.CountProducts(ctx, c.ptr())
			}),
		}),
	}
}

// Product returns a product, or nil if there is none.
func (l *Loaders) Product(ctx context.Context, id int64) (*db.Product, error) {
	return l.products.byID.Get(ctx, l.batch, id)
}

// Products returns the products that exist, in the order of ids.
func (l *Loaders) Products(ctx context.Context, ids []int64) ([]*db.Product, error) {
	return l.products.byID.Many(ctx, l.batch, ids)
}

// Price returns a product's price, or nil if there is no such product.
func (l *Loaders) Price(ctx context.Context, product int64) (*db.Price, error) {
	return l.products.prices.Get(ctx, l.batch, product)
}

// Stock returns the number of pieces of a product in stock, or nil if there is no such product.
func (l *Loaders) Stock(ctx context.Context, product int64) (*db.Stock, error) {
	return l.products.stocks.Get(ctx, l.batch, product)
}

// Rating returns the number and the sum of the ratings of a product.
func (l *Loaders) Rating(ctx context.Context, product int64) (*db.Rating, error) {
	return l.products.ratings.Get(ctx, l.batch, product)
}

// ProductPage returns a window of a category's products, or of all if category is nil.
func (l *Loaders) ProductPage(ctx context.Context, category *string, w db.Window) (*db.Page, error) {
	return l.products.pages.Get(ctx, l.batch, productWindow{categoryOf(category), w})
}

// ProductCount returns the number of a category's products, or of all if category is nil.
func (l *Loaders) ProductCount(ctx context.Context, category *string) (int, error) {
	return l.products.counts.Get(ctx, l.batch, categoryOf(category))
}
