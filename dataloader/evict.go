package dataloader

import (
	"slices"

	"fieldcache/cache"
	"fieldcache/cache/outbox"
)

// Evictions names exactly what changes of the database made untrue: rows, their parts, lists, counts, and
// the answer that something is not there. Everything goes this way, what a mutation of ours wrote and what the
// outbox says that somebody else did. It names each key and tag once.
func Evictions(changes ...outbox.Change) cache.Eviction {
	u := untrue{keys: map[cache.Key]bool{}, tags: map[cache.Tag]bool{}}
	for _, c := range changes {
		t, ok := noted[c.Table]
		switch {
		case !ok: // nothing that is cached is made of it
		case c.Rows == nil || slices.ContainsFunc(c.Rows, t.isNobody):
			u.tag(t.types...)
		default:
			for _, r := range c.Rows {
				if r.Was != nil && r.Is != nil && r.Was[t.key] != r.Is[t.key] {
					t.row(&u, outbox.Row{Was: r.Was})
					t.row(&u, outbox.Row{Is: r.Is})
				} else {
					t.row(&u, r)
				}
			}
		}
	}
	return u.Eviction
}

// notedTable says what follows from a change of a table.
type notedTable struct {
	types []cache.Tag // of all that is made of its rows
	key   string      // the column that tells rows apart
	// row adds what a row's change made untrue. A row that was and is has the same key.
	row func(*untrue, outbox.Row)
}

// isNobody reports whether a row does not say which it is: our triggers always note its key.
func (t notedTable) isNobody(r outbox.Row) bool {
	without := func(v outbox.Values) bool { return v[t.key] == "" }
	return r.Was == nil && r.Is == nil || slices.ContainsFunc(sides(r), without)
}

var noted = map[string]notedTable{
	"countries":   {countryType, "code", countryRow},
	"users":       {userType, "id", userRow},
	"products":    {productType, "id", productRow},
	"reviews":     {reviewType, "id", reviewRow},
	"orders":      {orderType, "id", orderRow},
	"order_lines": {orderType, "order_id", orderLineRow},
}

func countryRow(u *untrue, r outbox.Row) {
	u.key(countryKey(either(r)["code"]))
	if cameOrWent(r) {
		u.tag(countries)
	}
}

func userRow(u *untrue, r outbox.Row) {
	u.key(cache.Entity(userKind, either(r)["id"]))
	if cameOrWent(r) {
		u.list(users)
	}
	if cameOrWent(r) || changed(r, "name") {
		u.tag(userNames)
	}
}

func productRow(u *untrue, r outbox.Row) {
	product := cache.Entity(productKind, either(r)["id"])
	moved := cameOrWent(r)
	if moved || changed(r, "name", "description", "category") {
		u.key(product)
	}
	if moved || changed(r, "price_cents", "currency") {
		u.key(product.Part(pricePart))
	}
	if moved || changed(r, "stock") {
		u.key(product.Part(stockPart))
	}
	if moved || changed(r, "name") {
		u.tag(productNames)
	}
	if moved {
		u.list(products)
	}
	if moved || changed(r, "category") {
		for _, v := range sides(r) {
			category := v["category"]
			u.list(productsIn(&category))
		}
	}
}

func reviewRow(u *untrue, r outbox.Row) {
	u.key(cache.Entity(reviewKind, either(r)["id"]))
	moved := cameOrWent(r)
	for _, v := range sides(r) {
		product := cache.Entity(productKind, v["product_id"])
		if moved || changed(r, "product_id", "rating") {
			u.key(product.Part(ratingPart))
		}
		if moved || changed(r, "product_id") {
			u.list(reviewsOf(product))
		}
		if author, ok := v["author_id"]; ok && (moved || changed(r, "author_id")) {
			u.list(reviewsBy(cache.Entity(userKind, author)))
		}
	}
}

func orderRow(u *untrue, r outbox.Row) {
	u.key(cache.Entity(orderKind, either(r)["id"]))
	if cameOrWent(r) || changed(r, "customer_id") {
		for _, v := range sides(r) {
			u.list(ordersOf(cache.Entity(userKind, v["customer_id"])))
		}
	}
}

func orderLineRow(u *untrue, r outbox.Row) {
	u.key(cache.Entity(orderKind, either(r)["order_id"]))
}

// cameOrWent reports whether the row is new or gone.
func cameOrWent(r outbox.Row) bool { return r.Was == nil || r.Is == nil }

// changed reports whether one of the columns changed.
func changed(r outbox.Row, columns ...string) bool {
	return slices.ContainsFunc(columns, func(c string) bool { return slices.Contains(r.Changed, c) })
}

// either is the row as it is or, if it is gone, was: for what both have in common.
func either(r outbox.Row) outbox.Values {
	if r.Is != nil {
		return r.Is
	}
	return r.Was
}

// sides are what the row was and is.
func sides(r outbox.Row) []outbox.Values {
	return slices.DeleteFunc([]outbox.Values{r.Was, r.Is}, func(v outbox.Values) bool { return v == nil })
}

// untrue is an eviction that names nothing twice.
type untrue struct {
	cache.Eviction
	keys map[cache.Key]bool
	tags map[cache.Tag]bool
}

func (u *untrue) key(k cache.Key) {
	if !u.keys[k] {
		u.keys[k] = true
		u.Keys = append(u.Keys, k)
	}
}

func (u *untrue) tag(tags ...cache.Tag) {
	for _, t := range tags {
		if !u.tags[t] {
			u.tags[t] = true
			u.Tags = append(u.Tags, t)
		}
	}
}

// list notes that a collection gained or lost members: its windows, by the tag, and its count.
func (u *untrue) list(of cache.Tag) {
	u.key(of.Count())
	u.tag(of)
}
