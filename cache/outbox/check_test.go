package outbox_test

import (
	"errors"
	"strings"
	"testing"

	"fieldcache/cache/outbox"
	"fieldcache/internal/testservers"
)

// Columns that name keys must be compared as keys are. Check reports all columns that are not, at
// once.
func TestFault04ColumnsThatNameKeys(t *testing.T) {
	t.Parallel()
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		b := open(t, testservers.Postgres(t))
		for _, s := range []string{
			"CREATE EXTENSION citext",
			"CREATE DOMAIN label AS citext", "CREATE DOMAIN slug AS text CHECK (VALUE <> '')", "CREATE TYPE mood AS ENUM ('calm', 'wild')",
			"CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
			`CREATE TABLE "Odd Table" ("Id" bigint PRIMARY KEY, folded citext, "labelled" label, padded char(20), loosely text COLLATE loose,
				amount numeric, ratio float8, at timestamptz, list text[], facts jsonb, plain text, short varchar(9), slug slug, mood mood,
				day date, moment timestamp, number smallint, token uuid, flag bool, unnamed citext)`,
		} {
			b.exec(t, s)
		}
		bad := []string{"folded", "labelled", "padded", "loosely", "amount", "ratio", "at", "list", "facts"}
		good := []string{"plain", "short", "slug", "mood", "day", "moment", "number", "token", "flag", "nowhere"}
		checkNames(t, b, "Odd Table", bad, good)
	})
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		b := open(t, "sqlite://"+t.TempDir()+"/odd.db")
		b.exec(t, `CREATE TABLE "Odd Table" ("Id" integer PRIMARY KEY, folded text COLLATE NOCASE, padded text COLLATE RTRIM, untyped,
			amount decimal(10,2), ratio real, blob blob, charint text, plain text, short varchar(9), number bigint, unnamed text COLLATE NOCASE)`)
		checkNames(t, b, "Odd Table", []string{"folded", "padded", "untyped", "amount", "ratio", "blob"},
			[]string{"charint", "plain", "short", "number", "nowhere"})
	})
}

func checkNames(t *testing.T, b box, table string, bad, good []string) {
	t.Helper()
	faults, err := b.at.Check(t.Context(), b.db, []outbox.Table{{
		Name: table, PrimaryKey: []string{"Id"}, Keys: append(bad[1:len(bad):len(bad)], good...), Refers: bad[:1], Matter: []string{"unnamed"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	joined := errors.Join(faults...)
	if len(faults) != len(bad) {
		t.Errorf("got %d faults, want %d:\n%v", len(faults), len(bad), joined)
	}
	for _, column := range bad {
		if joined == nil || !strings.Contains(joined.Error(), "table "+table+": column "+column+" names cache keys") {
			t.Errorf("want a fault for %s in:\n%v", column, joined)
		}
	}
	if joined != nil && !strings.Contains(joined.Error(), "required: ") {
		t.Errorf("want a remedy in:\n%v", joined)
	}
}
