package dataloader

import (
	"fieldcache/cache"
	"fieldcache/db"
)

// Each function names exactly what a change of the database made untrue: rows, lists, counts, and the
// answer that something is not there.

// list is what becomes untrue when a collection gains or loses members: its windows, by the tag, and
// its count.
func list(of cache.Tag) cache.Eviction {
	return cache.Eviction{Keys: []cache.Key{of.Count()}, Tags: []cache.Tag{of}}
}

// evictions puts several together.
func evictions(evs ...cache.Eviction) (sum cache.Eviction) {
	for _, ev := range evs {
		sum.Add(ev)
	}
	return sum
}

func keys(keys ...cache.Key) cache.Eviction { return cache.Eviction{Keys: keys} }
func tags(tags ...cache.Tag) cache.Eviction { return cache.Eviction{Tags: tags} }

// UserCreated is what the creation of a user made untrue.
func UserCreated(id int64) cache.Eviction {
	return evictions(keys(userKey(id)), list(users), tags(userNames))
}

// UserChanged is what a change of a user made untrue.
func UserChanged(id int64, renamed bool) cache.Eviction {
	ev := keys(userKey(id))
	if renamed {
		ev.Add(tags(userNames))
	}
	return ev
}

// UserDeleted is what the deletion of a user made untrue.
func UserDeleted(id int64, gone db.DeletedUser) cache.Eviction {
	ev := evictions(keys(userKey(id)), list(users), tags(userNames), list(reviewsBy(id)), list(ordersOf(id)))
	for _, review := range gone.Reviews {
		ev.Add(keys(reviewKey(review)))
	}
	for _, order := range gone.Orders {
		ev.Add(keys(orderKey(order)))
	}
	return ev
}

// ProductChanged is what a change of a product's name, description or category made untrue.
func ProductChanged(before, after *db.Product) cache.Eviction {
	ev := keys(productKey(after.ID))
	if before.Name != after.Name {
		ev.Add(tags(productNames))
	}
	if before.Category != after.Category {
		ev.Add(list(productsIn(&before.Category)))
		ev.Add(list(productsIn(&after.Category)))
	}
	return ev
}

// PriceChanged is what a change of a product's price made untrue.
func PriceChanged(product int64) cache.Eviction { return keys(productKey(product).Part(pricePart)) }

// StockChanged is what a change of a product's stock made untrue.
func StockChanged(product int64) cache.Eviction { return keys(productKey(product).Part(stockPart)) }

// ReviewAdded is what a new review made untrue.
func ReviewAdded(r *db.Review) cache.Eviction {
	ev := evictions(keys(reviewKey(r.ID), productKey(r.ProductID).Part(ratingPart)), list(reviewsOf(r.ProductID)))
	if r.AuthorID != nil {
		ev.Add(list(reviewsBy(*r.AuthorID)))
	}
	return ev
}

// OrderPlaced is what a new order made untrue.
func OrderPlaced(o *db.Order) cache.Eviction {
	ev := evictions(keys(orderKey(o.ID)), list(ordersOf(o.CustomerID)))
	seen := map[int64]bool{}
	for _, l := range o.Lines {
		if !seen[l.ProductID] {
			seen[l.ProductID] = true
			ev.Add(StockChanged(l.ProductID))
		}
	}
	return ev
}
