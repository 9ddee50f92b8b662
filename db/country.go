package db

import (
	"context"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/schema"

	"fieldcache/cache"
)

// Country is a row of countries.
type Country struct {
	bun.BaseModel `bun:"table:countries" json:"-"`

	Code string `bun:",pk" json:"code"` // ISO 3166-1, two letters
	Name string `json:"name"`
}

// CountriesByCode returns the countries with these codes. Each is one lookup in the index: for a
// list, PostgreSQL would read the whole table, since it is small.
func (d *DB) CountriesByCode(ctx context.Context, codes []string) (map[string]*Country, cache.Snapshot, error) {
	args := d.arguments()
	var wanted schema.QueryAppender
	if d.prepares {
		wanted = bun.SafeQuery("unnest(?::text[]) AS wanted (column1)", args.add(codes))
	} else {
		rows := make([]bun.TupleValues, len(codes))
		for i, c := range codes {
			rows[i] = bun.Tuple([]string{c})
		}
		wanted = bun.SafeQuery("(VALUES ?) AS wanted", bun.List(rows))
	}
	var rows []struct {
		Seen, Code string
		Name       *string // nil: there is none
	}
	err := d.readAgain(ctx, func(ctx context.Context) error {
		return d.bun.NewRaw("SELECT ? AS seen, column1 AS code, (SELECT name FROM countries WHERE code = column1) AS name FROM ?",
			bun.Safe(d.Outbox().Seen()), wanted).Conn(args.conn()).Scan(ctx, &rows)
	})
	if err != nil {
		return nil, cache.Snapshot{}, err
	}
	countries := make(map[string]*Country, len(rows))
	for _, r := range rows {
		if r.Name != nil {
			countries[r.Code] = &Country{Code: r.Code, Name: *r.Name}
		}
	}
	seen, err := cache.ParseSnapshot(rows[0].Seen)
	return countries, seen, err
}

// CountryCodes returns the codes of all countries, in order.
func (d *DB) CountryCodes(ctx context.Context) ([]string, cache.Snapshot, error) {
	// Ordered inside as well: PostgreSQL then uses the index.
	rows, seen, err := read[Country](ctx, d.arguments(), "code", d.bun.NewSelect().Model((*Country)(nil)).Column("code").Order("code"))
	codes := make([]string, len(rows))
	for i, r := range rows {
		codes[i] = r.Code
	}
	return codes, seen, err
}
