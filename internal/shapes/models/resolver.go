package models

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/99designs/gqlgen/graphql"
)

// Tables creates the project's table with its first rows.
const Tables = `
CREATE TABLE things (id TEXT PRIMARY KEY, name TEXT, score INTEGER NOT NULL);
INSERT INTO things VALUES ('l1', 'Ann', 5), ('l2', NULL, 6), ('b1', 'Bob', 7), ('l3', 'Cy', 8);`

// Resolver resolves the schema from a database.
type Resolver struct{ DB *sql.DB }

// Query implements [ResolverRoot].
func (r *Resolver) Query() QueryResolver { return queryResolver{r} }

// Leaf implements [ResolverRoot].
func (r *Resolver) Leaf() LeafResolver { return leafResolver{r} }

// Tree implements [ResolverRoot].
func (r *Resolver) Tree() TreeResolver { return treeResolver{r} }

// Mutation implements [ResolverRoot].
func (r *Resolver) Mutation() MutationResolver { return mutationResolver{r} }

type (
	queryResolver    struct{ *Resolver }
	leafResolver     struct{ *Resolver }
	treeResolver     struct{ *Resolver }
	mutationResolver struct{ *Resolver }
)

func (r *Resolver) leaves(ctx context.Context) ([]Leaf, error) {
	rows, err := r.DB.QueryContext(ctx, "SELECT id, name FROM things WHERE id LIKE 'l%' ORDER BY id")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Leaf
	for rows.Next() {
		x := Leaf{Base: &Base{ID: 7}, Unit: Two}
		if err := rows.Scan(&x.Ident, &x.Name); err != nil {
			return nil, err
		}
		if x.Name != nil {
			x.Worth = &Money{Cents: int64(len(*x.Name)) * 101}
			x.Unit = One
		}
		list = append(list, x)
	}
	return list, rows.Err()
}

func (r *Resolver) branch(ctx context.Context) (*Branch, error) {
	b := &Branch{Base: Base{ID: 7}}
	if err := r.DB.QueryRowContext(ctx, "SELECT id, name FROM things WHERE id = 'b1'").Scan(&b.Ident, &b.Name); err != nil {
		return nil, err
	}
	all, err := r.leaves(ctx)
	for i := range all {
		b.Leaves = append(b.Leaves, &all[i], nil)
	}
	return b, err
}

func (r queryResolver) Nodes(ctx context.Context) ([]Node, error) {
	b, err := r.branch(ctx)
	if err != nil {
		return nil, err
	}
	all, err := r.leaves(ctx)
	return []Node{b, all[0], &all[1], nil, (*Leaf)(nil), (*Branch)(nil), all[2]}, err
}

func (r queryResolver) Pick(ctx context.Context, id string) (Node, error) {
	list, err := r.Nodes(ctx)
	for _, n := range list {
		switch n := n.(type) {
		case *Branch:
			if n != nil && n.Ident == id {
				return n, err
			}
		case Leaf:
			if n.Ident == id {
				return n, err
			}
		case *Leaf:
			if n != nil && n.Ident == id {
				return n, err
			}
		}
	}
	if id == "typed" {
		return (*Leaf)(nil), err
	}
	return nil, err
}

func (r queryResolver) Anything(ctx context.Context, id string) (Either, error) {
	n, err := r.Pick(ctx, id)
	if n == nil {
		return nil, err
	}
	return n.(Either), err
}

func (r queryResolver) Tree(ctx context.Context, depth int) (*Tree, error) {
	if depth == 0 {
		return nil, nil
	}
	all, err := r.leaves(ctx)
	if err != nil {
		return nil, err
	}
	t := &Tree{Leaf: &all[depth%len(all)]}
	t.Name = t.Leaf.Name
	t.Left, _ = r.Tree(ctx, depth-1)
	if t.Left != nil {
		t.Right = t.Left.Left
	}
	return t, nil
}

func (r queryResolver) Grid(ctx context.Context) ([][]*Leaf, error) {
	all, err := r.leaves(ctx)
	return [][]*Leaf{{&all[0], nil, &all[1]}, nil, {}, {nil}, {&all[2], &all[2]}}, err
}

func (r queryResolver) Page(ctx context.Context) (*Page[Leaf], error) {
	all, err := r.leaves(ctx)
	return &Page[Leaf]{all, len(all)}, err
}

func (r queryResolver) Blow(ctx context.Context, how string) (*string, error) {
	switch how {
	case "panic":
		panic("blown")
	case "add":
		graphql.AddError(ctx, errors.New("beside"))
		return &how, nil
	case "both":
		return &how, errors.New("both")
	case "timeout":
		ctx, cancel := context.WithTimeout(ctx, time.Nanosecond)
		defer cancel()
		<-ctx.Done()
		_, err := r.leaves(ctx)
		return nil, fmt.Errorf("late: %w", err)
	case "typed":
		return (*string)(nil), nil
	}
	return &how, ctx.Err()
}

func (r queryResolver) Priced(_ context.Context, least *Money, unit *Unit, when *Moment) (*Money, error) {
	v := &Money{}
	if least != nil {
		v.Cents = least.Cents
	}
	if unit != nil {
		v.Cents += 1000 * int64(*unit+1)
	}
	if when != nil {
		v.Cents += int64(when.Year())
	}
	if least != nil && least.Cents == 13 {
		v.Cents = -1
	}
	return v, nil
}

func (r queryResolver) Find(ctx context.Context, by *Search) ([]Leaf, error) {
	all, err := r.leaves(ctx)
	text := fmt.Sprintf("%v", by == nil)
	if by != nil {
		name, a := by.Name.ValueOK()
		unit, b := by.Unit.ValueOK()
		tags, c := by.Tags.ValueOK()
		nested, d := by.Nested.ValueOK()
		text = fmt.Sprint(a, b, c, d, name == nil, unit == nil, tags == nil, nested == nil, len(tags))
		if name != nil {
			text += *name
		}
		if unit != nil {
			text += fmt.Sprint(*unit)
		}
		for _, t := range tags {
			if t == nil {
				text += "-"
			} else {
				text += "," + *t
			}
		}
		if nested != nil {
			sub, _ := r.Find(ctx, nested)
			text += "(" + *sub[0].Name + ")"
		}
	}
	for i := range all {
		all[i].Name = &text
	}
	return all, err
}

func (r queryResolver) Values(ctx context.Context) ([]Leaf, error) { return r.leaves(ctx) }
func (r queryResolver) Now(context.Context) (*Moment, error) {
	return &Moment{time.Date(2024, 1, 2, 3, 4, 5, 6, time.FixedZone("x", 3600))}, nil
}

func (r leafResolver) Score(ctx context.Context, obj *Leaf) (*int, error) {
	n := new(int)
	return n, r.DB.QueryRowContext(ctx, "SELECT score FROM things WHERE id = $1", obj.Ident).Scan(n)
}

func (r treeResolver) Size(ctx context.Context, obj *Tree) (*int, error) {
	n := 1
	for _, s := range []*Tree{obj.Left, obj.Right} {
		if s != nil {
			k, _ := r.Size(ctx, s)
			n += *k
		}
	}
	return &n, nil
}

func (r mutationResolver) Put(ctx context.Context, id string, name *string) (Node, error) {
	if _, err := r.DB.ExecContext(ctx, "UPDATE things SET name = $2, score = score + 1 WHERE id = $1", id, name); err != nil {
		return nil, err
	}
	return queryResolver(r).Pick(ctx, id)
}
