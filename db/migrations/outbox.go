package migrations

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"fieldcache/cache/outbox"
)

// outboxFor returns the migration that creates the outbox, with the triggers on the tables of rows. Its
// objects are not recorded in fieldcache_objects, since their definitions identify them.
func outboxFor(rows []outbox.Rows) func(context.Context, *schema) error {
	return func(ctx context.Context, s *schema) error {
		tables, err := Noted(ctx, s.db, rows)
		if err != nil {
			return err
		}
		return placeOf(s.db).Install(ctx, querier(ctx, s.db), tables)
	}
}

// Noted returns the tables whose writes must be recorded for rows. It returns an error if an existing
// table has no key.
func Noted(ctx context.Context, db *bun.DB, rows []outbox.Rows) ([]outbox.Table, error) {
	tables, keyless, err := noted(ctx, db, rows)
	if err == nil && len(keyless) > 0 {
		err = fmt.Errorf("the tables %s have neither a primary key nor a unique index of columns that are NOT NULL, which recording writes requires", strings.Join(keyless, ", "))
	}
	return tables, err
}

// Describe returns the keys and columns of the tables of rows.
func Describe(ctx context.Context, db *bun.DB, rows []outbox.Rows) (map[string]outbox.TableInfo, error) {
	var names []string
	for _, r := range rows {
		if !slices.Contains(names, r.Table) {
			names = append(names, r.Table)
		}
	}
	return placeOf(db).Describe(ctx, querier(ctx, db), names...)
}

// noted also returns the existing tables without a key.
func noted(ctx context.Context, db *bun.DB, rows []outbox.Rows) (tables []outbox.Table, keyless []string, err error) {
	infos, err := Describe(ctx, db, rows)
	if err != nil {
		return nil, nil, err
	}
	for name, info := range infos {
		if len(info.PrimaryKey) == 0 {
			keyless = append(keyless, name)
		}
	}
	slices.Sort(keyless)
	return outbox.NotedTables(func(table string) (outbox.TableInfo, bool) { i, ok := infos[table]; return i, ok }, rows...), keyless, nil
}

// placeOf returns the place of a database's outbox.
func placeOf(db bun.IDB) outbox.Place {
	if isPostgres(db) {
		return outbox.PostgreSQL("")
	}
	return outbox.SQLite()
}

type txKey struct{}

// Bind returns a context with a migration's transaction, for statements that are not sent through bun.
func Bind(ctx context.Context, tx *sql.Tx) context.Context {
	return context.WithValue(ctx, txKey{}, tx)
}

// querier returns the transaction of [Bind], or else db.
func querier(ctx context.Context, db *bun.DB) outbox.Querier {
	if tx, ok := ctx.Value(txKey{}).(*sql.Tx); ok {
		return tx
	}
	return db.DB
}

// Differences returns the differences of the outbox and its triggers; see [outbox.Place.Diff].
func Differences(ctx context.Context, db *bun.DB, rows []outbox.Rows) ([]outbox.Difference, error) {
	tables, _, err := noted(ctx, db, rows)
	if err != nil {
		return nil, err
	}
	return placeOf(db).Diff(ctx, querier(ctx, db), tables)
}
