package guarded

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"github.com/99designs/gqlgen/graphql"
)

// Tables creates the project's tables with their first rows.
const Tables = `
CREATE TABLE accounts (id TEXT PRIMARY KEY, name TEXT NOT NULL, salary INTEGER NOT NULL);
CREATE TABLE visits (id TEXT PRIMARY KEY, account_id TEXT NOT NULL);
CREATE TABLE vaults (id TEXT PRIMARY KEY, content TEXT NOT NULL);
INSERT INTO accounts VALUES ('a1', 'Ann', 5000), ('a2', 'Bob', 3000);
INSERT INTO visits VALUES ('1', 'a1');
INSERT INTO vaults VALUES ('v1', 'gold');`

type roleKey struct{}

// WithRole returns a context of a request by someone who has a role.
func WithRole(ctx context.Context, role string) context.Context {
	return context.WithValue(ctx, roleKey{}, role)
}

// Role returns the role of who made a request, or "".
func Role(ctx context.Context) string {
	role, _ := ctx.Value(roleKey{}).(string)
	return role
}

// NewConfig returns the configuration of the project's schema.
func NewConfig(db *sql.DB) Config {
	return Config{Resolvers: &Resolver{DB: db}, Directives: DirectiveRoot{
		HasRole: func(ctx context.Context, _ any, next graphql.Resolver, role string) (any, error) {
			if Role(ctx) != role {
				return nil, errors.New("only for " + role)
			}
			return next(ctx)
		},
		Shout: func(ctx context.Context, _ any, next graphql.Resolver) (any, error) {
			v, err := next(ctx)
			if text, ok := v.(string); ok {
				return strings.ToUpper(text) + " " + Role(ctx), err
			}
			return v, err
		},
		Staff: func(ctx context.Context, _ any, next graphql.Resolver) (any, error) {
			if Role(ctx) == "" {
				return nil, errors.New("only for staff")
			}
			return next(ctx)
		},
		Local: func(ctx context.Context, _ any, next graphql.Resolver) (any, error) {
			v, err := next(ctx)
			if text, ok := v.(string); ok {
				return text + " the " + Role(ctx), err
			}
			return v, err
		},
	}}
}

// Resolver resolves the schema from a database.
type Resolver struct{ DB *sql.DB }

// Query implements [ResolverRoot].
func (r *Resolver) Query() QueryResolver { return queryResolver{r} }

type queryResolver struct{ *Resolver }

// Desk implements [ResolverRoot].
func (r *Resolver) Desk() DeskResolver { return deskResolver{r} }

// Drawer implements [ResolverRoot].
func (r *Resolver) Drawer() DrawerResolver { return drawerResolver{r} }

type (
	deskResolver   struct{ *Resolver }
	drawerResolver struct{ *Resolver }
)

func (deskResolver) Title(ctx context.Context, _ *Desk) (string, error) {
	return "the desk of " + Role(ctx), nil
}

func (deskResolver) Drawer(context.Context, *Desk) (*Drawer, error) { return &Drawer{}, nil }

func (drawerResolver) Letters(ctx context.Context, _ *Drawer) ([]string, error) {
	return []string{"to " + Role(ctx)}, nil
}

func (r *Resolver) accounts(ctx context.Context, rest string, args ...any) ([]*Account, error) {
	rows, err := r.DB.QueryContext(ctx, "SELECT id, name, salary FROM accounts "+rest, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []*Account{}
	for rows.Next() {
		a := &Account{db: r.DB}
		if err := rows.Scan(&a.ID, &a.Name, &a.Salary); err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, rows.Err()
}

func (r queryResolver) Accounts(ctx context.Context) ([]*Account, error) {
	return r.accounts(ctx, "ORDER BY id")
}

func (r queryResolver) Account(ctx context.Context, id string) (*Account, error) {
	list, err := r.accounts(ctx, "WHERE id = $1", id)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

func (r queryResolver) Vault(ctx context.Context) (*Vault, error) {
	v := new(Vault)
	return v, r.DB.QueryRowContext(ctx, "SELECT id, content FROM vaults").Scan(&v.ID, &v.Content)
}

func (r queryResolver) Vaults(ctx context.Context) ([]*Vault, error) {
	v, err := r.Vault(ctx)
	return []*Vault{v}, err
}

func (r queryResolver) Members(ctx context.Context) ([]*Member, error) {
	list, err := r.accounts(ctx, "ORDER BY id")
	members := []*Member{}
	for _, a := range list {
		members = append(members, &Member{a.ID, a.Name, new("a note by " + Role(ctx))})
	}
	return members, err
}

func (r queryResolver) Badge(ctx context.Context) (Badge, error) {
	if Role(ctx) == "" {
		return &PublicBadge{"a guest"}, nil
	}
	return &OwnBadge{Role(ctx)}, nil
}

func (r queryResolver) Desk(context.Context) (*Desk, error) { return &Desk{}, nil }

func (r queryResolver) Greeting(_ context.Context, to *Guest) (string, error) {
	if to == nil {
		return "hello", nil
	}
	return "hello " + to.Name, nil
}
