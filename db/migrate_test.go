package db

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/uptrace/bun"
)

var allMigrations = []string{"0001_shop", "0002_outbox"}

func TestMigrateUpAndDown(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d testDB) {
		ctx := t.Context()
		empty := objects(t, d)

		err := d.CheckSchema(ctx)
		if !errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), "fieldcache migrate up") || !strings.Contains(err.Error(), "0001_shop") {
			t.Errorf("CheckSchema of an empty database: got %v", err)
		}
		if states := must(d.MigrateStatus(ctx))(t); len(states) != len(allMigrations) || !states[0].AppliedAt.IsZero() {
			t.Errorf("status of an empty database: got %v", states)
		}
		if down := must(d.MigrateDown(ctx))(t); len(down.Migrations)+len(down.Left) != 0 {
			t.Errorf("down of an empty database reverted %v", down)
		}

		if up := must(d.MigrateUp(ctx))(t); !slices.Equal(up, allMigrations) {
			t.Errorf("up applied %v, want %v", up, allMigrations)
		}
		if err := d.CheckSchema(ctx); err != nil {
			t.Errorf("CheckSchema after up: %v", err)
		}
		if states := must(d.MigrateStatus(ctx))(t); states[0].Name != "0001_shop" || states[0].AppliedAt.IsZero() {
			t.Errorf("status after up: got %v", states)
		}
		full := objects(t, d)
		for _, want := range []string{"users", "order_lines", "reviews_product_idx", "countries_code_name_idx", "cache_outbox", "cache_horizon", "cache_outbox_due_idx"} {
			if !slices.ContainsFunc(full, func(o string) bool { return strings.Contains(o, want) }) {
				t.Errorf("%s is missing after up", want)
			}
		}
		if again := must(d.MigrateUp(ctx))(t); len(again) != 0 {
			t.Errorf("a second up applied %v, want nothing", again)
		}
		if got := objects(t, d); !slices.Equal(got, full) {
			t.Errorf("a second up changed the schema to %v", got)
		}

		down := must(d.MigrateDown(ctx))(t)
		slices.Reverse(down.Migrations)
		if !slices.Equal(down.Migrations, allMigrations) || len(down.Left) > 0 {
			t.Errorf("down reverted, last to first, %v, want %v", down, allMigrations)
		}
		if got := objects(t, d); !slices.Equal(got, empty) {
			t.Errorf("down left %v", got)
		}
	})
}

func TestMigrateAdopts(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d testDB) {
		ctx := t.Context()
		adopt(t, d)
		before := objects(t, d)

		must(d.MigrateUp(ctx))(t)
		if err := d.CheckSchema(ctx); err != nil {
			t.Errorf("CheckSchema after adoption: %v", err)
		}
		added := slices.DeleteFunc(objects(t, d), func(o string) bool { return slices.Contains(before, o) })
		for _, present := range []string{"users_country_idx", "products_category_idx", "reviews_product_idx", "users_email_key", "countries_key"} {
			if slices.ContainsFunc(added, func(o string) bool { return strings.Contains(o, present) }) {
				t.Errorf("up added %s, but an equivalent exists", present)
			}
		}
		for _, lacking := range []string{"countries_code_name_idx", "reviews_author_idx", "fieldcache_orders_customer_idx", "order_lines_product_idx"} {
			if !slices.ContainsFunc(added, func(o string) bool { return strings.Contains(o, lacking) }) {
				t.Errorf("up did not add %s; it added %v", lacking, added)
			}
		}
		// A second run finds everything, its own indexes included.
		full := len(objects(t, d))
		execute(t, d, "DROP INDEX order_lines_product_idx")
		must(d.MigrateUp(ctx))(t)
		if again := objects(t, d); len(again) != full {
			t.Errorf("a second up changed %d objects to %v", full, again)
		}
		if n := count(t, d, "reviews"); n != 1 {
			t.Errorf("got %d reviews after up, want the 1 from before", n)
		}

		must(d.MigrateDown(ctx))(t)
		if after := objects(t, d); !slices.Equal(after, before) {
			t.Errorf("after down the schema is\n%s\nwant\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
		}
		if n := count(t, d, "order_lines"); n != 1 {
			t.Errorf("got %d order lines after down, want the 1 from before", n)
		}
	})
}

func TestMigrateRepairs(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d testDB) {
		ctx := t.Context()
		must(d.MigrateUp(ctx))(t)
		execute(t, d, "DROP TABLE reviews")
		err := d.CheckSchema(ctx)
		if !errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), "table reviews") || !strings.Contains(err.Error(), "index reviews_author_idx") {
			t.Errorf("CheckSchema without a table: got %v", err)
		}
		if up := must(d.MigrateUp(ctx))(t); !slices.Equal(up, allMigrations) {
			t.Errorf("up applied %v", up)
		}
		if err := d.CheckSchema(ctx); err != nil {
			t.Errorf("CheckSchema after the repair: %v", err)
		}
	})
}

// A trigger that is disabled or missing is reported and repaired.
func TestMigrateRepairsTriggers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d testDB) {
		ctx := t.Context()
		adopt(t, d)
		before := objects(t, d)
		must(d.MigrateUp(ctx))(t)
		full := len(objects(t, d))
		breaks := map[string]string{"cache_outbox_users_update": "DROP TRIGGER cache_outbox_users_update"}
		if d.Postgres() {
			breaks = map[string]string{
				`cache_outbox_update ON users`:      "ALTER TABLE users DISABLE TRIGGER cache_outbox_update",
				`cache_outbox_truncate ON products`: "DROP TRIGGER cache_outbox_truncate ON products",
			}
		}
		for name, statement := range breaks {
			execute(t, d, statement)
			if err := d.CheckSchema(ctx); !errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), "trigger "+name) {
				t.Errorf("CheckSchema after %s: got %v", statement, err)
			}
			if up := must(d.MigrateUp(ctx))(t); !slices.Equal(up, []string{"0002_outbox"}) {
				t.Errorf("up applied %v", up)
			}
			if err := d.CheckSchema(ctx); err != nil {
				t.Errorf("CheckSchema after the repair: %v", err)
			}
			if again := len(objects(t, d)); again != full {
				t.Errorf("got %d objects after the repair, want %d", again, full)
			}
		}
		if d.Postgres() {
			execute(t, d, "ALTER TABLE users DISABLE TRIGGER ALL")
		}
		must(d.MigrateDown(ctx))(t)
		if after := objects(t, d); !slices.Equal(after, before) {
			t.Errorf("after down the schema is\n%s\nwant\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
		}
	})
}

// pg_dump's dump is the same before up and after down.
func TestMigrateDownLeavesTheDumpAsItWas(t *testing.T) {
	t.Parallel()
	d := openPostgresTest(t)
	dump := func() string {
		// Newer versions of pg_dump write a key into the dump, by default a random one; older ones
		// do not know the flag.
		out, err := exec.CommandContext(t.Context(), "pg_dump", "--schema-only", "--restrict-key=same", d.url).CombinedOutput()
		if err != nil {
			out, err = exec.CommandContext(t.Context(), "pg_dump", "--schema-only", d.url).CombinedOutput()
		}
		if err != nil {
			t.Fatalf("pg_dump: %v\n%s", err, out)
		}
		return string(out)
	}
	adopt(t, d)
	before := dump()
	must(d.MigrateUp(t.Context()))(t)
	if full := dump(); !strings.Contains(full, "CREATE TRIGGER cache_outbox_update AFTER UPDATE ON public.users") {
		t.Errorf("the dump has no trigger:\n%s", full)
	}
	must(d.MigrateDown(t.Context()))(t)
	if after := dump(); after != before {
		t.Errorf("got the dump\n%s\nwant\n%s", after, before)
	}
}

// If the tables are created anew after up, they belong to whoever did that: down must not drop
// them.
func TestMigrateDownSparesReplacedTables(t *testing.T) {
	t.Parallel()
	d := openPostgresTest(t)
	ctx := t.Context()
	must(d.MigrateUp(ctx))(t)
	execute(t, d, "DROP TABLE order_lines, orders, reviews, products, users, countries CASCADE")
	adopt(t, d)
	must(d.MigrateUp(ctx))(t)
	down := must(d.MigrateDown(ctx))(t)
	if n := count(t, d, "users"); n != 1 || !strings.Contains(fmt.Sprint(down.Left), "table users: was replaced since it was added") {
		t.Errorf("down: got %v and %d users left, want the 1 user of the new table", down.Left, n)
	}
}

func TestMigrateUpConcurrently(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d testDB) {
		results := make([][]string, 4)
		var wg sync.WaitGroup
		for i := range results {
			wg.Go(func() {
				up, err := d.MigrateUp(t.Context())
				if err != nil {
					t.Errorf("up: %v", err)
				}
				results[i] = up
			})
		}
		wg.Wait()
		if got := slices.Concat(results...); !slices.Equal(got, allMigrations) {
			t.Errorf("concurrent ups applied %v, want each migration once", got)
		}
	})
}

func TestMigrateRefusesWrongShape(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, change string
		wants        []string
	}{
		{"column missing", "ALTER TABLE users DROP COLUMN bio", []string{"table users lacks the column bio; required: bio text"}},
		{"foreign key missing", "DROP TABLE order_lines; CREATE TABLE order_lines (order_id bigint, line_no int, product_id bigint, quantity int, unit_price_cents bigint, currency text)",
			[]string{"column order_id lacks its foreign key", "column product_id lacks its foreign key"}},
		{"wrong type", "DROP TABLE order_lines; DROP TABLE orders; CREATE TABLE orders (id text PRIMARY KEY, customer_id bigint REFERENCES users(id) ON DELETE CASCADE, created_at text)",
			[]string{"table orders: column id has the type text", "column created_at has the type text"}},
		{"view", "ALTER TABLE countries RENAME TO lands; CREATE VIEW countries AS SELECT * FROM lands", []string{"countries is a view, but must be a table"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, d testDB) {
				adopt(t, d)
				execute(t, d, c.change)
				before := objects(t, d)
				_, err := d.MigrateUp(t.Context())
				for _, want := range append(c.wants, "nothing was changed") {
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("up: got %v, want %q in it", err, want)
					}
				}
				if after := objects(t, d); !slices.Equal(after, before) {
					t.Errorf("the refused up changed the schema to %v", after)
				}
			})
		})
	}
}

func TestMigrateTrigramNotAllowed(t *testing.T) {
	t.Parallel()
	d := openPostgresTest(t)
	ctx := t.Context()
	role := "limited_" + strings.ReplaceAll(filepath.Base(t.TempDir()), ".", "_") + "_" + must(databaseName(ctx, d))(t)
	execute(t, d, "CREATE ROLE "+role)
	t.Cleanup(func() {
		if _, err := d.Bun().ExecContext(context.Background(), "DROP OWNED BY "+role+"; DROP ROLE "+role); err != nil {
			t.Error(err)
		}
	})
	execute(t, d, "GRANT CREATE, USAGE ON SCHEMA public TO "+role)
	limited := openTest(t, strings.Replace(d.url, "?", "?options=-c%20role%3D"+role+"&", 1))
	_, err := limited.MigrateUp(ctx)
	if err == nil || !strings.Contains(err.Error(), "ask an administrator to run CREATE EXTENSION pg_trgm") {
		t.Errorf("up by a role that may not create extensions: got %v", err)
	}
	execute(t, d, "CREATE SCHEMA ext; CREATE EXTENSION pg_trgm SCHEMA ext; GRANT USAGE ON SCHEMA ext TO "+role)
	must(limited.MigrateUp(ctx))(t)
	must(limited.MigrateDown(ctx))(t)
	if n := must(d.Bun().NewSelect().Table("pg_extension").Where("extname = 'pg_trgm'").Count(ctx))(t); n != 1 {
		t.Error("down dropped the extension that existed before")
	}
}

func TestMigrateDownRefusesNewer(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d testDB) {
		must(d.MigrateUp(t.Context()))(t)
		execute(t, d, "INSERT INTO fieldcache_migrations (name, group_id) VALUES ('9999_future', 2)")
		if err := d.CheckSchema(t.Context()); err != nil {
			t.Errorf("CheckSchema refused a newer schema: %v", err)
		}
		if _, err := d.MigrateDown(t.Context()); err == nil || !strings.Contains(err.Error(), "9999_future of a newer fieldcache") {
			t.Errorf("down of a newer schema: got %v", err)
		}
		if err := d.CheckSchema(t.Context()); err != nil {
			t.Errorf("after the refused down: %v", err)
		}
	})
}

// adopt creates the tables of an existing shop.
func adopt(t *testing.T, d testDB) {
	t.Helper()
	name := "shop_sqlite.sql"
	if d.Postgres() {
		name = "shop_postgres.sql"
	}
	execute(t, d, string(must(os.ReadFile(filepath.Join("testdata", name)))(t)))
}

// objects lists everything in the database that has a definition.
func objects(t *testing.T, d testDB) []string {
	t.Helper()
	query := `SELECT type || ' ' || name || ': ' || coalesce(sql, '') FROM sqlite_schema
		WHERE name <> 'sqlite_sequence' ORDER BY 1`
	if d.Postgres() {
		query = `SELECT c.relkind::text || ' ' || c.relname || ' ' || c.oid || ': ' || coalesce(pg_get_indexdef(c.oid), '') ||
				coalesce((SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull, ', ' ORDER BY a.attnum)
					FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0), '')
			FROM pg_class c WHERE c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) AND c.relkind <> 't'
				AND c.relname NOT LIKE 'pg_toast%'
			UNION ALL SELECT conname || ' ' || oid || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
			UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE NOT tgisinternal
			UNION ALL SELECT 'function ' || proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
			UNION ALL SELECT 'extension ' || extname FROM pg_extension
			ORDER BY 1`
	}
	var found []string
	if err := d.Bun().NewRaw("?", bun.Safe(query)).Scan(t.Context(), &found); err != nil {
		t.Fatal(err)
	}
	return found
}
