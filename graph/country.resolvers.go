package graph

import (
	"context"
	"fieldcache/dataloader"
	"fieldcache/db"
)

func (r *queryResolver) Countries(ctx context.Context) ([]*db.Country, error) {
	return dataloader.For(ctx).Countries(ctx)
}

func (r *queryResolver) Country(ctx context.Context, code string) (*db.Country, error) {
	if err := checkCountry("code", code); err != nil {
		return nil, err
	}
	return dataloader.For(ctx).Country(ctx, code)
}
