package gqlcache

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"fieldcache/cache/outbox"
)

// Uninstall takes back what [Open] installed in a database: the triggers on the project's tables, their function, and the
// outbox's own tables. schema is that of [Options]. It returns what has the name of such an object and is not one, which stays.
// An error means that nothing was taken back; a database without an outbox is none. A Gateway that is still open on the
// database answers from its resolvers from then on, once its next poll has failed.
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
