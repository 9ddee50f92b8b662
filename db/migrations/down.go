package migrations

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/uptrace/bun"
)

// TakeBack drops the objects that migrations added, the newest first, and the tables in which
// migrations are recorded. It returns the names of the reverted migrations, the last one first, and
// the objects that it left, each with the reason. It recognizes objects by name and definition, which
// survive a dump and its restoration.
//
// If this role may not drop an object, TakeBack returns an error that names all such objects. It works
// in the transaction that db is bound to.
func TakeBack(ctx context.Context, db *bun.DB) (taken, left []string, err error) {
	removed, stayed, err := placeOf(db).Remove(ctx, querier(ctx, db))
	if err != nil {
		return nil, nil, err
	}
	for _, l := range stayed {
		left = append(left, l.String())
	}
	if removed {
		taken = append(taken, Outbox)
	}
	there, err := HasTable(ctx, db, ObjectsTable)
	if err != nil {
		return nil, nil, err
	}
	if there {
		more, err := takeBackObjects(ctx, db)
		if err != nil {
			return nil, nil, err
		}
		left = append(left, more...)
	} else if removed {
		left = append(left, fmt.Sprintf("tables and indexes of the shop: the table %s, which records what was added, does not exist", ObjectsTable))
	}
	administered, err := HasTable(ctx, db, Table)
	if err != nil {
		return nil, nil, err
	}
	if there || administered {
		taken = append(taken, shopName)
		if !removed {
			taken = slices.Insert(taken, 0, Outbox)
		}
	}
	for _, table := range []string{ObjectsTable, LocksTable, Table} {
		if err := exec(ctx, db, "DROP TABLE IF EXISTS "+table); err != nil {
			return nil, nil, err
		}
	}
	return taken, left, nil
}

func takeBackObjects(ctx context.Context, db *bun.DB) (left []string, err error) {
	if err := CreateObjects(ctx, db); err != nil {
		return nil, err
	}
	recorded, err := records(ctx, db)
	if err != nil {
		return nil, err
	}
	cat := catalogOf(db)
	life, err := cat.life(ctx)
	if err != nil {
		return nil, err
	}
	var refused []error
	for _, o := range slices.Backward(recorded) {
		if !o.Added {
			continue
		}
		is, err := cat.find(ctx, o.Kind, o.Name)
		if err != nil {
			return nil, err
		}
		why := o.foreign(is, life)
		if why == "" {
			if why, err = drop(ctx, db, o); err != nil {
				refused = append(refused, err)
				continue
			}
		}
		if why != "" {
			left = append(left, fmt.Sprintf("%v: %s", o, why))
		}
	}
	if len(refused) > 0 {
		return nil, fmt.Errorf("cannot remove all objects:\n%w", errors.Join(refused...))
	}
	return left, nil
}

// foreign returns why the object of this name is not the one that was added, or "" if it is.
func (o Object) foreign(is *foundObject, life string) string {
	switch {
	case is == nil:
		return "does not exist under this name"
	case o.Life == life && o.OID != is.OID:
		return "was replaced since it was added"
	case o.Definition == "" && o.OID != is.OID:
		return "was recorded by an earlier release, without the definition that identifies it after a restore"
	case o.Definition != "" && o.Definition != is.Definition:
		return "was changed since it was added"
	}
	return ""
}

// drop drops an object without its dependents. One with dependents stays, and the reason is
// returned.
func drop(ctx context.Context, db *bun.DB, o Object) (why string, err error) {
	const dependentObjects = "2BP01"
	if !isPostgres(db) && o.Kind == kindTable { // SQLite drops tables that are referenced
		var users []string
		err := db.NewRaw(`SELECT t.name FROM sqlite_schema AS t, pragma_foreign_key_list(t.name) AS f
			WHERE t.type = 'table' AND t.name <> ?0 AND f."table" = ?0`, o.Name).Scan(ctx, &users)
		if err != nil || len(users) > 0 {
			return "others depend on it: table " + strings.Join(users, ", table "), wrap(err, o.Name)
		}
	}
	if err := exec(ctx, db, "SAVEPOINT fieldcache_drop"); err != nil {
		return "", err
	}
	err = exec(ctx, db, "DROP "+o.Kind+" "+o.Name)
	if err == nil {
		return "", exec(ctx, db, "RELEASE SAVEPOINT fieldcache_drop")
	}
	if undo := exec(ctx, db, "ROLLBACK TO SAVEPOINT fieldcache_drop"); undo != nil {
		return "", errors.Join(err, undo)
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == dependentObjects {
		return "others depend on it: " + pg.Detail, nil
	}
	return "", err
}
