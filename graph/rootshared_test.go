package graph_test

import (
	"context"
	"slices"
	"testing"

	"github.com/99designs/gqlgen/graphql"
)

// A loader of a project, for one request, reads rows with the context of the first field that asks and
// gives them to other root fields. Their rows are unknown as well.
func TestRootFieldsThatShareALoaderAreNotStored(t *testing.T) {
	t.Parallel()
	var k *rootShop
	read := make(chan string, 1)
	k = newRootShop(t, func(ctx context.Context, next graphql.Resolver) (any, error) {
		switch f := graphql.GetFieldContext(ctx); {
		case f.Object == "User" && f.Field.Name == "bio":
			name, err := ways["by database/sql"](ctx, k)
			read <- name
			return &name, err
		case f.Object == "Country" && f.Field.Name == "name":
			select {
			case name := <-read:
				return name, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		return next(ctx)
	})
	k.get(t, `{ user(id: 42) { bio } country(code: "GB") { name } }`)
	read <- "a later name"
	if body, _, resolved := k.get(t, `{ country(code: "GB") { name } product(id: 8) { name } }`); !slices.Contains(resolved, "country") {
		t.Errorf("resolved %v, want country, which depended on a statement of another root field: %s", resolved, body)
	}
}
