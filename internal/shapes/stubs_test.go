package shapes_test

import (
	"context"
	"log/slog"
	"net/http"
	"testing"

	"github.com/99designs/gqlgen/graphql"

	"fieldcache/cache/gqlcache"
	"fieldcache/internal/shapes/products"
)

// stubs resolves entities of the products subgraph by their keys alone, as subgraphs do that add
// fields to the types of others: an entity has the key by which the router asked for it, and no
// other.
type stubs struct{ *products.Resolver }

func (s stubs) Entity() products.EntityResolver { return stubEntities{s.Resolver.Entity()} }

func (s stubs) Product() products.ProductResolver { return stubProducts{s.Resolver.Product(), s} }

type stubEntities struct{ products.EntityResolver }

func (stubEntities) FindProductByManufacturerIDAndID(_ context.Context, manufacturerID, id string) (*products.Product, error) {
	return &products.Product{ManufacturerID: manufacturerID, ID: id}, nil
}

func (stubEntities) FindProductByUpc(_ context.Context, upc string) (*products.Product, error) {
	return &products.Product{Upc: upc}, nil
}

type stubProducts struct {
	products.ProductResolver
	stubs
}

// Shipping reads the product by the key that it has.
func (s stubProducts) Shipping(ctx context.Context, obj *products.Product, perKilo float64) (*float64, error) {
	var price float64
	err := s.DB.QueryRowContext(ctx, "SELECT price FROM products WHERE upc = $1 OR (manufacturer_id = $2 AND id = $3)", obj.Upc, obj.ManufacturerID, obj.ID).Scan(&price)
	return new(perKilo * price), err
}

// Entities that a router asks for by one of several keys lack the others. Fields of two such
// entities are not the same value, and a write to the row of one evicts its fields.
func TestEntitiesThatHaveOneOfTheirKeys(t *testing.T) {
	t.Parallel()
	s := shapes["products"]
	db := s.database(t, "sqlite", lite(t))
	build := func() graphql.ExecutableSchema {
		return products.NewExecutableSchema(products.Config{Resolvers: stubs{&products.Resolver{DB: db}}})
	}
	schema := build()
	gateway, err := gqlcache.Open(t.Context(), schema, gqlcache.Options{Database: db, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := gateway.Close(); err != nil {
			t.Error(err)
		}
	}()
	plain, fields := newServer(build()), newServer(schema, gateway)
	queries := []string{
		entities(`... on Product{shipping}`, `{"__typename":"Product","manufacturer":{"id":"m1"},"id":"p1"}`),
		entities(`... on Product{shipping}`, `{"__typename":"Product","manufacturer":{"id":"m2"},"id":"p1"}`),
		entities(`... on Product{manufacturer{name}}`, `{"__typename":"Product","manufacturer":{"id":"m1"},"id":"p1"}`, `{"__typename":"Product","manufacturer":{"id":"m2"},"id":"p1"}`),
		entities(`... on Product{shipping}`, `{"__typename":"Product","upc":"top-1"}`, `{"__typename":"Product","upc":"top-3"}`),
	}
	same := func(when string) {
		t.Helper()
		for _, q := range queries {
			want, _ := request(t, plain, q)
			for at, h := range map[string]http.Handler{"the field cache": fields, "a whole response": gateway.Handler(fields)} {
				for range 2 {
					if got, _ := request(t, h, q); got != want {
						t.Errorf("%s, %s: %s\n got %+v\nwant %+v", when, at, q, got, want)
					}
				}
			}
		}
	}
	same("at first")
	if _, err := db.ExecContext(t.Context(), "UPDATE products SET price = price + 1"); err != nil {
		t.Fatal(err)
	}
	request(t, fields, `mutation{reprice(upc:"none",price:1){upc}}`) // reads what was written
	same("after a write")
}
