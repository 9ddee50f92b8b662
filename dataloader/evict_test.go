package dataloader_test

import (
	"fmt"
	"testing"

	"fieldcache/cache"
	"fieldcache/dataloader"
	"fieldcache/db"
)

func TestEvictions(t *testing.T) {
	t.Parallel()
	author := int64(42)
	for name, c := range map[string]struct {
		got  cache.Eviction
		want string
	}{
		"a user is created": {dataloader.UserCreated(51), "[user:51 {users}:count] [{users} {users}:name]"},
		"a user is changed": {dataloader.UserChanged(42, false), "[user:42] []"},
		"a user is renamed": {dataloader.UserChanged(42, true), "[user:42] [{users}:name]"},
		"a user is deleted": {dataloader.UserDeleted(42, db.DeletedUser{Reviews: []int64{9}, Orders: []int64{3}}),
			"[user:42 {users}:count {user:42}:reviews:count {user:42}:orders:count review:9 order:3] [{users} {users}:name {user:42}:reviews {user:42}:orders]"},
		"a product is described": {dataloader.ProductChanged(&db.Product{ID: 7, Name: "a", Category: "x"}, &db.Product{ID: 7, Name: "a", Category: "x", Description: "new"}), "[product:7] []"},
		"a product is renamed":   {dataloader.ProductChanged(&db.Product{ID: 7, Name: "a", Category: "x"}, &db.Product{ID: 7, Name: "b", Category: "x"}), "[product:7] [{products}:name]"},
		"a product moves": {dataloader.ProductChanged(&db.Product{ID: 7, Category: "x"}, &db.Product{ID: 7, Category: "a b"}),
			"[product:7 {products}:category=x:count {products}:category=a%20b:count] [{products}:category=x {products}:category=a%20b]"},
		"a price":  {dataloader.PriceChanged(7), "[{product:7}:price] []"},
		"a stock":  {dataloader.StockChanged(7), "[{product:7}:stock] []"},
		"a review": {dataloader.ReviewAdded(&db.Review{ID: 9, ProductID: 7, AuthorID: &author}), "[review:9 {product:7}:rating {product:7}:reviews:count {user:42}:reviews:count] [{product:7}:reviews {user:42}:reviews]"},
		"an order": {dataloader.OrderPlaced(&db.Order{ID: 3, CustomerID: 42, Lines: []*db.OrderLine{{ProductID: 7}, {ProductID: 8}, {ProductID: 7}}}),
			"[order:3 {user:42}:orders:count {product:7}:stock {product:8}:stock] [{user:42}:orders]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := fmt.Sprint(c.got.Keys, c.got.Tags); got != c.want {
				t.Errorf("evicts %s,\nwant   %s", got, c.want)
			}
		})
	}
}
