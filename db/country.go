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

// CountriesByCode answers the countries with these codes.
func (d *DB) CountriesByCode(ctx context.Context, codes []string) (map[string]*Country, error) {
	var rows []*Country
	err := d.bun.NewSelect().Model(&rows).Where("code IN (?)", bun.List(codes)).Scan(ctx)
	return byKey(rows, func(c *Country) string { return c.Code }), translate(err, "")
}

// CountryCodes answers the codes of all countries, in order.
func (d *DB) CountryCodes(ctx context.Context) ([]string, error) {
	codes := []string{}
	err := d.bun.NewSelect().Model((*Country)(nil)).Column("code").Order("code").Scan(ctx, &codes)
	return codes, translate(err, "")
}
