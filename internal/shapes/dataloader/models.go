// Package dataloader is a project whose resolvers return values instead of pointers, and read with
// loaders that wait for more keys.
package dataloader

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Cents is an amount in hundredths.
type Cents int64

// MarshalGQL implements gqlgen's marshaler.
func (c Cents) MarshalGQL(w io.Writer) { _, _ = fmt.Fprintf(w, `"%d.%02d"`, c/100, c%100) }

// UnmarshalGQL implements gqlgen's unmarshaler.
func (c *Cents) UnmarshalGQL(v any) error {
	text, ok := v.(string)
	if !ok {
		return fmt.Errorf("an amount is a text, such as 12.34, and no %T", v)
	}
	n, err := strconv.ParseInt(strings.Replace(text, ".", "", 1), 10, 64)
	*c = Cents(n)
	return err
}

// Customer is a row of customers.
type Customer struct {
	ID        int
	Name      string
	AddressID *int
}

// Address is a row of addresses.
type Address struct {
	ID      int
	Street  string
	Country Country
}

// Order is a row of orders.
type Order struct {
	ID         int
	CustomerID int
	Date       time.Time
	Amount     Cents
}

// Item is a row of items.
type Item struct {
	Name  string
	Place int
}
