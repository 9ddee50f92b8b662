package dataloader

import (
	"context"

	"fieldcache/cache"
	"fieldcache/db"
)

type countries struct {
	byCode *cache.Kind[string, *db.Country]
	codes  *cache.Kind[struct{}, []string]
}

const allCountries cache.Tag = "{countries}"

func newCountries(s *cache.Kinds, d *db.DB) countries {
	types := []string{"Country"}
	return countries{
		byCode: cache.NewKind(s, cache.KindOptions[string, *db.Country]{
			Of: "Country", Types: types, Load: d.CountriesByCode,
			Name: func(code string) (cache.Key, cache.Tag) { return cache.Entity("country", code), "" },
		}),
		codes: cache.NewKind(s, cache.KindOptions[struct{}, []string]{
			Of: "Query.countries", Types: types,
			Name: func(struct{}) (cache.Key, cache.Tag) { return allCountries.List(), allCountries },
			Load: cache.OneByOne(func(ctx context.Context, _ struct{}) ([]string, cache.Snapshot, error) { return d.CountryCodes(ctx) }),
		}),
	}
}

// Country returns a country, or nil if there is none.
func (l *Loaders) Country(ctx context.Context, code string) (*db.Country, error) {
	return l.countries.byCode.Get(ctx, l.batch, code)
}

// Countries returns all countries, sorted by code.
func (l *Loaders) Countries(ctx context.Context) ([]*db.Country, error) {
	codes, err := l.countries.codes.Get(ctx, l.batch, struct{}{})
	if err != nil {
		return nil, err
	}
	return l.countries.byCode.Many(ctx, l.batch, codes)
}
