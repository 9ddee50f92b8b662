package products

import (
	"context"
	"database/sql"
	"fmt"
)

// Tables creates the subgraph's tables with their first rows.
const Tables = `
CREATE TABLE manufacturers (id TEXT PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE products (id TEXT NOT NULL, manufacturer_id TEXT NOT NULL, upc TEXT PRIMARY KEY, name TEXT NOT NULL, price INTEGER NOT NULL, weight INTEGER,
	UNIQUE (manufacturer_id, id));
INSERT INTO manufacturers VALUES ('m1', 'Hats & Co'), ('m2', 'Shoes');
INSERT INTO products VALUES ('p1', 'm1', 'top-1', 'Trilby', 11, 1000), ('p2', 'm1', 'top-2', 'Fedora', 22, NULL), ('p1', 'm2', 'top-3', 'Boater', 33, 300);`

// Resolver resolves the schema from a database.
type Resolver struct{ DB *sql.DB }

// Query implements [ResolverRoot].
func (r *Resolver) Query() QueryResolver { return queryResolver{r} }

// Mutation implements [ResolverRoot].
func (r *Resolver) Mutation() MutationResolver { return mutationResolver{r} }

// Entity implements [ResolverRoot].
func (r *Resolver) Entity() EntityResolver { return entityResolver{r} }

// Manufacturer implements [ResolverRoot].
func (r *Resolver) Manufacturer() ManufacturerResolver { return manufacturerResolver{r} }

// Product implements [ResolverRoot].
func (r *Resolver) Product() ProductResolver { return productResolver{r} }

type (
	queryResolver        struct{ *Resolver }
	mutationResolver     struct{ *Resolver }
	entityResolver       struct{ *Resolver }
	manufacturerResolver struct{ *Resolver }
	productResolver      struct{ *Resolver }
)

func (r *Resolver) products(ctx context.Context, rest string, args ...any) ([]*Product, error) {
	rows, err := r.DB.QueryContext(ctx, "SELECT id, manufacturer_id, upc, name, price, weight FROM products "+rest, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []*Product{}
	for rows.Next() {
		p := new(Product)
		if err := rows.Scan(&p.ID, &p.ManufacturerID, &p.Upc, &p.Name, &p.Price, &p.Weight); err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, rows.Err()
}

func (r *Resolver) product(ctx context.Context, where string, args ...any) (*Product, error) {
	list, err := r.products(ctx, "WHERE "+where, args...)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("there is no such product: %v", args)
	}
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

func (r *Resolver) manufacturer(ctx context.Context, id string) (*Manufacturer, error) {
	m := &Manufacturer{ID: id}
	if err := r.DB.QueryRowContext(ctx, "SELECT name FROM manufacturers WHERE id = $1", id).Scan(&m.Name); err != nil {
		return nil, err
	}
	return m, nil
}

func (r queryResolver) TopProducts(ctx context.Context, first *int) ([]*Product, error) {
	return r.products(ctx, "ORDER BY upc LIMIT $1", first)
}

func (r entityResolver) FindManufacturerByID(ctx context.Context, id string) (*Manufacturer, error) {
	return r.manufacturer(ctx, id)
}

func (r entityResolver) FindProductByManufacturerIDAndID(ctx context.Context, manufacturerID, id string) (*Product, error) {
	return r.product(ctx, "manufacturer_id = $1 AND id = $2", manufacturerID, id)
}

func (r entityResolver) FindProductByUpc(ctx context.Context, upc string) (*Product, error) {
	return r.product(ctx, "upc = $1", upc)
}

func (r manufacturerResolver) Products(ctx context.Context, obj *Manufacturer) ([]*Product, error) {
	return r.products(ctx, "WHERE manufacturer_id = $1 ORDER BY upc", obj.ID)
}

func (r productResolver) Manufacturer(ctx context.Context, obj *Product) (*Manufacturer, error) {
	return r.manufacturer(ctx, obj.ManufacturerID)
}

func (r productResolver) Shipping(_ context.Context, obj *Product, perKilo float64) (*float64, error) {
	if obj.Weight == nil || obj.Price > 1000 {
		return nil, nil
	}
	return new(perKilo * float64(*obj.Weight) / 1000), nil
}

func (r productResolver) Duty(_ context.Context, obj *Product) (*int, error) {
	if obj.Tariff == nil {
		return nil, nil
	}
	return new(obj.Price * *obj.Tariff), nil
}

func (r mutationResolver) Reprice(ctx context.Context, upc string, price int) (*Product, error) {
	if _, err := r.DB.ExecContext(ctx, "UPDATE products SET price = $2 WHERE upc = $1", upc, price); err != nil {
		return nil, err
	}
	return r.product(ctx, "upc = $1", upc)
}

func (r mutationResolver) Transfer(ctx context.Context, manufacturer, id, to string) (*Product, error) {
	if _, err := r.DB.ExecContext(ctx, "UPDATE products SET manufacturer_id = $3 WHERE manufacturer_id = $1 AND id = $2", manufacturer, id, to); err != nil {
		return nil, err
	}
	return r.product(ctx, "manufacturer_id = $1 AND id = $2", to, id)
}
