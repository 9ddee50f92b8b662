package graph

import (
	"context"
	"database/sql"
)

// This file will not be regenerated automatically.
//
// It serves as dependency injection for your app, add any dependencies you require
// here.

type Resolver struct{ DB *sql.DB }

// CreateTables creates missing tables, with two users who can have todos.
func CreateTables(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, `
		CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
		CREATE TABLE IF NOT EXISTS todos (
			id INTEGER PRIMARY KEY,
			text TEXT NOT NULL,
			done INTEGER NOT NULL DEFAULT 0,
			user_id INTEGER NOT NULL REFERENCES users (id)
		);
		INSERT OR IGNORE INTO users (id, name) VALUES (1, 'Ada'), (2, 'Grace')`)
	return err
}
