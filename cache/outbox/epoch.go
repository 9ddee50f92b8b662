package outbox

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"fieldcache/cache"
)

// epoch is the SQL of a PostgreSQL database's epoch: a hash of when its server started, which folder the database's
// files are in, and which table is its outbox. A standby that was promoted, a data directory that was restored or
// copied, a database made of a dump or of a template, and one that was renamed into the place of another all
// differ in one of these, however alike their contents and numbers are.
//
// A restart of the same server counts as well. Nobody can tell it from a start on a data directory that was
// restored, and with synchronous_commit = off commits may be lost by it.
//
// It stands in every statement whose result is cached. Each of the three is the seed for the hash of the next, which takes
// the server 3 µs; a hash of their concatenated texts would take it 8.
func (p Place) epoch() string {
	table := literal(p.named("cache_outbox"))
	return "to_hex(hashtextextended(rtrim(pg_relation_filepath(" + table + "), '0123456789'), " +
		"hashfloat8extended(date_part('epoch', pg_postmaster_start_time()), " + table + "::regclass::oid::bigint)))"
}

// sqliteEpoch is the epoch of every SQLite database in this process. A file cannot be distinguished
// from a backup that replaced it; only the process that has it open knows that it is still the
// same.
var sqliteEpoch = strings.ToLower(rand.Text()[:16])

// mend corrects a horizon, or records, with numbers that the database has not assigned yet. They
// came with a dump, or the database went back. The records are deleted: otherwise they would count
// as new again and again, until the numbers have caught up. The horizon becomes the current
// snapshot, so that nothing that was read before is served from the shared tier.
func (o *Outbox) mend(ctx context.Context) error {
	const some = 10_000 // a part at a time, so that what was deleted before ctx ends stays deleted
	for n := int64(some); o.at.postgres && n == some; {
		result, err := o.db.ExecContext(ctx, o.at.sql("DELETE FROM ?outbox WHERE ctid = ANY (ARRAY(SELECT ctid FROM ?outbox "+
			"WHERE xid >= pg_snapshot_xmax(pg_current_snapshot()) LIMIT ?0))", some))
		if err == nil {
			n, err = result.RowsAffected()
		}
		if err != nil {
			return fmt.Errorf("delete records of another database: %w", err)
		}
	}
	err := o.at.inTx(ctx, o.db, func(ctx context.Context, tx Querier) error {
		if err := run(ctx, tx, o.at.sql("UPDATE ?horizon SET snapshot = ?0", cache.Snapshot{}.String())); err != nil {
			return err
		}
		// By a statement that begins when no other process changes the horizon any more.
		seen, err := one[string](ctx, tx, o.at.sql("SELECT ?seen"))
		if err != nil {
			return err
		}
		now, err := cache.ParseSnapshot(seen)
		if err != nil {
			return err
		}
		return run(ctx, tx, o.at.sql("INSERT INTO ?horizon (one, snapshot) VALUES (true, ?0) ON CONFLICT (one) DO UPDATE SET snapshot = ?0", now.String()))
	})
	if err != nil {
		return fmt.Errorf("set the horizon: %w", err)
	}
	return nil
}

// Database implements [cache.Identified]. A SQLite file has no name of its own.
func (o *Outbox) Database(ctx context.Context) (name string, err error) {
	if !o.at.postgres {
		return "", nil
	}
	name, err = one[string](ctx, o.db, "SELECT s.system_identifier::text || '/' || d.oid::text FROM pg_control_system() AS s, pg_database AS d "+
		"WHERE d.datname = current_database()")
	if err != nil {
		return "", fmt.Errorf("outbox: ask for the database's name: %w", err)
	}
	return name, nil
}
