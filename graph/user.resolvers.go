package graph

import (
	"context"
	"fieldcache/dataloader"
	"fieldcache/db"
	"fieldcache/graph/generated"
	"fieldcache/graph/model"
)

func (r *mutationResolver) CreateUser(ctx context.Context, input model.CreateUserInput) (*db.User, error) {
	if err := ViewerFrom(ctx).admin(); err != nil {
		return nil, err
	}
	u := &db.User{Name: input.Name, Email: input.Email, Bio: input.Bio.Value(), CountryCode: input.CountryCode.Value()}
	if err := checkUser(&u.Name, &u.Email, u.Bio, u.CountryCode); err != nil {
		return nil, err
	}
	c, err := r.DB.CreateUser(ctx, u)
	return u, r.written(ctx, c, err)
}

func (r *mutationResolver) UpdateUser(ctx context.Context, id string, input model.UpdateUserInput) (*db.User, error) {
	n, err := parseID("id", id)
	if err != nil {
		return nil, err
	}
	if err := ViewerFrom(ctx).is(n); err != nil {
		return nil, err
	}
	var patch db.UserPatch
	if patch.Name, err = required("name", input.Name); err != nil {
		return nil, err
	}
	if patch.Email, err = required("email", input.Email); err != nil {
		return nil, err
	}
	patch.Bio, patch.CountryCode = optional(input.Bio), optional(input.CountryCode)
	if err := checkUser(patch.Name, patch.Email, input.Bio.Value(), input.CountryCode.Value()); err != nil {
		return nil, err
	}
	u, c, err := r.DB.UpdateUser(ctx, n, patch)
	return u, r.written(ctx, c, err)
}

func (r *mutationResolver) DeleteUser(ctx context.Context, id string) (string, error) {
	n, err := parseID("id", id)
	if err != nil {
		return "", err
	}
	if err := ViewerFrom(ctx).is(n); err != nil {
		return "", err
	}
	c, err := r.DB.DeleteUser(ctx, n)
	return id, r.written(ctx, c, err)
}

func (r *queryResolver) User(ctx context.Context, id string) (*db.User, error) {
	n, err := parseID("id", id)
	if err != nil {
		return nil, err
	}
	return dataloader.For(ctx).User(ctx, n)
}

func (r *queryResolver) Users(ctx context.Context, first int, after *string) (*model.UserConnection, error) {
	w, err := parseWindow(usersCursor, first, after)
	if err != nil {
		return nil, err
	}
	page, err := dataloader.For(ctx).UserPage(ctx, w)
	if err != nil {
		return nil, err
	}
	return &model.UserConnection{IDs: page.IDs, PageInfo: pageInfo(usersCursor, page)}, nil
}

func (r *queryResolver) Me(ctx context.Context) (*db.User, error) {
	v := ViewerFrom(ctx)
	if v.ID == 0 {
		return nil, nil
	}
	return dataloader.For(ctx).User(ctx, v.ID)
}

func (r *userResolver) Email(ctx context.Context, obj *db.User) (*string, error) {
	if !ViewerFrom(ctx).sees(obj.ID) {
		return nil, nil
	}
	return &obj.Email, nil
}

func (r *userResolver) Country(ctx context.Context, obj *db.User) (*db.Country, error) {
	if obj.CountryCode == nil {
		return nil, nil
	}
	return dataloader.For(ctx).Country(ctx, *obj.CountryCode)
}

func (r *userResolver) Reviews(ctx context.Context, obj *db.User, first int, after *string) (*model.ReviewConnection, error) {
	return reviews(ctx, db.ReviewList{AuthorID: obj.ID}, first, after)
}

func (r *userResolver) Orders(ctx context.Context, obj *db.User, first int, after *string) (*model.OrderConnection, error) {
	if !ViewerFrom(ctx).sees(obj.ID) {
		return nil, nil
	}
	w, err := parseWindow(ordersCursor, first, after)
	if err != nil {
		return nil, err
	}
	page, err := dataloader.For(ctx).OrderPage(ctx, obj.ID, w)
	if err != nil {
		return nil, err
	}
	return &model.OrderConnection{IDs: page.IDs, CustomerID: obj.ID, PageInfo: pageInfo(ordersCursor, page)}, nil
}

func (r *userConnectionResolver) Nodes(ctx context.Context, obj *model.UserConnection) ([]*db.User, error) {
	return dataloader.For(ctx).Users(ctx, obj.IDs)
}

func (r *userConnectionResolver) TotalCount(ctx context.Context, obj *model.UserConnection) (int, error) {
	return dataloader.For(ctx).UserCount(ctx)
}

func (r *Resolver) User() generated.UserResolver { return &userResolver{r} }

func (r *Resolver) UserConnection() generated.UserConnectionResolver {
	return &userConnectionResolver{r}
}

type (
	userResolver           struct{ *Resolver }
	userConnectionResolver struct{ *Resolver }
)
