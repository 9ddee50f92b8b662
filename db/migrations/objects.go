package migrations

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/uptrace/bun"
)

// Object is something of a database that a migration asked for.
type Object struct {
	bun.BaseModel `bun:"table:fieldcache_objects,alias:o"`

	Seq       int64 `bun:",pk,autoincrement"`
	Migration string
	Kind      string
	Name      string
	Added     bool  // by the migration; false: it was there before
	OID       int64 `bun:"oid"` // PostgreSQL's id, by which one that was replaced since is told apart; 0 on SQLite
}

func (o Object) String() string { return o.Kind + " " + o.Name }

// Kinds of objects.
const (
	kindTable     = "table"
	kindIndex     = "index"
	kindExtension = "extension"
	kindFunction  = "function"
	kindTrigger   = "trigger" // its name on PostgreSQL is "name ON table"
)

// CreateObjects creates the table of objects where it is missing.
func CreateObjects(ctx context.Context, db bun.IDB) error {
	return exec(ctx, db, `CREATE TABLE IF NOT EXISTS fieldcache_objects (
		seq {id}, migration text NOT NULL, kind text NOT NULL, name text NOT NULL,
		added boolean NOT NULL, oid bigint NOT NULL, UNIQUE (kind, name))`)
}

// Missing returns the recorded objects that are no longer there, such as an index that vanished when its
// table was made anew, and triggers that are disabled.
func Missing(ctx context.Context, db bun.IDB) ([]Object, error) {
	var recorded, missing []Object
	if err := db.NewSelect().Model(&recorded).Order("seq").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read %s: %w", ObjectsTable, err)
	}
	cat := catalogOf(db)
	for _, o := range recorded {
		_, there, err := cat.find(ctx, o.Kind, o.Name)
		if err == nil && there && o.Kind == kindTrigger {
			there, err = cat.fires(ctx, o.Name)
		}
		if err != nil {
			return nil, err
		}
		if !there {
			missing = append(missing, o)
		}
	}
	return missing, nil
}

// Forget removes objects from the record.
func Forget(ctx context.Context, db bun.IDB, objects []Object) error {
	for _, o := range objects {
		if _, err := db.NewDelete().Model((*Object)(nil)).Where("seq = ?", o.Seq).Exec(ctx); err != nil {
			return fmt.Errorf("forget %v: %w", o, err)
		}
	}
	return nil
}

// record remembers an object. One that is recorded already stays as it is.
func (s *schema) record(ctx context.Context, kind, name string, added bool) error {
	oid, there, err := s.catalog.find(ctx, kind, name)
	if err != nil {
		return err
	}
	if !there {
		return fmt.Errorf("%s %s is not where it was expected after its creation", kind, name)
	}
	o := &Object{Migration: s.migration, Kind: kind, Name: name, Added: added, OID: oid}
	if _, err := s.db.NewInsert().Model(o).On("CONFLICT (kind, name) DO NOTHING").Exec(ctx); err != nil {
		return fmt.Errorf("record %v: %w", o, err)
	}
	return nil
}

// create runs the statement that creates an object, and remembers it as added.
func (s *schema) create(ctx context.Context, kind, name, statement string) error {
	if err := s.exec(ctx, statement); err != nil {
		return err
	}
	return s.record(ctx, kind, name, true)
}

// takeBack drops what the migration added, newest first, and forgets what it recorded.
func (s *schema) takeBack(ctx context.Context) error {
	var recorded []Object
	err := s.db.NewSelect().Model(&recorded).Where("migration = ?", s.migration).Order("seq DESC").Scan(ctx)
	if err != nil {
		return fmt.Errorf("read %s: %w", ObjectsTable, err)
	}
	for _, o := range recorded {
		oid, there, err := s.catalog.find(ctx, o.Kind, o.Name)
		if err != nil {
			return err
		}
		if !o.Added || !there || oid != o.OID {
			continue // not ours, or no longer ours: somebody made another one of the same name
		}
		if err := s.drop(ctx, o); err != nil {
			return err
		}
	}
	return Forget(ctx, s.db, recorded)
}

// drop drops an object without what depends on it. An extension that others came to use stays.
func (s *schema) drop(ctx context.Context, o Object) error {
	const dependentObjects = "2BP01"
	if o.Kind != kindExtension {
		return s.exec(ctx, "DROP "+o.Kind+" "+o.Name)
	}
	if err := s.exec(ctx, "SAVEPOINT fieldcache_extension"); err != nil {
		return err
	}
	err := s.exec(ctx, "DROP EXTENSION "+o.Name)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == dependentObjects {
		err = s.exec(ctx, "ROLLBACK TO SAVEPOINT fieldcache_extension")
	}
	return err
}
