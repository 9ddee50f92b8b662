package graph

import (
	"context"
	"fieldcache/dataloader"
	"fieldcache/graph/generated"
	"fieldcache/graph/model"
)

func (r *queryResolver) Search(ctx context.Context, text string, first int) ([]model.SearchResult, error) {
	if err := between("first", first, 1, maxFirst); err != nil {
		return nil, err
	}
	if err := checkText("text", text, 1, maxName); err != nil {
		return nil, err
	}
	found, err := dataloader.For(ctx).Search(ctx, text, first)
	results := make([]model.SearchResult, len(found))
	for i, f := range found {
		results[i] = f
	}
	return results, err
}

func (r *Resolver) Mutation() generated.MutationResolver { return &mutationResolver{r} }

func (r *Resolver) Query() generated.QueryResolver { return &queryResolver{r} }

type (
	mutationResolver struct{ *Resolver }
	queryResolver    struct{ *Resolver }
)
