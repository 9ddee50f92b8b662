package dataloader

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Tables creates the project's tables with their first rows.
const Tables = `
CREATE TABLE addresses (id INTEGER PRIMARY KEY, street TEXT NOT NULL, country TEXT NOT NULL);
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, address_id INTEGER);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL, date TIMESTAMP NOT NULL, amount BIGINT NOT NULL);
CREATE TABLE items (order_id INTEGER NOT NULL, place INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (order_id, place));
INSERT INTO addresses VALUES (1, 'Fake Street', 'GB'), (2, 'Other & Street', 'NZ');
INSERT INTO customers VALUES (1, 'Bob', 1), (2, 'Alice', 2), (3, 'Eve', NULL);
INSERT INTO orders VALUES (1, 1, '2020-01-02 03:04:05', 1250), (2, 1, '2020-01-03 00:00:00', 99), (3, 2, '2021-12-31 23:59:59', 100);
INSERT INTO items VALUES (1, 1, 'An Apple'), (1, 2, 'A Feather'), (3, 1, 'A <Stone>');`

// Resolver resolves the schema from a database.
type Resolver struct{ DB *sql.DB }

// Query implements [ResolverRoot].
func (r *Resolver) Query() QueryResolver { return queryResolver{r} }

// Mutation implements [ResolverRoot].
func (r *Resolver) Mutation() MutationResolver { return mutationResolver{r} }

// Customer implements [ResolverRoot].
func (r *Resolver) Customer() CustomerResolver { return customerResolver{} }

// Order implements [ResolverRoot].
func (r *Resolver) Order() OrderResolver { return orderResolver{} }

type (
	queryResolver    struct{ *Resolver }
	mutationResolver struct{ *Resolver }
	customerResolver struct{}
	orderResolver    struct{}
)

// each calls scan for every row.
func (r *Resolver) each(ctx context.Context, scan func(func(...any) error) error, query string, args ...any) error {
	rows, err := r.DB.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// in returns a list of keys for a statement.
func in(keys []int) string {
	texts := make([]string, len(keys))
	for i, k := range keys {
		texts[i] = strconv.Itoa(k)
	}
	return "(" + strings.Join(texts, ", ") + ")"
}

func (r *Resolver) addresses(ctx context.Context, ids []int) (map[int]Address, error) {
	found := map[int]Address{}
	return found, r.each(ctx, func(scan func(...any) error) error {
		var a Address
		err := scan(&a.ID, &a.Street, &a.Country)
		found[a.ID] = a
		return err
	}, "SELECT id, street, country FROM addresses WHERE id IN "+in(ids))
}

func (r *Resolver) orders(ctx context.Context, customers []int) (map[int][]Order, error) {
	found := map[int][]Order{}
	return found, r.each(ctx, func(scan func(...any) error) error {
		var o Order
		err := scan(&o.ID, &o.CustomerID, &o.Date, &o.Amount)
		found[o.CustomerID] = append(found[o.CustomerID], o)
		return err
	}, "SELECT id, customer_id, date, amount FROM orders WHERE customer_id IN "+in(customers)+" ORDER BY id")
}

func (r *Resolver) items(ctx context.Context, orders []int) (map[int][]Item, error) {
	found := map[int][]Item{}
	return found, r.each(ctx, func(scan func(...any) error) error {
		var of int
		var i Item
		err := scan(&of, &i.Place, &i.Name)
		found[of] = append(found[of], i)
		return err
	}, "SELECT order_id, place, name FROM items WHERE order_id IN "+in(orders)+" ORDER BY order_id, place")
}

func (r *Resolver) customers(ctx context.Context, where string) (list []Customer, err error) {
	err = r.each(ctx, func(scan func(...any) error) error {
		var c Customer
		err := scan(&c.ID, &c.Name, &c.AddressID)
		list = append(list, c)
		return err
	}, "SELECT id, name, address_id FROM customers WHERE "+where+" ORDER BY id")
	return list, err
}

func (r queryResolver) Customers(ctx context.Context) ([]Customer, error) {
	return r.customers(ctx, "1 = 1")
}

func (r queryResolver) Torture1d(ctx context.Context, customerIds []int) ([]Customer, error) {
	if len(customerIds) == 0 {
		return nil, nil
	}
	found, err := r.customers(ctx, "id IN "+in(customerIds))
	list := []Customer{}
	for _, id := range customerIds { // in the requested order, with repetitions
		for _, c := range found {
			if c.ID == id {
				list = append(list, c)
			}
		}
	}
	return list, err
}

func (r queryResolver) Torture2d(ctx context.Context, customerIds [][]int) ([][]Customer, error) {
	lists := [][]Customer{}
	for _, ids := range customerIds {
		list, err := r.Torture1d(ctx, ids)
		if err != nil {
			return nil, err
		}
		lists = append(lists, list)
	}
	return lists, nil
}

func (r queryResolver) Echo(_ context.Context, value any, over Cents) (any, error) {
	return map[string]any{"value": value, "over": int64(over)}, nil
}

func (customerResolver) Address(ctx context.Context, obj *Customer) (*Address, error) {
	if obj.AddressID == nil {
		return nil, nil
	}
	a, ok, err := loadersOf(ctx).addresses.load(ctx, *obj.AddressID)
	if !ok {
		return nil, err
	}
	return &a, err
}

func (customerResolver) Orders(ctx context.Context, obj *Customer, over *Cents) ([]Order, error) {
	all, _, err := loadersOf(ctx).orders.load(ctx, obj.ID)
	if over == nil {
		return all, err
	}
	list := []Order{}
	for _, o := range all {
		if o.Amount > *over {
			list = append(list, o)
		}
	}
	return list, err
}

func (orderResolver) Items(ctx context.Context, obj *Order) ([]Item, error) {
	items, _, err := loadersOf(ctx).items.load(ctx, obj.ID)
	return items, err
}

func (r mutationResolver) Move(ctx context.Context, customer int, street string) (Customer, error) {
	if _, err := r.DB.ExecContext(ctx, "UPDATE addresses SET street = $2 WHERE id IN (SELECT address_id FROM customers WHERE id = $1)", customer, street); err != nil {
		return Customer{}, err
	}
	list, err := r.customers(ctx, "id IN "+in([]int{customer}))
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("there is no customer %d", customer)
	}
	if err != nil {
		return Customer{}, err
	}
	return list[0], nil
}

func (r mutationResolver) Order(ctx context.Context, customer int, amount Cents, items []string) (Order, error) {
	o := Order{CustomerID: customer, Amount: amount, Date: time.Date(2022, 3, 4, 5, 6, 7, 0, time.UTC)}
	if amount == 0 {
		return o, errors.New("an order costs something")
	}
	err := r.DB.QueryRowContext(ctx, "INSERT INTO orders (id, customer_id, date, amount) SELECT max(id) + 1, $1, $2, $3 FROM orders RETURNING id",
		customer, o.Date, int64(amount)).Scan(&o.ID)
	for i, name := range items {
		if err == nil {
			_, err = r.DB.ExecContext(ctx, "INSERT INTO items VALUES ($1, $2, $3)", o.ID, i+1, name)
		}
	}
	return o, err
}

func (r mutationResolver) Cancel(ctx context.Context, order int) (*int, error) {
	if _, err := r.DB.ExecContext(ctx, "DELETE FROM items WHERE order_id = $1", order); err != nil {
		return nil, err
	}
	result, err := r.DB.ExecContext(ctx, "DELETE FROM orders WHERE id = $1", order)
	if err != nil {
		return nil, err
	}
	if n, err := result.RowsAffected(); n == 0 {
		return nil, err
	}
	return &order, nil
}
