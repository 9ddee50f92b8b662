package outbox

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"fieldcache/cache"
)

// epoch returns an SQL expression for the epoch of a PostgreSQL database: a hash of the server's
// start time, the directory of the database's files, and the oid of the outbox. At least one of
// these is different in a promoted standby, a restored or copied data directory, a database created
// from a dump or a template, and a database that was renamed to replace another one, however similar
// their contents and transaction numbers are.
//
// A restart also changes the epoch: it cannot be distinguished from a start on a restored data
// directory, and with synchronous_commit = off it may lose commits.
//
// Every statement whose result is cached contains the epoch, so it must be cheap. Each of the three
// values seeds the hash of the next, which takes the server 3 µs; a hash of their concatenated texts
// takes 8 µs.
func (p Place) epoch() string {
	table := literal(p.named("cache_outbox"))
	return "to_hex(hashtextextended(rtrim(pg_relation_filepath(" + table + "), '0123456789'), " +
		"hashfloat8extended(date_part('epoch', pg_postmaster_start_time()), " + table + "::regclass::oid::bigint)))"
}

// sqliteEpoch is the epoch of every SQLite database in this process. A file looks the same as a
// backup that replaced it; only a process that keeps it open knows that it is the same file.
var sqliteEpoch = strings.ToLower(rand.Text()[:16])

// mend repairs an outbox whose horizon or records have numbers that the database has not assigned
// yet, because a dump contained them or the database was restored to an earlier state. It deletes
// such records, which would otherwise appear as new in every poll until the numbers have caught up.
// It sets the horizon to the current snapshot, so that the shared tier serves nothing that was read
// before.
func (o *Outbox) mend(ctx context.Context) error {
	const some = 10_000 // per statement, so that a timeout does not undo all deletions
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
		// This statement begins after the lock on the horizon is taken.
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
		return "", fmt.Errorf("outbox: read the database's identity: %w", err)
	}
	return name, nil
}
