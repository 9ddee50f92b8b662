package db

import (
	"context"

	"github.com/uptrace/bun"
)

// Country is a row of countries.
type Country struct {
	bun.BaseModel `bun:"table:countries" json:"-"`

	Code string `bun:",pk" json:"code"` // ISO 3166-1, two letters
	Name string `json:"name"`
}

// CountriesByCode answers the countries with these codes. Each is a look of its own into the index: given a
// list, PostgreSQL would rather read the whole table, small as it is.
func (d *DB) CountriesByCode(ctx context.Context, codes []string) (map[string]*Country, error) {
	wanted := make([]bun.TupleValues, len(codes))
	for i, c := range codes {
		wanted[i] = bun.Tuple([]string{c})
	}
	var rows []struct {
		Code string
		Name *string // nil: there is none
	}
	err := d.bun.NewRaw("SELECT column1 AS code, (SELECT name FROM countries WHERE code = column1) AS name FROM (VALUES ?) AS wanted",
		bun.List(wanted)).Scan(ctx, &rows)
	countries := make(map[string]*Country, len(rows))
	for _, r := range rows {
		if r.Name != nil {
			countries[r.Code] = &Country{Code: r.Code, Name: *r.Name}
		}
	}
	return countries, translate(err, "")
}

// CountryCodes answers the codes of all countries, in order.
func (d *DB) CountryCodes(ctx context.Context) ([]string, error) {
	codes := []string{}
	err := d.bun.NewSelect().Model((*Country)(nil)).Column("code").Order("code").Scan(ctx, &codes)
	return codes, translate(err, "")
}
