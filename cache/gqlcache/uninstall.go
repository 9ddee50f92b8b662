package gqlcache

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"fieldcache/cache/outbox"
)

// Uninstall removes what [Open] installed in a database: the triggers on the tables of the project,
// their function, and the tables of the outbox. schema is that of [Options]. It returns the objects
// that it left because only their name matches. If it returns an error, nothing was removed. It is
// not an error if the database has no outbox. A [Gateway] that is still open on the database serves
// from its resolvers once its next poll has failed.
func Uninstall(ctx context.Context, db *sql.DB, schema string) (left []outbox.Left, err error) {
	if db == nil {
		return nil, errors.New("gqlcache: Uninstall needs a database")
	}
	place, err := outbox.Find(ctx, db, schema)
	if err != nil {
		return nil, fmt.Errorf("gqlcache: uninstall: %w", err)
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("gqlcache: uninstall: %w", err)
	}
	if _, left, err = place.Remove(ctx, tx); err != nil {
		return nil, errors.Join(fmt.Errorf("gqlcache: uninstall: %w", err), tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return nil, fmt.Errorf("gqlcache: uninstall: %w", err)
	}
	return left, nil
}
