package dataloader

import (
	"context"
	"strconv"

	"fieldcache/cache"
	"fieldcache/db"
)

type search struct {
	hits *cache.Kind[searchFor, []db.Hit]
}

type searchFor struct {
	text  string
	first int
}

const allSearches cache.Tag = "{search}"

func newSearch(s *cache.Kinds, d *db.DB) search {
	return search{cache.NewKind(s, cache.KindOptions[searchFor, []db.Hit]{
		Of: "Query.search", Types: []string{"User", "Product"},
		Name: func(s searchFor) (cache.Key, cache.Tag) {
			return allSearches.List("text", s.text, "first", strconv.Itoa(s.first)), ""
		},
		Any: map[string]cache.Tag{"users": allUsers + ":name", "products": allProducts + ":name"},
		Load: cache.OneByOne(func(ctx context.Context, s searchFor) ([]db.Hit, cache.Snapshot, error) {
			return d.Search(ctx, s.text, s.first)
		}),
	})}
}

// Search returns up to first users and products that match a text, in the order of [db.DB.Search]. Each
// element is a *db.User or a *db.Product.
func (l *Loaders) Search(ctx context.Context, text string, first int) ([]any, error) {
	hits, err := l.search.hits.Get(ctx, l.batch, searchFor{text, first})
	if err != nil {
		return nil, err
	}
	requests := make([]cache.Request, len(hits))
	for i, h := range hits {
		if h.Kind == db.UserHit {
			requests[i] = l.users.byID.Request(h.ID)
		} else {
			requests[i] = l.products.byID.Request(h.ID)
		}
	}
	return cache.LoadAll[any](ctx, l.batch, requests)
}
