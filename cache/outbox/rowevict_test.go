package outbox

import (
	"database/sql"
	"errors"
	"slices"
	"testing"

	_ "modernc.org/sqlite"

	"fieldcache/cache"
)

func TestRowsAreNamedByOperators(t *testing.T) {
	db, err := sql.Open("sqlite", t.TempDir()+"/rows.db")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range []string{
		`CREATE TABLE reviews (id INTEGER PRIMARY KEY, product_id INTEGER, author_id INTEGER)`,
		`CREATE TABLE lines ("order" TEXT, no INTEGER, product_id INTEGER, PRIMARY KEY ("order", no))`,
		`INSERT INTO reviews VALUES (9, 7, NULL)`, `INSERT INTO lines VALUES ('a,b', 1, 7), ('it''s', 1, 8)`,
	} {
		if _, err := db.Exec(s); err != nil {
			t.Fatal(err)
		}
	}
	tables := map[string]TableInfo{
		"reviews": {PrimaryKey: []string{"id"}, Columns: map[string]Kind{"id": Integer, "product_id": Integer, "author_id": Integer}},
		"lines":   {PrimaryKey: []string{"order", "no"}, Columns: map[string]Kind{"order": Text, "no": Integer, "product_id": Integer}},
	}
	p, err := NewRowTags(func(name string) (TableInfo, bool) { i, ok := tables[name]; return i, ok },
		Rows{Table: "reviews", Own: true}, Rows{Table: "reviews", Match: []string{"product_id"}, Columns: []string{"author_id"}},
		Rows{Table: "reviews", Match: []string{"author_id"}}, Rows{Table: "lines", Match: []string{"product_id"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]cache.Tag{
		"reviews:9":              {"{rows:reviews:id=9}:*", "{rows:reviews:product_id=7}:author_id", "{rows:reviews:author_id=null}:*"},
		"reviews:id=09":          {"{rows:reviews:id=9}:*", "{rows:reviews:product_id=7}:author_id", "{rows:reviews:author_id=null}:*"},
		"reviews:10":             {"{rows:reviews}"},
		"lines:no=1&order=a%2Cb": {"{rows:lines:product_id=7}:*"},
		"lines:order=it's&no=1":  {"{rows:lines:product_id=8}:*"},
	} {
		ev, err := p.Row(t.Context(), db, name)
		slices.Sort(ev.Tags)
		slices.Sort(want)
		if err != nil || !slices.Equal(ev.Tags, want) {
			t.Errorf("%s: got %q, error %v; want %q", name, ev.Tags, err, want)
		}
	}
	for _, name := range []string{"reviews", "nothing:1", "reviews:x", "reviews:", "reviews:id=1&rating=2", "lines:a", "lines:order=a", "lines:order=a&no=1&x=2",
		"lines:order=%&no=1", `lines:order=\' OR 1=1 --&no=1`} {
		if ev, err := p.Row(t.Context(), db, name); !errors.Is(err, ErrNoRow) {
			t.Errorf("%s: got %v, error %v; want ErrNoRow", name, ev, err)
		}
	}
}
