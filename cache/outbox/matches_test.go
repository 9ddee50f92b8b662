package outbox_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/uptrace/bun"

	"fieldcache/cache"
	"fieldcache/cache/outbox"
	"fieldcache/db"
	"fieldcache/internal/testservers"
)

// The test writes rows with SQL and compares the evictions of the outbox with the tags of values.
// Each value depends on the rows in which a column is a, b or NULL, as Go formats them.
func TestWritesEvictByColumnsOfEachType(t *testing.T) {
	t.Parallel()
	type column struct {
		name, typ string
		a, b      string   // as SQL literals
		goA, goB  []string // as Go formats them
		zones     bool     // whether the database formats it in the time zone of the session
	}
	both := []column{
		{name: "text", typ: "text", a: "'a,b'", b: "'A,b '", goA: []string{"a,b"}, goB: []string{"A,b "}},
		{name: "empty text", typ: "text", a: "''", b: "'null'", goA: []string{""}, goB: []string{"null"}},
		{name: "integer", typ: "bigint", a: "9007199254740993", b: "-7", goA: []string{"9007199254740993"}, goB: []string{"-7"}},
	}
	postgres := append(slices.Clone(both),
		column{name: "uuid", typ: "uuid", a: "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", b: "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12'",
			goA: []string{"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"}, goB: []string{"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12"}},
		column{name: "numeric", typ: "numeric(20,4)", a: "1234567890123456.5", b: "0.05",
			goA: []string{"1234567890123456.5", "1234567890123456.5000"}, goB: []string{"0.05", "0.0500"}},
		column{name: "float", typ: "float8", a: "1e300", b: "0.1", goA: []string{"1e+300", "1e300"}, goB: []string{"0.1"}},
		column{name: "boolean", typ: "boolean", a: "true", b: "false", goA: []string{"true"}, goB: []string{"false"}},
		column{name: "enum", typ: "mood", a: "'good'", b: "'not so good'", goA: []string{"good"}, goB: []string{"not so good"}},
		column{name: "date", typ: "date", a: "'2026-03-01'", b: "'1999-12-31'", goA: []string{"2026-03-01", "2026-03-01T00:00:00Z"}, goB: []string{"1999-12-31"}},
		column{name: "timestamptz", typ: "timestamptz", a: "'2026-03-01 12:00:00.123456+02'", b: "'1900-01-01 00:00:00Z'", zones: true,
			goA: []string{"2026-03-01T10:00:00.123456Z", "2026-03-01T10:00:00.123456+00:00", "2026-03-01T11:00:00.123456+01:00"}, goB: []string{"1900-01-01T00:00:00Z"}},
		column{name: "timestamp", typ: "timestamp", a: "'2026-03-01 12:00:00.5'", b: "'1900-01-01 00:00:00'", zones: true,
			goA: []string{"2026-03-01T12:00:00.5Z"}, goB: []string{"1900-01-01T00:00:00Z"}},
	)
	for _, on := range []struct {
		name    string
		url     func(testing.TB) string
		columns []column
	}{
		{"PostgreSQL", func(t testing.TB) string { return testservers.Postgres(t) }, postgres},
		{"SQLite", func(t testing.TB) string { return "sqlite://" + filepath.Join(t.TempDir(), "x.db") }, both},
	} {
		t.Run(on.name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			d, err := db.Open(ctx, db.Options{URL: on.url(t)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = d.Close() })
			raw := d.Bun()
			exec := func(format string, args ...any) {
				t.Helper()
				if _, err := raw.NewRaw("?", bun.Safe(fmt.Sprintf(format, args...))).Exec(ctx); err != nil {
					t.Fatalf("%s: %v", fmt.Sprintf(format, args...), err)
				}
			}
			if d.Postgres() {
				exec("CREATE TYPE mood AS ENUM ('good', 'not so good')")
			}
			var declared []outbox.Rows
			var tables []string
			for i, c := range on.columns {
				name := fmt.Sprintf("things_%d", i)
				exec("CREATE TABLE %s (part text, id int, v %s, other int, PRIMARY KEY (part, id))", name, c.typ)
				tables = append(tables, name)
				declared = append(declared, outbox.Rows{Table: name, Match: []string{"v", "part"}, Columns: []string{}})
			}
			found, err := d.Outbox().Describe(ctx, raw, tables...)
			if err != nil {
				t.Fatal(err)
			}
			rows, err := outbox.NewRowTags(func(table string) (outbox.TableInfo, bool) { info, ok := found[table]; return info, ok }, declared...)
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Outbox().Install(ctx, raw, rows.Tables()); err != nil {
				t.Fatal(err)
			}
			box, err := outbox.New(raw.DB, d.Outbox(), rows.Evictions)
			if err != nil {
				t.Fatal(err)
			}
			since := beginning
			evicts := func() (tags []cache.Tag) {
				news, err := box.Poll(ctx, cache.Page{Since: since})
				if err != nil {
					t.Fatal(err)
				}
				since = news.Snapshot
				for _, w := range news.Writes {
					tags = append(tags, w.Tags...)
				}
				return tags
			}
			evicts()
			for i, c := range on.columns {
				zones := []string{""}
				if c.zones {
					zones = []string{"UTC", "Asia/Kolkata", "America/St_Johns", "Africa/Monrovia"}
				}
				for _, zone := range zones {
					table := tables[i]
					for _, step := range []struct {
						write string
						want  string // the values that are evicted: a, b, n for NULL
					}{
						{"INSERT INTO " + table + " VALUES ('x', 1, " + c.a + ", 0)", "a"},
						{"UPDATE " + table + " SET other = 1", ""},
						{"UPDATE " + table + " SET v = " + c.b, "ab"},
						{"UPDATE " + table + " SET v = v", ""},
						{"UPDATE " + table + " SET v = NULL", "bn"},
						{"UPDATE " + table + " SET v = NULL, other = 2", ""},
						{"UPDATE " + table + " SET v = " + c.a, "an"},
						{"UPDATE " + table + " SET id = 2", "a"},
						{"UPDATE " + table + " SET part = 'y'", "a"},
						{"UPDATE " + table + " SET part = 'x'", "a"},
						{"DELETE FROM " + table, "a"},
						{"INSERT INTO " + table + " VALUES ('x', 3, NULL, 0), ('z', 3, " + c.b + ", 0)", "n"},
						{"DELETE FROM " + table + " WHERE part = 'x'", "n"},
						{"DELETE FROM " + table, ""},
					} {
						if zone == "" {
							exec("%s", step.write)
						} else { // in one transaction
							exec("SET LOCAL timezone = '%s'; %s", zone, step.write)
						}
						tags := evicts()
						check := func(side string, values ...string) {
							t.Helper()
							for _, v := range values {
								own, ok := rows.Of(declared[i]).Append(nil, v, "x")
								if !ok {
									t.Fatalf("%s: %q has no tags", c.name, v)
								}
								hit := slices.ContainsFunc(own, func(tag cache.Tag) bool { return slices.Contains(tags, tag) })
								if want := strings.Contains(step.want, side); hit != want {
									t.Errorf("%s %s, after %s: evicted %q: got %v, want %v: its tags are %v, the eviction has %v", c.name, zone, step.write, v, hit, want, own, tags)
								}
							}
						}
						check("a", c.goA...)
						check("b", c.goB...)
						check("n", cache.Null)
					}
				}
			}
		})
	}
}
