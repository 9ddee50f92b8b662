package outbox_test

import (
	"context"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/uptrace/bun"

	"fieldcache/cache"
	"fieldcache/cache/outbox"
	"fieldcache/db"
	"fieldcache/internal/testservers"
)

func dbOf(t testing.TB, url string) *bun.DB {
	d, err := db.Open(t.Context(), db.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d.Bun()
}

func postgresDB(t testing.TB) *bun.DB { return dbOf(t, testservers.Postgres(t)) }

func sqliteDB(t testing.TB) *bun.DB { return dbOf(t, "sqlite://"+filepath.Join(t.TempDir(), "x.db")) }

func TestDescribe(t *testing.T) {
	ctx := context.Background()
	for _, test := range []struct {
		name   string
		db     func(testing.TB) *bun.DB
		tables []string
		want   outbox.TableInfo
	}{
		{"PostgreSQL", postgresDB, []string{
			"CREATE EXTENSION citext", "CREATE TYPE mood AS ENUM ('good', 'bad')", "CREATE DOMAIN label AS citext", "CREATE DOMAIN size AS int",
			"CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
			`CREATE TABLE things (b uuid, a bigint, n numeric(10,2), f float8, g float4, t text, v varchar(5), c char(3), i citext,
				l label, s size, m mood, j jsonb, k text COLLATE blind, z timestamptz, y timestamp, d date, o boolean, r int[], PRIMARY KEY (a, b))`,
		}, outbox.TableInfo{PrimaryKey: []string{"a", "b"}, Columns: map[string]outbox.Kind{
			"a": outbox.Integer, "b": outbox.UUID, "n": outbox.Numeric, "f": outbox.Float, "g": outbox.Float32, "t": outbox.Text,
			"v": outbox.Text, "c": outbox.Unmatched, "i": outbox.Unmatched, "l": outbox.Unmatched, "s": outbox.Integer, "m": outbox.Text,
			"j": outbox.Unmatched, "k": outbox.Unmatched, "z": outbox.TimestampTZ, "y": outbox.Timestamp, "d": outbox.Date, "o": outbox.Boolean,
			"r": outbox.Unmatched,
		}, Labels: map[string][]string{"m": {"good", "bad"}}}},
		{"SQLite", sqliteDB, []string{
			"CREATE TABLE things (a bigint, b text, c text COLLATE NOCASE, d numeric, e varchar(5), f text COLLATE RTRIM, PRIMARY KEY (b, a))",
		}, outbox.TableInfo{PrimaryKey: []string{"b", "a"}, Columns: map[string]outbox.Kind{
			"a": outbox.Integer, "b": outbox.Text, "c": outbox.Unmatched, "d": outbox.Unmatched, "e": outbox.Text, "f": outbox.Unmatched,
		}}},
		{"PostgreSQL, a unique index for a key", postgresDB, []string{
			"CREATE TABLE places (a int UNIQUE)", "CREATE TABLE people (id int PRIMARY KEY)",
			"CREATE TABLE things (a int, b text NOT NULL, c int NOT NULL, d int NOT NULL, e int NOT NULL REFERENCES people ON DELETE CASCADE)",
			"ALTER TABLE things ADD FOREIGN KEY (e) REFERENCES places (a)",
			"CREATE UNIQUE INDEX ON things (a)",                // may be NULL
			"CREATE UNIQUE INDEX ON things (c) WHERE c > 0",    // of some rows
			"CREATE UNIQUE INDEX ON things (lower(b))",         // of an expression
			"ALTER TABLE things ADD UNIQUE (d) DEFERRABLE",     // not enforced within a transaction
			"CREATE UNIQUE INDEX ON things (c, b, d)",          // longer than necessary
			"CREATE UNIQUE INDEX ON things (c, b) INCLUDE (a)", // the one to choose
			"CREATE INDEX ON things (e)",                       // not unique
		}, outbox.TableInfo{PrimaryKey: []string{"c", "b"}, Columns: map[string]outbox.Kind{
			"a": outbox.Integer, "b": outbox.Text, "c": outbox.Integer, "d": outbox.Integer, "e": outbox.Integer,
		}, Refers: map[string][]string{"e": {"people", "places"}}}},
		{"PostgreSQL, no key", postgresDB, []string{
			"CREATE TABLE things (a int UNIQUE, b int NOT NULL)", "CREATE UNIQUE INDEX ON things (b) WHERE b > 0",
		}, outbox.TableInfo{Columns: map[string]outbox.Kind{"a": outbox.Integer, "b": outbox.Integer}}},
		{"SQLite, a unique index for a key", sqliteDB, []string{
			"CREATE TABLE people (id integer PRIMARY KEY)",
			"CREATE TABLE things (a int, b text NOT NULL, c int NOT NULL, d int NOT NULL, e int NOT NULL REFERENCES people ON DELETE CASCADE)",
			"CREATE UNIQUE INDEX may_be_null ON things (a)",
			"CREATE UNIQUE INDEX of_some_rows ON things (c) WHERE c > 0",
			"CREATE UNIQUE INDEX of_an_expression ON things (lower(b))",
			"CREATE UNIQUE INDEX longer ON things (c, b, d)",
			"CREATE UNIQUE INDEX this_one ON things (c, b)",
			"CREATE INDEX not_unique ON things (e)",
		}, outbox.TableInfo{PrimaryKey: []string{"c", "b"}, Columns: map[string]outbox.Kind{
			"a": outbox.Integer, "b": outbox.Text, "c": outbox.Integer, "d": outbox.Integer, "e": outbox.Integer,
		}, Refers: map[string][]string{"e": {"people"}}}},
		{"SQLite, no key", sqliteDB, []string{
			"CREATE TABLE things (a int UNIQUE, b int NOT NULL)", "CREATE UNIQUE INDEX of_some_rows ON things (b) WHERE b > 0",
		}, outbox.TableInfo{Columns: map[string]outbox.Kind{"a": outbox.Integer, "b": outbox.Integer}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			db := test.db(t)
			for _, statement := range test.tables {
				if _, err := db.ExecContext(ctx, statement); err != nil {
					t.Fatal(err)
				}
			}
			at, err := outbox.Find(ctx, db, "")
			if err != nil {
				t.Fatal(err)
			}
			found, err := at.Describe(ctx, db, "things", "nothing")
			if err != nil {
				t.Fatal(err)
			}
			if _, there := found["nothing"]; there || !reflect.DeepEqual(found["things"], test.want) {
				t.Errorf("got %+v, want %+v", found, test.want)
			}
		})
	}
}

// Rows without a primary key are identified by a unique index. They are evicted when the row that
// they reference is deleted.
func TestWritesOfRowsWithoutAPrimaryKey(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b box) {
		b.exec(t, "CREATE TABLE lines (thing bigint NOT NULL REFERENCES things ON DELETE CASCADE, no int NOT NULL, body text, UNIQUE (no, thing))")
		found, err := b.at.Describe(t.Context(), b.db, "things", "lines")
		if err != nil {
			t.Fatal(err)
		}
		own := outbox.Rows{Table: "lines", Own: true, Columns: []string{"body"}}
		list := outbox.Rows{Table: "lines", Match: []string{"thing"}, Columns: []string{}}
		tags, err := outbox.NewRowTags(func(table string) (outbox.TableInfo, bool) { i, ok := found[table]; return i, ok },
			own, list, outbox.Rows{Table: "things", Own: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.at.Install(t.Context(), b.db, tags.Tables()); err != nil {
			t.Fatal(err)
		}
		o, err := outbox.New(b.db.DB, b.at, tags.Evictions)
		if err != nil {
			t.Fatal(err)
		}
		b.Outbox = o
		b.exec(t, "INSERT INTO things VALUES (1, 'a', NULL), (2, 'b', NULL)")
		b.exec(t, "INSERT INTO lines VALUES (1, 1, 'x'), (2, 1, 'y')")
		since := b.poll(t, beginning).Snapshot
		of := func(r outbox.Rows, values ...string) []cache.Tag {
			list, ok := tags.Of(r).Append(nil, values...)
			if !ok {
				t.Fatalf("%v of %v has no tags", values, r)
			}
			return list
		}
		for _, c := range []struct {
			write     string
			untrue    [][]cache.Tag
			untouched [][]cache.Tag
		}{
			{"UPDATE lines SET body = 'z' WHERE thing = 1", [][]cache.Tag{of(own, "1", "1")}, [][]cache.Tag{of(own, "1", "2"), of(list, "1"), of(list, "2")}},
			{"DELETE FROM things WHERE id = 2", [][]cache.Tag{of(own, "1", "2"), of(list, "2")}, [][]cache.Tag{of(own, "1", "1"), of(list, "1")}},
		} {
			b.exec(t, c.write)
			news := b.poll(t, since)
			since = news.Snapshot
			evicts := func(tags []cache.Tag) bool {
				return slices.ContainsFunc(news.Writes, func(w cache.Pending) bool {
					return slices.ContainsFunc(w.Tags, func(g cache.Tag) bool { return slices.Contains(tags, g) })
				})
			}
			for _, tags := range c.untrue {
				if !evicts(tags) {
					t.Errorf("%s: want one of %v evicted, got %s", c.write, tags, what(news))
				}
			}
			for _, tags := range c.untouched {
				if evicts(tags) {
					t.Errorf("%s: want none of %v evicted, got %s", c.write, tags, what(news))
				}
			}
		}
	})
}

// Check reports a referring column that compares different texts as equal: the row could be deleted
// with a parent of another name.
func TestColumnsThatReferAreChecked(t *testing.T) {
	t.Parallel()
	b := open(t, "sqlite://"+filepath.Join(t.TempDir(), "refers.db"))
	b.exec(t, "CREATE TABLE owners (name text PRIMARY KEY)")
	b.exec(t, "CREATE TABLE others (name text PRIMARY KEY)")
	b.exec(t, `CREATE TABLE pets (id int PRIMARY KEY, owner text COLLATE NOCASE REFERENCES owners ON DELETE CASCADE,
		other text COLLATE NOCASE REFERENCES others)`)
	found, err := b.at.Describe(t.Context(), b.db, "owners", "pets", "others")
	if err != nil {
		t.Fatal(err)
	}
	catalog := func(table string) (outbox.TableInfo, bool) { i, ok := found[table]; return i, ok }
	pets := outbox.Rows{Table: "pets", Own: true}
	for _, c := range []struct {
		name string
		rows []outbox.Rows
		want []string // columns
	}{
		{"no table that it refers to is noted", []outbox.Rows{pets}, nil},
		{"one is", []outbox.Rows{pets, {Table: "owners", Own: true}}, []string{"owner"}},
		{"both are", []outbox.Rows{pets, {Table: "owners", Own: true}, {Table: "others", Own: true}}, []string{"other", "owner"}},
	} {
		tags, err := outbox.NewRowTags(catalog, c.rows...)
		if err != nil {
			t.Fatal(err)
		}
		var refers []string
		for _, table := range tags.Tables() {
			refers = append(refers, table.Refers...)
		}
		faults, err := b.at.Check(t.Context(), b.db, tags.Tables())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(refers, c.want) || len(faults) != len(c.want) {
			t.Errorf("%s: got referring columns %v, want %v; faults: %v", c.name, refers, c.want, faults)
		}
	}
}
