package db

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Columns that name keys are refused if the database compares them differently from keys.
func TestFault04AdoptedColumnsThatNameKeys(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d testDB) {
		replace := []string{"category    text NOT NULL", "category text COLLATE NOCASE NOT NULL",
			"code text PRIMARY KEY", "code text COLLATE RTRIM PRIMARY KEY",
			"country_code text", "country_code text COLLATE NOCASE", "bio          text", "bio text COLLATE NOCASE"}
		if d.Postgres() {
			execute(t, d, "CREATE EXTENSION citext")
			replace = []string{"category    text", "category citext", "code text PRIMARY KEY", "code char(3) PRIMARY KEY",
				"country_code text", "country_code char(3)", "bio          text", "bio citext", "varchar(320)", "citext"}
		}
		adoptAs(t, d, replace...)
		before := objects(t, d)
		_, err := d.MigrateUp(t.Context())
		for _, want := range []string{
			"table products: column category names cache keys", "table countries: column code names cache keys",
			"table users: column country_code names cache keys", "required: ", "nothing was changed",
		} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("up: got %v, want %q in it", err, want)
			}
		}
		if err != nil && (strings.Contains(err.Error(), "bio") || strings.Contains(err.Error(), "email")) {
			t.Errorf("up refused a column that names no key: %v", err)
		}
		if after := objects(t, d); !slices.Equal(after, before) {
			t.Errorf("the refused up changed the schema to %v", after)
		}
	})
}

// A column that changes after `migrate up` is reported when a gateway starts.
func TestFault04And12ColumnsThatChangeAfterUp(t *testing.T) {
	t.Parallel()
	d := openPostgresTest(t)
	must(d.MigrateUp(t.Context()))(t)
	execute(t, d, "CREATE EXTENSION citext")
	execute(t, d, "ALTER TABLE products ALTER COLUMN category TYPE citext")
	execute(t, d, "ALTER TABLE products ALTER COLUMN stock DROP NOT NULL")
	for what, err := range map[string]error{"CheckSchema": d.CheckSchema(t.Context()), "up": second(d.MigrateUp(t.Context()))} {
		if err == nil || !strings.Contains(err.Error(), "column category names cache keys") || !strings.Contains(err.Error(), "column stock may be NULL") {
			t.Errorf("%s: got %v", what, err)
		}
	}
	execute(t, d, "ALTER TABLE products ALTER COLUMN category TYPE text")
	execute(t, d, "ALTER TABLE products ADD CHECK (stock IS NOT NULL)")
	if err := d.CheckSchema(t.Context()); err != nil {
		t.Errorf("after the repair: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// A column that is non-null in the schema must be NOT NULL in its table. All such columns are
// reported at once.
func TestFault12AdoptedColumnsThatMayBeNull(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d testDB) {
		adoptAs(t, d, "NOT NULL", "")
		_, err := d.MigrateUp(t.Context())
		wants := map[string][]string{
			"countries": {"name"}, "users": {"name", "email", "created_at", "updated_at"},
			"products": {"name", "description", "category", "price_cents", "currency", "stock", "created_at", "updated_at"},
			"reviews":  {"product_id", "rating", "body", "created_at"}, "orders": {"customer_id", "created_at"},
			"order_lines": {"product_id", "quantity", "unit_price_cents", "currency"},
		}
		n := 0
		for table, columns := range wants {
			for _, c := range columns {
				n++
				want := fmt.Sprintf("table %s: column %s may be NULL, which would be read as empty or 0; required: ", table, c)
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("the error of up lacks %q", want)
				}
			}
		}
		if err != nil && strings.Count(err.Error(), "may be NULL") != n {
			t.Errorf("up: got %v, want %d columns in it", err, n)
		}
	})
}

// A column that fieldcache does not know must be nullable or have a default where fieldcache
// inserts rows.
func TestFault12AdoptedColumnsThatNobodyFills(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d testDB) {
		adoptAs(t, d, "loyalty      int NOT NULL DEFAULT 0", "loyalty int NOT NULL, filled int NOT NULL DEFAULT 3, empty int")
		_, err := d.MigrateUp(t.Context())
		if err == nil || !strings.Contains(err.Error(), "table users: column loyalty is NOT NULL without a default") || strings.Contains(err.Error(), "column filled") {
			t.Errorf("up: got %v", err)
		}
	})
}

// adoptAs creates the tables of an existing shop, with changes.
func adoptAs(t *testing.T, d testDB, replace ...string) {
	t.Helper()
	name := "shop_sqlite.sql"
	if d.Postgres() {
		name = "shop_postgres.sql"
	}
	text := string(must(os.ReadFile(filepath.Join("testdata", name)))(t))
	text, _, _ = strings.Cut(text, "INSERT INTO countries")
	execute(t, d, strings.NewReplacer(replace...).Replace(text))
}

// restored restores a dump of a database into another one.
func restored(t *testing.T, from testDB, args ...string) testDB {
	t.Helper()
	to := openPostgresTest(t)
	// Create an object first, so that the object ids differ.
	execute(t, to, "CREATE TABLE filler (id bigint PRIMARY KEY); DROP TABLE filler")
	file := filepath.Join(t.TempDir(), "dump")
	run := func(name string, args ...string) {
		if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
	}
	run("pg_dump", append(args, "--format=custom", "--file="+file, from.url)...)
	run("pg_restore", "--exit-on-error", "--no-comments", "--dbname="+to.url, file)
	return to
}

func TestFault13DownAfterARestore(t *testing.T) {
	t.Parallel()
	for _, adopted := range []bool{false, true} {
		t.Run(fmt.Sprintf("adopted=%v", adopted), func(t *testing.T) {
			t.Parallel()
			d := openPostgresTest(t)
			if adopted {
				adopt(t, d)
			}
			plain := names(objects(t, d))
			must(d.MigrateUp(t.Context()))(t)
			to := restored(t, d)
			if err := to.CheckSchema(t.Context()); err != nil {
				t.Errorf("CheckSchema after the restore: %v", err)
			}
			down := must(to.MigrateDown(t.Context()))(t)
			if len(down.Migrations) != 2 || len(down.Left) > 0 {
				t.Errorf("down: got %+v", down)
			}
			if got := names(objects(t, to)); !slices.Equal(got, plain) {
				t.Errorf("down left\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(plain, "\n"))
			}
			if again := must(to.MigrateDown(t.Context()))(t); len(again.Migrations)+len(again.Left) > 0 {
				t.Errorf("a second down: got %+v, want nothing to do", again)
			}
		})
	}
}

// names returns objects without their ids, which a restore changes.
func names(objects []string) []string {
	var list []string
	for _, o := range objects {
		list = append(list, regexp.MustCompile(` \d{4,}\b`).ReplaceAllString(o, ""))
	}
	slices.Sort(list)
	return list
}

// Without the record of what was added, down removes the outbox and says why tables stay.
func TestFault13DownWithoutTheRecord(t *testing.T) {
	t.Parallel()
	d := openPostgresTest(t)
	must(d.MigrateUp(t.Context()))(t)
	to := restored(t, d, "--exclude-table=fieldcache_*")
	down := must(to.MigrateDown(t.Context()))(t)
	if !strings.Contains(fmt.Sprint(down.Left), "table fieldcache_objects, which records what was added, does not exist") {
		t.Errorf("down: got %+v", down)
	}
	for _, o := range objects(t, to) {
		if strings.Contains(o, "cache_") {
			t.Errorf("down left %s", o)
		}
	}
	execute(t, to, "INSERT INTO countries VALUES ('NO', 'Norway')")
}

// Down says what it leaves: objects that were renamed, moved to another schema, changed, or are
// used by others.
func TestFault13DownOfWhatChanged(t *testing.T) {
	t.Parallel()
	d := openPostgresTest(t)
	ctx := t.Context()
	must(d.MigrateUp(ctx))(t)
	for _, s := range []string{
		"ALTER TRIGGER cache_outbox_update ON users RENAME TO noted",
		"ALTER TABLE reviews RENAME TO opinions",
		"ALTER TABLE countries ADD COLUMN flag text",
		"DROP INDEX users_name_idx", "CREATE INDEX users_name_idx ON users (name)",
		"CREATE TABLE fans (id bigint REFERENCES users(id)); CREATE INDEX ON fans USING gin ((id::text) gin_trgm_ops)",
		"CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
		"CREATE TRIGGER cache_outbox_mine AFTER INSERT ON fans EXECUTE FUNCTION mine()",
		"ALTER SCHEMA public RENAME TO shop; CREATE SCHEMA public",
	} {
		execute(t, d, s)
	}
	var name string
	if err := d.Bun().NewRaw("SELECT quote_ident(current_database())").Scan(ctx, &name); err != nil {
		t.Fatal(err)
	}
	execute(t, d, "ALTER DATABASE "+name+" SET search_path = shop, public")
	moved := openTest(t, d.url)
	down := must(moved.MigrateDown(ctx))(t)
	for _, want := range []string{
		"trigger cache_outbox_mine ON fans: has the name of an object of the outbox", "table reviews: does not exist under this name",
		"table countries: was changed since", "index users_name_idx: was replaced", "extension pg_trgm: others depend on it",
		"table users: others depend on it",
	} {
		if !slices.ContainsFunc(down.Left, func(l string) bool { return strings.Contains(l, want) }) {
			t.Errorf("down: got %v, want %q in it", strings.Join(down.Left, "\n"), want)
		}
	}
	for _, o := range objects(t, moved) {
		if strings.Contains(o, "cache_") && !strings.Contains(o, "mine") || strings.Contains(o, "trigger noted") {
			t.Errorf("down left %s", o)
		}
	}
	execute(t, moved, "UPDATE users SET name = 'x'")
}

// A role that may not drop the objects gets a complete list of them, and nothing changes.
func TestFault13DownByAnotherRole(t *testing.T) {
	t.Parallel()
	d := openPostgresTest(t)
	ctx := t.Context()
	must(d.MigrateUp(ctx))(t)
	role := "weak_" + must(databaseName(ctx, d))(t)
	execute(t, d, "CREATE ROLE "+role)
	t.Cleanup(func() { _, _ = d.Bun().ExecContext(context.Background(), "DROP OWNED BY "+role+"; DROP ROLE "+role) })
	execute(t, d, "GRANT ALL ON ALL TABLES IN SCHEMA public TO "+role)
	before := objects(t, d)
	weak := openTest(t, strings.Replace(d.url, "?", "?options=-c%20role%3D"+role+"&", 1))
	_, err := weak.MigrateDown(ctx)
	for _, want := range []string{"must be owner", "trigger cache_outbox_update ON users", "trigger cache_outbox_insert ON orders", "nothing was changed"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("down: got %v, want %q in it", err, want)
		}
	}
	if after := objects(t, d); !slices.Equal(after, before) {
		t.Error("the refused down changed something")
	}
}

// The record of an earlier release has no definitions; up adds them.
func TestFault13RecordOfAnEarlierRelease(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d testDB) {
		ctx := t.Context()
		empty := objects(t, d)
		must(d.MigrateUp(ctx))(t)
		for _, s := range []string{
			"ALTER TABLE fieldcache_objects DROP COLUMN definition", "ALTER TABLE fieldcache_objects DROP COLUMN life",
			"INSERT INTO fieldcache_objects (migration, kind, name, added, oid) VALUES ('0002_outbox', 'table', 'cache_horizon', true, 7)",
			"DROP TABLE cache_tables",
		} {
			execute(t, d, s)
		}
		if up := must(d.MigrateUp(ctx))(t); !slices.Equal(up, []string{"0002_outbox"}) {
			t.Errorf("up applied %v", up)
		}
		if down := must(d.MigrateDown(ctx))(t); len(down.Left) > 0 {
			t.Errorf("down: got %+v", down)
		}
		if got := objects(t, d); !slices.Equal(got, empty) {
			t.Errorf("down left %v", got)
		}
	})
}

func TestFault13DownSparesWhatChangedOnSQLite(t *testing.T) {
	t.Parallel()
	d := openTest(t, "sqlite://"+filepath.Join(t.TempDir(), "shop.db"))
	must(d.MigrateUp(t.Context()))(t)
	execute(t, d, "ALTER TABLE users ADD COLUMN loyalty int")
	execute(t, d, "ALTER TABLE order_lines RENAME TO lines")
	down := must(d.MigrateDown(t.Context()))(t)
	if len(down.Left) == 0 || !strings.Contains(fmt.Sprint(down.Left), "table users: was changed since") || !strings.Contains(fmt.Sprint(down.Left), "table order_lines: does not exist") {
		t.Errorf("down: got %+v", down)
	}
	execute(t, d, "INSERT INTO users (name, email) VALUES ('Liv', 'liv@shop.example')")
}
