package outbox_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"fieldcache/cache"
	"fieldcache/cache/outbox"
	"fieldcache/internal/testservers"
)

// What is recorded does not depend on how the session of the writer formats values.
func TestWritesOfSessionsWithOtherSettings(t *testing.T) {
	t.Parallel()
	b := open(t, testservers.Postgres(t))
	b.exec(t, "CREATE TABLE readings (id bigint PRIMARY KEY, name float8, small float4, span interval, price money, raw bytea, xs float8[])")
	table := outbox.Table{Name: "readings", PrimaryKey: []string{"id"}, Keys: []string{"id", "name"}, Matter: []string{"name", "small", "span", "price", "raw", "xs"}}
	if err := b.at.Install(t.Context(), b.db, []outbox.Table{things, table}); err != nil {
		t.Fatal(err)
	}
	since := b.poll(t, cache.Snapshot{}).Snapshot
	for _, c := range []struct{ statement, want string }{
		{"INSERT INTO readings VALUES (1, 0.1::float8 + 0.2, 0.1, '1 day', 1.25, '\\x00ff', '{0.1}')", ">10.30000000000000004[]"},
		{"UPDATE readings SET name = 0.3", "10.30000000000000004>10.3[name]"},
		{"UPDATE readings SET small = 0.10000001", "10.3>10.3[small]"},
		{"UPDATE readings SET xs = ARRAY[0.1::float8 + 0.00000000000000002]", "10.3>10.3[xs]"},
		{"UPDATE readings SET span = '24 hours'", "10.3>10.3[span]"},
		{"UPDATE readings SET span = '1 mon'", "10.3>10.3[span]"},
		{"UPDATE readings SET span = '30 days'", "10.3>10.3[span]"},
		{"UPDATE readings SET price = 1.26", "10.3>10.3[price]"},
		{"UPDATE readings SET raw = '\\x00fe'", "10.3>10.3[raw]"},
		{"DELETE FROM readings", "10.3>[]"},
	} {
		b.exec(t, "SET LOCAL extra_float_digits = -15; SET LOCAL bytea_output = 'escape'; SET LOCAL intervalstyle = 'sql_standard'; SET LOCAL datestyle = 'German'; "+c.statement)
		news := b.poll(t, since)
		since = news.Snapshot
		if got := what(news); sorted(got) != sorted(c.want) {
			t.Errorf("%s: recorded %q, want %q", c.statement, got, c.want)
		}
	}
}

// A statement that names the parent table has only the parent's columns, so the trigger records
// only the table.
func TestWritesOfATableThatInheritsByItsParentsName(t *testing.T) {
	t.Parallel()
	b := open(t, testservers.Postgres(t))
	for _, s := range []string{"CREATE TABLE animals (id bigint PRIMARY KEY, sort text)", "CREATE TABLE dogs (name text, PRIMARY KEY (id)) INHERITS (animals)"} {
		b.exec(t, s)
	}
	table := outbox.Table{Name: "dogs", PrimaryKey: []string{"id"}, Keys: []string{"id", "name"}, Matter: []string{"name", "sort"}}
	if err := b.at.Install(t.Context(), b.db, []outbox.Table{things, table}); err != nil {
		t.Fatal(err)
	}
	since := b.poll(t, cache.Snapshot{}).Snapshot
	for _, c := range []struct{ statement, want string }{
		{"INSERT INTO dogs VALUES (1, 's', 'rex'), (2, 's', 'fido')", ">1rex[] >2fido[]"},
		{"UPDATE animals SET sort = 'big' WHERE id = 1", "dogs UPDATE"},
		{"DELETE FROM animals WHERE id = 1", "dogs DELETE"},
		{"DELETE FROM animals", "dogs DELETE"},
	} {
		b.exec(t, c.statement)
		news := b.poll(t, since)
		since = news.Snapshot
		if got := what(news); sorted(got) != sorted(c.want) {
			t.Errorf("%s: recorded %q, want %q", c.statement, got, c.want)
		}
	}
}

func TestColumnsThatAreRenamedForAMoment(t *testing.T) {
	t.Parallel()
	b := open(t, testservers.Postgres(t))
	for _, s := range []string{
		"CREATE TYPE mood AS ENUM ('calm', 'wild')", "CREATE DOMAIN temper AS mood", "CREATE DOMAIN nature AS temper",
		"CREATE TABLE cats (id bigint PRIMARY KEY, name text, nature nature, moods mood[])",
	} {
		b.exec(t, s)
	}
	tables := []outbox.Table{things, {Name: "cats", PrimaryKey: []string{"id"}, Keys: []string{"id", "name"}, Matter: []string{"name", "nature", "moods"}}}
	if err := b.at.Install(t.Context(), b.db, tables); err != nil {
		t.Fatal(err)
	}
	w := watch(b, tables)
	w.look(t)
	since := b.poll(t, cache.Snapshot{}).Snapshot
	for _, c := range []struct{ statement, want string }{
		{"INSERT INTO cats VALUES (1, 'rex', 'calm', '{calm}')", ">1rex[]"},
		{"ALTER TABLE cats RENAME name TO title; UPDATE cats SET title = 'x'; ALTER TABLE cats RENAME title TO name", "cats UPDATE"},
		{"ALTER TABLE cats RENAME nature TO soul; UPDATE cats SET soul = 'wild'; ALTER TABLE cats RENAME soul TO nature", "cats UPDATE"},
		{"ALTER TYPE mood RENAME VALUE 'wild' TO 'mild'", "cats ALTER"},
		{"ALTER TABLE cats RENAME name TO title", "cats ALTER"},
		{"UPDATE cats SET title = 'y'", "cats UPDATE"},
		{"DELETE FROM cats; INSERT INTO cats VALUES (2, 'z', 'calm', '{mild}')", "cats DELETE cats INSERT"},
		{"ALTER TABLE cats RENAME title TO name", "cats ALTER"},
	} {
		b.exec(t, c.statement)
		w.look(t)
		news := b.poll(t, since)
		since = news.Snapshot
		if got := what(news); sorted(got) != sorted(c.want) {
			t.Errorf("%s: recorded %q, want %q", c.statement, got, c.want)
		}
	}
}

// Columns may have the names of variables of the trigger function.
func TestColumnsWithNamesOfTheFunction(t *testing.T) {
	t.Parallel()
	b := open(t, testservers.Postgres(t))
	b.exec(t, `CREATE TABLE odd (id bigint PRIMARY KEY, name text, t text, o text, n int, r int, k int, c int, changed text, was text, noted text, keys text, matter text,
		many boolean, pk text, col text, old_row text, new_row text, same boolean, differ text, now_is text, tg_op text, tg_argv text, cache_old text, cache_new text)`)
	table := outbox.Table{Name: "odd", PrimaryKey: []string{"id"}, Keys: []string{"id", "name"}, Matter: []string{"n", "name", "t"}}
	if err := b.at.Install(t.Context(), b.db, []outbox.Table{things, table}); err != nil {
		t.Fatal(err)
	}
	since := b.poll(t, cache.Snapshot{}).Snapshot
	for _, c := range []struct{ statement, want string }{
		{"INSERT INTO odd (id, name) VALUES (1, 'a')", ">1a[]"},
		{"UPDATE odd SET name = 'b'", "1a>1b[name]"},
		{"UPDATE odd SET n = 7, o = 'x'", "1b>1b[n]"},
		{"INSERT INTO odd (id, name, t) VALUES (2, 'c', '{}')", ">2c[]"},
		{"UPDATE odd SET t = 'z'", "1b>1b[t] 2c>2c[t]"},
		{"DELETE FROM odd", "1b>[] 2c>[]"},
	} {
		b.exec(t, c.statement)
		news := b.poll(t, since)
		since = news.Snapshot
		if got := what(news); sorted(got) != sorted(c.want) {
			t.Errorf("%s: recorded %q, want %q", c.statement, got, c.want)
		}
	}
}

// After a crash PostgreSQL continues with empty UNLOGGED tables, so what is cached of them is
// evicted.
func TestUnloggedTablesAfterACrash(t *testing.T) {
	t.Parallel()
	b := open(t, testservers.PostgresServer(t).URL())
	b.exec(t, "CREATE UNLOGGED TABLE visits (id bigint PRIMARY KEY, name text)")
	tables := []outbox.Table{things, {Name: "visits", PrimaryKey: []string{"id"}, Keys: []string{"id"}, Matter: []string{"name"}}}
	if err := b.at.Install(t.Context(), b.db, tables); err != nil {
		t.Fatal(err)
	}
	w := watch(b, tables)
	w.look(t)
	b.exec(t, "INSERT INTO visits VALUES (1, 'a')")
	w.look(t)
	b.exec(t, "CHECKPOINT") // otherwise transactions whose numbers were not written yet are lost
	since := b.poll(t, cache.Snapshot{}).Snapshot
	conn, err := b.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }() // broken by the crash
	var pid string
	if err := conn.QueryRowContext(t.Context(), "SELECT pg_backend_pid()::text").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	number, _ := strconv.Atoi(pid)
	backend, _ := os.FindProcess(number)
	if err := backend.Kill(); err != nil {
		t.Fatal(err)
	}
	rows := 1
	for deadline := time.Now().Add(time.Minute); rows > 0; {
		if err := b.db.QueryRowContext(t.Context(), "SELECT count(*) FROM visits").Scan(&rows); err != nil && time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	w.look(t)
	if got := what(b.poll(t, since)); got != "visits ALTER" {
		t.Errorf("recorded %q, want visits ALTER", got)
	}
}
