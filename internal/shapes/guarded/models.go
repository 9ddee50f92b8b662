// Package guarded is a project whose directives have code that decides, for each request, who gets
// a value, and whose models have methods that read the database.
package guarded

import (
	"context"
	"database/sql"
)

// Account is a row of accounts.
type Account struct {
	ID     string
	Name   string
	Salary int

	db *sql.DB
}

// Visits counts the rows of another table, as the edges of ent's models read theirs.
func (a *Account) Visits(ctx context.Context) (n int, err error) {
	err = a.db.QueryRowContext(ctx, "SELECT count(*) FROM visits WHERE account_id = $1", a.ID).Scan(&n)
	return n, err
}

// Vault is a row of vaults.
type Vault struct{ ID, Content string }

// Member is a row of accounts, with the note of the reader.
type Member struct {
	ID, Name string
	Note     *string
}

// Desk and Drawer hold nothing: their resolvers know the reader.
type (
	Desk   struct{}
	Drawer struct{}
)
