package db

import (
	"context"
	"strings"
	"unicode/utf8"

	"github.com/uptrace/bun"

	"fieldcache/cache"
)

// Hit is a result of a search.
type Hit struct {
	Kind string `json:"kind"` // user or product
	ID   int64  `json:"id"`
}

// The kinds of hits.
const (
	UserHit    = "user"
	ProductHit = "product"
)

// Search returns up to first users and products whose name contains the text. Users and products
// alternate while there are both, each in ascending id order. A text of one or two characters, too
// short for the trigram index, matches only the beginning of a name.
func (d *DB) Search(ctx context.Context, text string, first int) ([]Hit, cache.Snapshot, error) {
	pattern := strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(text) + "%"
	if utf8.RuneCountInString(text) > 2 {
		pattern = "%" + pattern
	}
	// rank is a hit's position among hits of its kind.
	type ranked struct {
		Hit  `bun:",extend"`
		Rank int
	}
	const part = "SELECT kind, id, row_number() OVER (ORDER BY id) AS rank FROM " +
		"(SELECT ? AS kind, id FROM ? WHERE lower(name) LIKE lower(?) ESCAPE '!' ORDER BY id LIMIT ?) AS w"
	rows, seen, err := read[ranked](ctx, d.arguments(), "rank, kind DESC", d.bun.NewRaw(
		"SELECT kind, id, rank FROM ("+part+" UNION ALL "+part+") AS hits ORDER BY rank, kind DESC LIMIT ?",
		UserHit, bun.Ident("users"), pattern, first, ProductHit, bun.Ident("products"), pattern, first, first))
	hits := make([]Hit, len(rows))
	for i, r := range rows {
		hits[i] = r.Hit
	}
	return hits, seen, err
}
