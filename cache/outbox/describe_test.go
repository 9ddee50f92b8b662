package outbox_test

import (
	"context"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/uptrace/bun"

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
			"j": outbox.Unmatched, "k": outbox.Unmatched, "z": outbox.Timestamp, "y": outbox.Timestamp, "d": outbox.Date, "o": outbox.Boolean,
			"r": outbox.Unmatched,
		}}},
		{"SQLite", sqliteDB, []string{
			"CREATE TABLE things (a bigint, b text, c text COLLATE NOCASE, d numeric, e varchar(5), f text COLLATE RTRIM, PRIMARY KEY (b, a))",
		}, outbox.TableInfo{PrimaryKey: []string{"b", "a"}, Columns: map[string]outbox.Kind{
			"a": outbox.Integer, "b": outbox.Text, "c": outbox.Unmatched, "d": outbox.Unmatched, "e": outbox.Text, "f": outbox.Unmatched,
		}}},
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
