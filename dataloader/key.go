package dataloader

import (
	"strconv"

	"fieldcache/cache"
	"fieldcache/db"
)

// The tags of what is made of a type's rows.
var (
	countryType = []cache.Tag{cache.Type("Country")}
	userType    = []cache.Tag{cache.Type("User")}
	productType = []cache.Tag{cache.Type("Product")}
	ratingTypes = []cache.Tag{cache.Type("Product"), cache.Type("Review")}
	reviewType  = []cache.Tag{cache.Type("Review")}
	orderType   = []cache.Tag{cache.Type("Order")}
)

// The names of the parts of a product that have a time to live of their own.
const (
	pricePart  = "price"
	stockPart  = "stock"
	ratingPart = "rating"
)

func entity(kind string, id int64) cache.Key { return cache.Entity(kind, strconv.FormatInt(id, 10)) }

// The kinds of entities.
const (
	userKind    = "user"
	productKind = "product"
	reviewKind  = "review"
	orderKind   = "order"
	countryKind = "country"
)

func userKey(id int64) cache.Key       { return entity(userKind, id) }
func productKey(id int64) cache.Key    { return entity(productKind, id) }
func reviewKey(id int64) cache.Key     { return entity(reviewKind, id) }
func orderKey(id int64) cache.Key      { return entity(orderKind, id) }
func countryKey(code string) cache.Key { return cache.Entity(countryKind, code) }

func reviewsBy(author cache.Key) cache.Tag  { return author.Collection("reviews") }
func reviewsOf(product cache.Key) cache.Tag { return product.Collection("reviews") }
func ordersOf(customer cache.Key) cache.Tag { return customer.Collection("orders") }

// What users and products are found by.
var (
	users        = cache.All("users")
	products     = cache.All("products")
	countries    = cache.All("countries")
	userNames    = cache.Tag(users + ":name")
	productNames = cache.Tag(products + ":name")
	searches     = cache.All("search")
)

// productsIn is the list of a category's products; nil is the list of all.
func productsIn(category *string) cache.Tag {
	if category == nil {
		return products
	}
	return products.Where("category", *category)
}

// window is the key of a window on a collection.
func window(of cache.Tag, w db.Window) cache.Key {
	if w.After == 0 {
		return of.List("first", strconv.Itoa(w.First))
	}
	return of.List("first", strconv.Itoa(w.First), "after", strconv.FormatInt(w.After, 10))
}

// tagged is a collection's own tag beside the tags of the types it is made of.
func tagged(of cache.Tag, types ...cache.Tag) []cache.Tag {
	return append([]cache.Tag{of}, types...)
}
