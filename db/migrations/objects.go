package migrations

import (
	"context"
	"fmt"
	"slices"

	"github.com/uptrace/bun"
)

// Object is a database object that a migration requires.
type Object struct {
	bun.BaseModel `bun:"table:fieldcache_objects,alias:o"`

	Seq       int64 `bun:",pk,autoincrement"`
	Migration string
	Kind      string
	Name      string
	Added     bool // whether the migration created it; false if it existed before
	// Definition identifies an object that was changed or replaced. It is "" if an earlier release
	// recorded the object.
	Definition string
	// OID and Life identify on PostgreSQL an object that was replaced by one with the same
	// definition. An OID is meaningful only together with Life, since restoring a dump changes it. On
	// SQLite they are 0 and "".
	OID  int64 `bun:"oid"`
	Life string
}

func (o Object) String() string { return o.Kind + " " + o.Name }

// Kinds of objects.
const (
	kindTable     = "table"
	kindIndex     = "index"
	kindExtension = "extension"
)

// CreateObjects creates the table of objects, or adds the columns that one of an earlier release lacks.
func CreateObjects(ctx context.Context, db *bun.DB) error {
	err := exec(ctx, db, `CREATE TABLE IF NOT EXISTS fieldcache_objects (
		seq {id}, migration text NOT NULL, kind text NOT NULL, name text NOT NULL, added boolean NOT NULL,
		oid bigint NOT NULL, definition text NOT NULL DEFAULT '', life text NOT NULL DEFAULT '', UNIQUE (kind, name))`)
	if err != nil {
		return err
	}
	cat := catalogOf(db)
	columns, err := cat.columns(ctx, ObjectsTable)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(columns, func(c foundColumn) bool { return c.Name == "definition" }) {
		return nil
	}
	for _, column := range []string{"definition", "life"} {
		if err := exec(ctx, db, "ALTER TABLE fieldcache_objects ADD COLUMN "+column+" text NOT NULL DEFAULT ''"); err != nil {
			return err
		}
	}
	life, err := cat.life(ctx)
	if err != nil {
		return err
	}
	recorded, err := records(ctx, db)
	if err != nil {
		return err
	}
	for _, o := range recorded {
		if is, err := cat.find(ctx, o.Kind, o.Name); err != nil {
			return err
		} else if is == nil || is.OID != o.OID {
			continue
		} else {
			o.Definition, o.Life = is.Definition, life
		}
		if _, err := db.NewUpdate().Model(&o).Column("definition", "life").Where("seq = ?", o.Seq).Exec(ctx); err != nil {
			return fmt.Errorf("record %v: %w", o, err)
		}
	}
	return nil
}

// records returns the recorded objects, except those of the outbox, which only earlier releases
// recorded.
func records(ctx context.Context, db bun.IDB) ([]Object, error) {
	var recorded []Object
	err := db.NewSelect().Model(&recorded).Where("kind IN (?)", bun.List([]string{kindTable, kindIndex, kindExtension})).
		Where("migration <> ?", Outbox).Order("seq").Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", ObjectsTable, err)
	}
	return recorded, nil
}

// Missing returns the recorded objects that no longer exist, such as an index that was dropped with its
// table.
func Missing(ctx context.Context, db bun.IDB) ([]Object, error) {
	recorded, err := records(ctx, db)
	if err != nil {
		return nil, err
	}
	var missing []Object
	for _, o := range recorded {
		is, err := catalogOf(db).find(ctx, o.Kind, o.Name)
		if err != nil {
			return nil, err
		}
		if is == nil {
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

// record stores an object. One that is recorded already stays unchanged.
func (s *schema) record(ctx context.Context, kind, name string, added bool) error {
	is, err := s.catalog.find(ctx, kind, name)
	if err != nil {
		return err
	}
	if is == nil {
		return fmt.Errorf("cannot find the %s %s after creating it", kind, name)
	}
	life, err := s.catalog.life(ctx)
	if err != nil {
		return err
	}
	o := &Object{Migration: s.migration, Kind: kind, Name: name, Added: added, Definition: is.Definition, OID: is.OID, Life: life}
	if _, err := s.db.NewInsert().Model(o).On("CONFLICT (kind, name) DO NOTHING").Exec(ctx); err != nil {
		return fmt.Errorf("record %v: %w", o, err)
	}
	return nil
}

// create runs the statement that creates an object, and records it as added.
func (s *schema) create(ctx context.Context, kind, name, statement string) error {
	if err := s.exec(ctx, statement); err != nil {
		return err
	}
	return s.record(ctx, kind, name, true)
}
