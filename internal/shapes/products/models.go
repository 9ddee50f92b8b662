// Package products is a federation subgraph: a router queries entities by their keys.
package products

// Manufacturer is a row of manufacturers.
type Manufacturer struct {
	ID   string
	Name string
}

// IsEntity implements [fedruntime.Entity].
func (Manufacturer) IsEntity() {}

// Product is a row of products.
type Product struct {
	ID             string
	ManufacturerID string
	Upc            string
	Name           string
	Price          int
	Weight         *int
	Tariff         *int // from the router, not the row
}

// IsEntity implements [fedruntime.Entity].
func (Product) IsEntity() {}
