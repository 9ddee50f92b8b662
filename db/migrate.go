package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/migrate"

	"fieldcache/cache/outbox"
	"fieldcache/db/migrations"
)

// Status is the state of one migration.
type Status struct {
	Name      string
	AppliedAt time.Time // zero: not applied
	// Lacks lists the objects of an applied migration that are missing or have changed.
	// [DB.MigrateUp] repairs them.
	Lacks []string
}

// ErrSchema is wrapped by the error of [DB.CheckSchema] if migrations must run.
var ErrSchema = errors.New("the database schema is not up to date: run `fieldcache migrate up` or set MIGRATE=true")

// NotedTables returns the tables whose writes are recorded, for [Options].Rows.
func (d *DB) NotedTables(ctx context.Context) ([]outbox.Table, error) {
	return migrations.Noted(ctx, d.bun, d.options.Rows)
}

// RowTags returns the tags for [Options].Rows. It returns one error for all missing tables and
// columns.
func (d *DB) RowTags(ctx context.Context) (*outbox.RowTags, error) {
	infos, err := migrations.Describe(ctx, d.bun, d.options.Rows)
	if err != nil {
		return nil, err
	}
	return outbox.NewRowTags(func(table string) (outbox.TableInfo, bool) { i, ok := infos[table]; return i, ok }, d.options.Rows...)
}

// MigrateUp applies the pending migrations in one transaction, and returns their names. It adopts
// existing tables with their data. Several processes may call it at once: one migrates while the
// others wait.
//
// Writers to a table wait while its indexes and triggers are created.
func (d *DB) MigrateUp(ctx context.Context) ([]string, error) {
	var applied []string
	rows := d.options.Rows
	err := d.migrate(ctx, func(ctx context.Context, db *bun.DB, m *migrate.Migrator) error {
		if err := m.Init(ctx); err != nil {
			return fmt.Errorf("create %s: %w", migrations.Table, err)
		}
		if err := migrations.CreateObjects(ctx, db); err != nil {
			return err
		}
		if err := reopen(ctx, db, m, rows); err != nil {
			return err
		}
		// The steps check only the tables that they add to.
		if err := migrations.Check(ctx, db, rows); err != nil {
			return err
		}
		group, err := m.Migrate(ctx)
		for _, migration := range group.Migrations {
			applied = append(applied, migration.Name)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("migrate up: %w", err)
	}
	return applied, nil
}

// reopen marks the migrations as not applied whose objects are missing or have changed, so that
// they run again.
func reopen(ctx context.Context, db *bun.DB, m *migrate.Migrator, rows []outbox.Rows) error {
	missing, err := migrations.Missing(ctx, db)
	if err != nil {
		return err
	}
	all, err := m.MigrationsWithStatus(ctx)
	if err != nil {
		return fmt.Errorf("read %s: %w", migrations.Table, err)
	}
	for _, migration := range all.Applied() {
		again := slices.ContainsFunc(missing, func(o migrations.Object) bool { return o.Migration == migration.Name })
		if migration.Name == migrations.Outbox {
			differences, err := migrations.Differences(ctx, db, rows)
			if err != nil {
				return err
			}
			again = len(differences) > 0
		}
		if !again {
			continue
		}
		if err := m.MarkUnapplied(ctx, &migration); err != nil {
			return fmt.Errorf("reopen %s: %w", migration.Name, err)
		}
	}
	return migrations.Forget(ctx, db, missing)
}

// TakenBack is what [DB.MigrateDown] did.
type TakenBack struct {
	Migrations []string // the reverted migrations, the last one first
	// Left names each object that was not removed, although fieldcache added it or it has the name of
	// one of its objects, and says why.
	Left []string
}

// MigrateDown reverts all migrations, in one transaction. It removes what [DB.MigrateUp] added,
// tables with their data included. What existed before, or was changed since by others, stays. It
// recognizes objects by their definition, even in a database that was restored from a dump.
func (d *DB) MigrateDown(ctx context.Context) (TakenBack, error) {
	var taken TakenBack
	err := d.migrate(ctx, func(ctx context.Context, db *bun.DB, m *migrate.Migrator) error {
		there, err := migrations.HasTable(ctx, db, migrations.Table)
		if err != nil {
			return err
		}
		if there {
			unknown, err := m.MissingMigrations(ctx)
			if err != nil {
				return fmt.Errorf("read %s: %w", migrations.Table, err)
			}
			if len(unknown) > 0 {
				return fmt.Errorf("the database has the migration %s of a newer fieldcache; use that release to revert it", unknown[0].Name)
			}
		}
		taken.Migrations, taken.Left, err = migrations.TakeBack(ctx, db)
		return err
	})
	if err != nil {
		return TakenBack{}, fmt.Errorf("migrate down: %w; nothing was changed", err)
	}
	return taken, nil
}

// MigrateStatus returns every migration in order. It changes nothing.
func (d *DB) MigrateStatus(ctx context.Context) ([]Status, error) {
	all := migrations.List(d.options.Rows).Sorted()
	there, err := migrations.HasTable(ctx, d.bun, migrations.Table)
	if err == nil && there {
		all, err = d.newMigrator(d.bun).MigrationsWithStatus(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("migrate status: %w", err)
	}
	var states []Status
	for _, migration := range all {
		s := Status{Name: migration.Name, AppliedAt: migration.MigratedAt.UTC()}
		if !s.AppliedAt.IsZero() {
			if s.Lacks, err = d.lacks(ctx, s.Name); err != nil {
				return nil, fmt.Errorf("migrate status: %w", err)
			}
		}
		states = append(states, s)
	}
	return states, nil
}

// lacks returns the objects of a migration that are missing or have changed, except those that a
// gateway repairs while it runs.
func (d *DB) lacks(ctx context.Context, migration string) (list []string, err error) {
	missing, err := migrations.Missing(ctx, d.bun)
	if err != nil {
		return nil, err
	}
	for _, o := range missing {
		if o.Migration == migration {
			list = append(list, o.String())
		}
	}
	if migration != migrations.Outbox {
		return list, nil
	}
	differences, err := migrations.Differences(ctx, d.bun, d.options.Rows)
	for _, d := range differences {
		if !d.Minor {
			list = append(list, d.String())
		}
	}
	return list, err
}

// CheckSchema returns an error that wraps [ErrSchema] and names what is missing or has changed,
// unless all migrations are applied and their objects still exist. It ignores what a gateway repairs
// while it runs. It also returns an error for columns of an unexpected type. A newer schema is not an
// error.
func (d *DB) CheckSchema(ctx context.Context) error {
	states, err := d.MigrateStatus(ctx)
	if err != nil {
		return err
	}
	var lacking []string
	for _, s := range states {
		if s.AppliedAt.IsZero() {
			lacking = append(lacking, "migration "+s.Name)
		}
		lacking = append(lacking, s.Lacks...)
	}
	shape := migrations.Check(ctx, d.bun, d.options.Rows)
	if len(lacking) > 0 {
		return errors.Join(fmt.Errorf("%w (migrate up fixes: %s)", ErrSchema, strings.Join(lacking, ", ")), shape)
	}
	return shape
}

// migrate runs fn with a migrator whose statements all belong to one transaction. No other process
// migrates at the same time: SQLite has one writer, and on PostgreSQL the transaction holds an
// advisory lock, which is released even if this process dies.
func (d *DB) migrate(ctx context.Context, fn func(context.Context, *bun.DB, *migrate.Migrator) error) error {
	return d.bun.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		if d.Postgres() {
			if _, err := tx.NewRaw("SET LOCAL statement_timeout = 0").Exec(ctx); err != nil {
				return err
			}
			if _, err := tx.NewRaw("SELECT pg_advisory_xact_lock(?)", outbox.InstallLock).Exec(ctx); err != nil {
				return fmt.Errorf("wait for other migrations: %w", err)
			}
		}
		bound := bun.NewDB(d.bun.DB, d.bun.Dialect(), bun.WithConnResolver(inTx{tx.Tx}))
		return fn(migrations.Bind(ctx, tx.Tx), bound, d.newMigrator(bound))
	})
}

func (d *DB) newMigrator(db *bun.DB) *migrate.Migrator {
	return migrate.NewMigrator(db, migrations.List(d.options.Rows), migrate.WithTableName(migrations.Table),
		migrate.WithLocksTableName(migrations.LocksTable), migrate.WithMarkAppliedOnSuccess(true))
}

// inTx routes the statements of a bun.DB into a transaction: bun's migrator accepts nothing else.
type inTx struct{ tx *sql.Tx }

func (r inTx) ResolveConn(context.Context, bun.Query) bun.IConn { return r.tx }

func (r inTx) Close() error { return nil }
